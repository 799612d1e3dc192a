//! What the fast lanes write into packets of a translated flow.
#![allow(unsafe_code, reason = "states a property of a plain layout")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use crate::mapped::Zeroed;

/// New addresses and ports of an IPv4 packet with all its addresses and ports in one piece, and what they do to its
/// checksums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Translation {
    /// Source and destination, in wire order.
    pub addresses: [u8; 8],
    /// Source and destination port, in wire order.
    pub ports: [u8; 4],
    /// Folded difference of the addresses' ones' complement sums, new less old.
    pub address_delta: u16,
    /// The same for addresses and ports together.
    pub delta: u16,
}

/// The same in the flow table: as the rest of a compiled action, written and read by the owner of the entry alone, so
/// that relaxed accesses suffice. It counts only together with that. It stands beside the cache lines of entries,
/// because most flows have none: pages that nobody writes cost nothing.
#[derive(Default)]
#[repr(C, align(16))]
pub(super) struct TranslationCell {
    addresses: AtomicU64,
    /// From bit 0: ports as the bytes of a word (32), difference of the addresses (16), of all (16).
    rest: AtomicU64,
}

// SAFETY: atomics only; zero is a value of each.
unsafe impl Zeroed for TranslationCell {}

impl TranslationCell {
    pub(super) fn store(&self, translation: &Translation) {
        let Translation { addresses, ports, address_delta, delta } = *translation;
        let rest =
            u64::from(u32::from_le_bytes(ports)) | u64::from(address_delta) << 32 | u64::from(delta) << 48;
        self.addresses.store(u64::from_le_bytes(addresses), Relaxed);
        self.rest.store(rest, Relaxed);
    }

    #[inline]
    pub(super) fn load(&self) -> Translation {
        let rest = self.rest.load(Relaxed);
        Translation {
            addresses: self.addresses.load(Relaxed).to_le_bytes(),
            ports: (rest as u32).to_le_bytes(),
            address_delta: (rest >> 32) as u16,
            delta: (rest >> 48) as u16,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Translation, TranslationCell};

    #[test]
    fn a_translation_is_read_back() {
        let translation = Translation {
            addresses: [10, 0, 0, 1, 192, 0, 2, 255],
            ports: [0x80, 1, 0xff, 2],
            address_delta: 0x8001,
            delta: 0xfffe,
        };
        let cell = TranslationCell::default();
        cell.store(&translation);
        assert_eq!(cell.load(), translation);
    }
}
