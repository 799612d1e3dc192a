use std::sync::atomic::{AtomicU64, Ordering};

const WORDS: usize = 65_536 / 64;
const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Ports that flows of link-local services use on the host's address (forwarding.md 6.10): a TCP, a UDP and
/// an ICMP map of 65,536 bits. One writer, any number of readers.
pub struct ServicePorts {
    words: Box<[AtomicU64]>,
}

impl Default for ServicePorts {
    fn default() -> Self {
        Self { words: (0..3 * WORDS).map(|_| AtomicU64::new(0)).collect() }
    }
}

impl ServicePorts {
    fn bit(&self, protocol: u8, port: u16) -> Option<(&AtomicU64, u64)> {
        let map = match protocol {
            TCP => 0,
            UDP => 1,
            ICMP => 2,
            _ => return None,
        };
        Some((self.words.get(map * WORDS + usize::from(port) / 64)?, 1 << (port % 64)))
    }

    /// Whether a flow of a service uses this port (host order; the id of ICMP echoes).
    #[inline]
    #[must_use]
    pub fn contains(&self, protocol: u8, port: u16) -> bool {
        self.bit(protocol, port).is_some_and(|(word, bit)| word.load(Ordering::Relaxed) & bit != 0)
    }

    pub(crate) fn set(&self, protocol: u8, port: u16, used: bool) {
        if let Some((word, bit)) = self.bit(protocol, port) {
            if used {
                word.fetch_or(bit, Ordering::Relaxed);
            } else {
                word.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::ServicePorts;

    #[test]
    fn protocols_have_maps_of_their_own() {
        let ports = ServicePorts::default();
        ports.set(6, 65_535, true);
        ports.set(17, 64, true);
        assert!(ports.contains(6, 65_535) && ports.contains(17, 64));
        assert!(!ports.contains(17, 65_535) && !ports.contains(6, 64) && !ports.contains(132, 64));
        ports.set(6, 65_535, false);
        assert!(!ports.contains(6, 65_535) && ports.contains(17, 64));
    }
}
