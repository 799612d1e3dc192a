//! The hash of the inner headers, which spreads the flows of one queue over its sockets.

/// A hash under construction: 64-bit words in, 32 bits out. Made for few instructions in eBPF, not against an
/// adversary: who controls the inner headers can put all his flows on one socket, as with a NIC's RSS.
#[derive(Debug, Clone, Copy)]
pub struct InnerHash(u64);

/// Odd, from the fractional part of the golden ratio.
const MULTIPLIER: u64 = 0x9e37_79b9_7f4a_7c15;

impl InnerHash {
    /// The empty hash.
    #[inline(always)]
    #[must_use]
    pub const fn new() -> Self {
        Self(0)
    }

    /// The hash with a word added.
    #[inline(always)]
    #[must_use]
    pub const fn word(self, word: u64) -> Self {
        let mixed = (self.0 ^ word).wrapping_mul(MULTIPLIER);
        Self(mixed ^ mixed >> 29)
    }

    /// The hash of an IPv4 packet: both addresses as one word, then one of ports and protocol.
    #[inline(always)]
    #[must_use]
    pub const fn ipv4(addresses: u64, ports: u32, protocol: u8) -> u32 {
        Self::new().word(addresses).flow_word(ports, protocol).finish()
    }

    /// The hash of an IPv6 packet: the words of both addresses, then one of ports and protocol.
    #[inline(always)]
    #[must_use]
    pub const fn ipv6(addresses: [u64; 4], ports: u32, protocol: u8) -> u32 {
        Self::new()
            .word(addresses[0])
            .word(addresses[1])
            .word(addresses[2])
            .word(addresses[3])
            .flow_word(ports, protocol)
            .finish()
    }

    /// The hash of a frame without IP: its first eight bytes, and the six bytes up to the end of the `EtherType`.
    #[inline(always)]
    #[must_use]
    pub const fn ethernet(first_eight: u64, next_four: u32, ether_type: u16) -> u32 {
        Self::new().word(first_eight).word(next_four as u64 | (ether_type as u64) << 32).finish()
    }

    #[inline(always)]
    const fn flow_word(self, ports: u32, protocol: u8) -> Self {
        self.word(ports as u64 | (protocol as u64) << 32)
    }

    #[inline(always)]
    const fn finish(self) -> u32 {
        let mixed = self.0.wrapping_mul(MULTIPLIER);
        (mixed >> 32) as u32
    }
}

impl Default for InnerHash {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::QueueSlots;

    /// Flows that differ little must still spread over few sockets.
    #[test]
    fn neighbouring_flows_spread_evenly() {
        for count in [2, 3, 4, 7] {
            let queue = QueueSlots { first: 0, count };
            let by_port =
                (0..4096).map(|port: u32| InnerHash::ipv4(0x0200_000a_0100_000a, port.swap_bytes(), 6));
            assert_even(by_port.map(|hash| queue.slot(hash)), count, "ports");
            let by_host =
                (0..4096).map(|host: u64| InnerHash::ipv4(host << 48 | 0x0a01_000a, 0x5000_3930, 17));
            assert_even(by_host.map(|hash| queue.slot(hash)), count, "hosts");
            let by_v6 =
                (0..4096).map(|host: u64| InnerHash::ipv6([1, host << 56 | host >> 8 << 48, 1, 9], 80, 6));
            assert_even(by_v6.map(|hash| queue.slot(hash)), count, "IPv6 hosts");
        }
    }

    fn assert_even(slots: impl Iterator<Item = Option<u32>>, count: u32, what: &str) {
        let mut seen = [0_u32; 8];
        slots.for_each(|slot| seen[slot.unwrap() as usize] += 1);
        let fair = 4096 / count;
        for (slot, &flows) in seen.iter().enumerate().take(count as usize) {
            assert!(flows.abs_diff(fair) < fair / 5, "{what}: slot {slot} of {count} has {flows} of 4096");
        }
    }
}
