//! Counters of an entry for workers that do not own it.
#![allow(unsafe_code, reason = "states a property of a plain layout")]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use crate::mapped::Zeroed;

/// Any worker adds to it. Beside the counters stands what folding saw at its last look, to find out whose
/// packets the entry has now.
#[derive(Default)]
#[repr(C, align(32))]
pub(super) struct Foreign {
    packets: AtomicU64,
    bytes: AtomicU64,
    seen_packets: AtomicU32,
    seen_of_owner: AtomicU32,
}

// SAFETY: atomics only; zero is a value of each.
unsafe impl Zeroed for Foreign {}

impl Foreign {
    pub(super) fn count(&self, bytes: usize) {
        self.packets.fetch_add(1, Relaxed);
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    /// Packets and bytes.
    pub(super) fn counters(&self) -> (u64, u64) {
        (self.packets.load(Relaxed), self.bytes.load(Relaxed))
    }

    /// Whether others have had packets since the last look and the owner, which has counted `of_owner` so
    /// far, has not. For the folding thread only.
    pub(super) fn owner_has_gone(&self, of_owner: u32) -> bool {
        let packets = self.packets.load(Relaxed) as u32;
        if packets == self.seen_packets.load(Relaxed) {
            return false;
        }
        let gone = of_owner == self.seen_of_owner.load(Relaxed);
        self.seen_packets.store(packets, Relaxed);
        self.seen_of_owner.store(of_owner, Relaxed);
        gone
    }

    /// For a new entry. The line is written only where it has to be.
    pub(super) fn clear(&self) {
        if self.packets.load(Relaxed) != 0 {
            self.packets.store(0, Relaxed);
            self.bytes.store(0, Relaxed);
            self.seen_packets.store(0, Relaxed);
            self.seen_of_owner.store(0, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Foreign;

    #[test]
    fn an_owner_has_gone_when_only_others_count() {
        let foreign = Foreign::default();
        assert!(!foreign.owner_has_gone(10), "nobody counts");
        foreign.count(100);
        assert!(!foreign.owner_has_gone(10), "the first look at both");
        foreign.count(50);
        assert!(!foreign.owner_has_gone(11), "both count");
        foreign.count(50);
        assert!(foreign.owner_has_gone(11));
        assert!(!foreign.owner_has_gone(11), "nobody counts");
        assert_eq!(foreign.counters(), (3, 200));
        foreign.clear();
        assert_eq!(foreign.counters(), (0, 0));
    }
}
