//! Where the entries of the overflow area are, by hash: saves workers the walk along a chain of entries.

use std::sync::atomic::{AtomicU64, Ordering};

use vr_types::FlowIndex;

use super::key::FlowHash;
use crate::mapped::{MapError, Mapped};

/// Places in a set: one cache line.
const WAYS: usize = 8;

/// A hint, not a table: an entry that finds no place here is still in its chain, and what is found has to be
/// compared with the key.
pub(super) struct OverflowHints {
    /// Secondary hash in the high half, position plus one in the low half; 0 for free.
    places: Mapped<AtomicU64>,
    sets: usize,
}

impl OverflowHints {
    /// For an overflow area of so many entries.
    pub(super) fn new(entries: u32) -> Result<Self, MapError> {
        // Twice as many places as entries: sets are rarely full.
        let sets = (entries as usize * 2).div_ceil(WAYS).next_power_of_two();
        Ok(Self { places: Mapped::private(sets * WAYS)?, sets })
    }

    pub(super) fn bytes(&self) -> usize {
        size_of_val(&*self.places)
    }

    const fn value(hash: FlowHash, index: FlowIndex) -> u64 {
        (hash.secondary as u64) << 32 | (index.0 as u64 + 1)
    }

    #[inline]
    fn set(&self, hash: FlowHash) -> &[AtomicU64] {
        // Flows of one chain have the low bits of the primary hash in common.
        let set = (hash.primary ^ hash.secondary) as usize & (self.sets - 1);
        &self.places[set * WAYS..][..WAYS]
    }

    /// Asks for the line that [`OverflowHints::find`] will look at.
    #[inline]
    pub(super) fn prefetch(&self, hash: FlowHash) {
        if let [first, ..] = self.set(hash) {
            crate::prefetch::prefetch(first);
        }
    }

    /// The entry that probably belongs to a hash.
    #[inline]
    pub(super) fn find(&self, hash: FlowHash) -> Option<FlowIndex> {
        let values = self.set(hash).iter().map(|place| place.load(Ordering::Acquire));
        values.filter(|value| value >> 32 == u64::from(hash.secondary)).find_map(|value| {
            let position = (value as u32).checked_sub(1)?;
            Some(FlowIndex(position))
        })
    }

    /// A flow got an entry.
    pub(super) fn add(&self, hash: FlowHash, index: FlowIndex) {
        let value = Self::value(hash, index);
        for place in self.set(hash) {
            if place.compare_exchange(0, value, Ordering::AcqRel, Ordering::Relaxed).is_ok() {
                return;
            }
        }
    }

    /// A flow lost its entry.
    pub(super) fn remove(&self, hash: FlowHash, index: FlowIndex) {
        let value = Self::value(hash, index);
        if let Some(place) = self.set(hash).iter().find(|place| place.load(Ordering::Relaxed) == value) {
            place.store(0, Ordering::Release);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use vr_types::NexthopId;

    use super::super::{FlowKey, FlowTable, InsertError};
    use super::{FlowHash, FlowIndex, OverflowHints, WAYS};
    use crate::geometry::Geometry;

    fn hash(secondary: u32) -> FlowHash {
        FlowHash { primary: secondary ^ 0x55, secondary }
    }

    #[test]
    fn entries_are_found_until_they_are_removed() {
        let hints = OverflowHints::new(1024).unwrap();
        for n in 0..100 {
            hints.add(hash(n * 0x0101_0101), FlowIndex(n));
        }
        assert_eq!(hints.find(hash(0)), Some(FlowIndex(0)));
        for n in 0..100 {
            hints.remove(hash(n * 0x0101_0101), FlowIndex(n));
            assert_eq!(hints.find(hash(n * 0x0101_0101)), None);
        }
        assert!(hints.places.iter().all(|place| place.load(super::Ordering::Relaxed) == 0));
    }

    #[test]
    fn a_full_set_keeps_what_it_has() {
        let hints = OverflowHints::new(1).unwrap();
        let all: Vec<FlowHash> = (1..=WAYS as u32 + 1).map(hash).collect();
        for (n, hash) in all.iter().enumerate() {
            hints.add(*hash, FlowIndex(n as u32));
        }
        let found = all.iter().filter(|hash| hints.find(**hash).is_some()).count();
        assert_eq!(found, WAYS);
        hints.remove(all[WAYS], FlowIndex(WAYS as u32));
        assert_eq!(hints.find(all[0]), Some(FlowIndex(0)));
    }

    #[test]
    fn a_chain_takes_sixty_four_flows_and_leaves_the_area_to_other_buckets() {
        let table = FlowTable::new(Geometry { entries: 4, overflow: 200 }, 1, None).unwrap();
        let key = |port| FlowKey::inet(17, [0, port, 0, 53], NexthopId(9), [10, 0, 0, 1], [10, 0, 0, 2]);
        let insert = |port| table.insert(&key(port), key(port).hash(), |_| {});
        let taken: Vec<FlowIndex> = (0..68).map(|port| insert(port).unwrap()).collect();
        assert_eq!(insert(68), Err(InsertError::Full));
        assert_eq!(table.used(), (4, 64));
        assert_eq!(insert(4), Err(InsertError::Exists(taken[4])), "the last of the chain");
        // The last and the first of the chain make room.
        for (number, index) in [taken[4], taken[67]].into_iter().enumerate() {
            assert!(table.unlink(index));
            table.release(index);
            insert(68 + number as u8).unwrap();
        }
        assert_eq!(insert(70), Err(InsertError::Full));
        assert_eq!(table.used(), (4, 64));
    }

    #[test]
    fn flows_of_a_full_bucket_are_found_by_their_hash() {
        let table = FlowTable::new(Geometry { entries: 4, overflow: 16 }, 1, None).unwrap();
        let keys: Vec<FlowKey> = (0..16)
            .map(|port| FlowKey::inet(17, [0, port, 0, 53], NexthopId(9), [10, 0, 0, 1], [10, 0, 0, 2]))
            .collect();
        let indexes: Vec<FlowIndex> =
            keys.iter().map(|key| table.insert(key, key.hash(), |_| {}).unwrap()).collect();
        assert_eq!(table.used(), (4, 12));
        for (key, index) in keys.iter().zip(&indexes) {
            assert_eq!(table.candidate(key.hash()), Some(*index));
            assert!(table.check(*index, key).is_some());
        }
        for (key, index) in keys.iter().zip(&indexes) {
            assert!(table.unlink(*index));
            assert_eq!(table.candidate(key.hash()), None);
            table.release(*index);
        }
    }
}
