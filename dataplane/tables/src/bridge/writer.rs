use std::sync::Arc;
use std::sync::atomic::Ordering;

use vr_types::{BridgeIndex, NexthopId, VrfId};

use super::entry::{BridgeEntry, BridgeFlags, BridgeKey, CHAINED, pack, unpack};
use super::table::BridgeTable;
use crate::deferred::Deferred;
use crate::geometry::Geometry;
use crate::grace::Grace;
use crate::mapped::MapError;
use crate::nexthop::NexthopSlot;

/// Why an entry could not be added.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("the bridge table is full: bucket and overflow area have no free entry")]
pub struct BridgeFull;

/// The one writer of a [`BridgeTable`].
pub struct BridgeWriter {
    table: Arc<BridgeTable>,
    /// Entries are written to the file as well.
    shown: bool,
    /// Free overflow entries.
    free: Vec<u32>,
    /// Overflow entries that were in use: a worker that came to one goes on along the chain it was in.
    retired: Deferred<u32>,
    used: u32,
    used_overflow: u32,
}

impl BridgeWriter {
    /// The writer of a fresh table.
    #[must_use]
    pub fn new(table: Arc<BridgeTable>) -> Self {
        let Geometry { entries, overflow } = table.geometry;
        let free = (entries..entries + overflow).rev().collect();
        Self { table, shown: true, free, retired: Deferred::default(), used: 0, used_overflow: 0 }
    }

    /// The writer of an empty table that will take the place of this one. The file is not changed before
    /// [`BridgeWriter::show`].
    ///
    /// # Errors
    /// [`MapError`] when memory is not to be had.
    pub fn successor(&self) -> Result<Self, MapError> {
        let table = Arc::new(self.table.successor()?);
        Ok(Self { shown: false, ..Self::new(table) })
    }

    /// Writes all entries to the file in place of its own; further changes are written at once. Nobody may count on
    /// the former table any more. `id` gives the id of a nexthop.
    pub fn show(&mut self, id: impl Fn(NexthopSlot) -> NexthopId) {
        self.shown = true;
        for index in 0..self.table.geometry.total() as u32 {
            match self.table.entry(BridgeIndex(index)) {
                Some((key, entry)) => {
                    self.describe(key, index, id(entry.nexthop), entry.label, entry.flags);
                    let packets = self.table.packets(BridgeIndex(index));
                    self.table.shared[index as usize].set_packets(self.table.release, packets);
                }
                None => self.table.shared[index as usize].clear(),
            }
        }
    }

    fn describe(&self, key: BridgeKey, index: u32, id: NexthopId, label: u32, flags: BridgeFlags) {
        let shared = &self.table.shared[index as usize];
        shared.put(21, key.0.to_le_bytes());
        shared.describe(self.table.release, label, id, flags);
        shared.put(8, index.to_le_bytes());
        shared.put(20, [1]);
    }

    /// Makes overflow entries available that no worker can have come to any more.
    pub fn recycle(&mut self, grace: &Grace) {
        self.retired.seal(grace);
        while let Some(indexes) = self.retired.take(grace) {
            self.free.extend(indexes);
        }
    }

    /// The table.
    #[must_use]
    pub const fn table(&self) -> &Arc<BridgeTable> {
        &self.table
    }

    /// Used entries: in the main table and in the overflow area.
    #[must_use]
    pub const fn used(&self) -> (u32, u32) {
        (self.used, self.used_overflow)
    }

    /// Adds an entry or changes the one that is there.
    ///
    /// # Errors
    /// [`BridgeFull`] when there is no room.
    pub fn set(
        &mut self,
        key: BridgeKey,
        (nexthop, id): (NexthopSlot, NexthopId),
        label: u32,
        flags: BridgeFlags,
    ) -> Result<BridgeIndex, BridgeFull> {
        let flags = flags | BridgeFlags::VALID;
        let table = Arc::clone(&self.table);
        let index = match table.lookup(key) {
            Some(entry) => entry.index.0,
            None => self.allocate(key)?,
        };
        let hot = &table.hot[index as usize];
        let chained = hot.value.load(Ordering::Relaxed) & CHAINED;
        hot.value.store(chained | pack(nexthop, label, flags), Ordering::Release);
        if self.shown {
            self.describe(key, index, id, label, flags);
        }
        Ok(BridgeIndex(index))
    }

    fn allocate(&mut self, key: BridgeKey) -> Result<u32, BridgeFull> {
        let table = &self.table;
        let bucket = table.geometry.bucket(key.hash());
        let valid = |index: u32| {
            unpack(0, table.hot[index as usize].value.load(Ordering::Relaxed))
                .flags
                .contains(BridgeFlags::VALID)
        };
        let index = if let Some(index) = (bucket..bucket + 4).find(|index| !valid(*index)) {
            self.used += 1;
            index
        } else {
            let index = self.free.pop().ok_or(BridgeFull)?;
            self.used_overflow += 1;
            index
        };
        table.hot[index as usize].key.store(key.0, Ordering::Release);
        for hits in &table.hits {
            // A packet counted while the slot changes hands may be lost; the agent compares, it does not add.
            hits.packets[index as usize].store(0, Ordering::Relaxed);
        }
        if index >= table.geometry.entries {
            let fourth = (bucket + 3) as usize;
            let head = table.next[fourth].load(Ordering::Relaxed);
            table.next[index as usize].store(head, Ordering::Release);
            table.next[fourth].store(index + 1, Ordering::Release);
            table.hot[fourth].value.fetch_or(CHAINED, Ordering::Release);
        }
        Ok(index)
    }

    /// Removes the entry of a key; says whether there was one.
    pub fn remove(&mut self, key: BridgeKey) -> bool {
        let Some(entry) = self.table.lookup(key) else { return false };
        let index = entry.index.0;
        let table = &self.table;
        let hot = &table.hot[index as usize];
        hot.value.fetch_and(CHAINED, Ordering::Release);
        hot.key.store(0, Ordering::Release);
        if self.shown {
            table.shared[index as usize].clear();
        }
        if index >= table.geometry.entries {
            let bucket = table.geometry.bucket(key.hash());
            self.unlink(bucket, index);
            self.retired.push(index);
            self.used_overflow -= 1;
        } else {
            self.used -= 1;
        }
        true
    }

    fn unlink(&self, bucket: u32, index: u32) {
        let table = &self.table;
        let mut before = bucket + 3;
        while let Some(at) = table.next[before as usize].load(Ordering::Relaxed).checked_sub(1) {
            if at == index {
                let after = table.next[index as usize].load(Ordering::Relaxed);
                table.next[before as usize].store(after, Ordering::Release);
                break;
            }
            before = at;
        }
        if table.next[(bucket + 3) as usize].load(Ordering::Relaxed) == 0 {
            table.hot[(bucket + 3) as usize].value.fetch_and(!CHAINED, Ordering::Release);
        }
    }

    /// Entries of a VRF behind position `after` (from the start if none), in order of their positions.
    pub fn iter(
        &self,
        vrf: VrfId,
        after: Option<BridgeIndex>,
    ) -> impl Iterator<Item = (BridgeKey, BridgeEntry)> {
        let first = after.map_or(0, |index| index.0 + 1);
        (first..self.table.geometry.total() as u32)
            .filter_map(|index| self.table.entry(BridgeIndex(index)))
            .filter(move |(key, _)| key.vrf() == vrf)
    }

    /// Removes everything.
    pub fn clear(&mut self) {
        for index in 0..self.table.geometry.total() as u32 {
            if let Some((key, _)) = self.table.entry(BridgeIndex(index)) {
                self.remove(key);
            }
        }
    }
}
