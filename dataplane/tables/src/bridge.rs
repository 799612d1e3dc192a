//! The bridge table: (VRF, MAC) to nexthop (forwarding.md 3.4).
//!
//! One hash table for all VRFs with buckets of four and an overflow area; an entry stands where the
//! original puts it, because its index travels in messages. Two representations: sixteen private bytes per
//! entry, a bucket to the cache line, for the workers, and the 64 bytes of control.md 5.3 for the agent.
//! There is one writer. A worker that reads an entry while it is reused finds its value changed and reads
//! again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use vr_types::{BridgeIndex, Mac, NexthopId, Release, VrfId, WorkerId};
use vr_wire::hash;

use crate::deferred::Deferred;
use crate::geometry::Geometry;
use crate::grace::Grace;
use crate::mapped::{MapError, Mapped, Zeroed};
use crate::nexthop::NexthopSlot;

bitflags::bitflags! {
    /// Flags of a bridge entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct BridgeFlags: u8 {
        /// The entry is in use.
        const VALID = 0x01;
        /// The label or VNI is to be used.
        const LABEL_VALID = 0x02;
        /// Flood DHCP of this source instead of trapping it.
        const FLOOD_DHCP = 0x04;
        /// Learnt elsewhere.
        const MAC_MOVED = 0x08;
        /// A control word precedes the frame in tunnels.
        const L2_CONTROL_DATA = 0x10;
        /// Learnt, not confirmed by the agent.
        const MAC_NEW = 0x20;
        /// ARP and DHCP of this source as from a top of rack switch.
        const EVPN_CONTROL = 0x40;
    }
}

/// The key: six bytes of MAC and the VRF, as they are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeKey(u64);

impl BridgeKey {
    /// The key of a MAC in a VRF.
    #[inline]
    #[must_use]
    pub const fn new(vrf: VrfId, mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let [lo, hi] = vrf.0.to_le_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, lo, hi]))
    }

    /// The MAC.
    #[must_use]
    pub const fn mac(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// The VRF.
    #[must_use]
    pub const fn vrf(self) -> VrfId {
        VrfId((self.0 >> 48) as u16)
    }

    #[inline]
    fn hash(self) -> u32 {
        hash::hash_8(self.0.to_le_bytes())
    }
}

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeEntry {
    /// Position, stable while the entry lives.
    pub index: BridgeIndex,
    /// Where to send the frame.
    pub nexthop: NexthopSlot,
    /// Label or VNI; counts only with [`BridgeFlags::LABEL_VALID`].
    pub label: u32,
    /// Its flags.
    pub flags: BridgeFlags,
}

impl BridgeEntry {
    /// The label or VNI, if the entry has one.
    #[inline]
    #[must_use]
    pub const fn valid_label(&self) -> Option<u32> {
        if self.flags.contains(BridgeFlags::LABEL_VALID) { Some(self.label) } else { None }
    }
}

/// Bit of a value: the overflow chain of this bucket (in its fourth entry) is not empty.
const CHAINED: u64 = 1 << 62;
const LABEL_MASK: u32 = 0x00ff_ffff;

const fn pack(nexthop: NexthopSlot, label: u32, flags: BridgeFlags) -> u64 {
    (nexthop.0 & LABEL_MASK) as u64 | ((label & LABEL_MASK) as u64) << 24 | (flags.bits() as u64) << 48
}

const fn unpack(index: u32, value: u64) -> BridgeEntry {
    BridgeEntry {
        index: BridgeIndex(index),
        nexthop: NexthopSlot(value as u32 & LABEL_MASK),
        label: (value >> 24) as u32 & LABEL_MASK,
        flags: BridgeFlags::from_bits_truncate((value >> 48) as u8),
    }
}

#[repr(C, align(16))]
struct Hot {
    key: AtomicU64,
    value: AtomicU64,
}

// SAFETY: two atomics, for which zero is a value.
#[allow(unsafe_code, reason = "states a property of a plain layout")]
unsafe impl Zeroed for Hot {}

/// The agent's view of an entry, byte by byte because its fields are unaligned.
#[repr(C)]
struct Shared([AtomicU8; 64]);

// SAFETY: bytes, for which zero is a value.
#[allow(unsafe_code, reason = "states a property of a plain layout")]
unsafe impl Zeroed for Shared {}

impl Shared {
    fn describe(&self, release: Release, label: u32, nexthop: NexthopId, flags: BridgeFlags) {
        let (label, flags) = (label.to_le_bytes(), u16::from(flags.bits()).to_le_bytes());
        match release {
            Release::Current => {
                self.put(45, label);
                self.put(49, nexthop.0.to_le_bytes());
                self.put(53, flags);
            }
            Release::R220 => {
                self.put(37, label);
                self.put(41, flags);
            }
        }
    }

    /// R2.20 does not count.
    fn set_packets(&self, release: Release, packets: u64) {
        if release == Release::Current {
            self.put(37, packets.to_le_bytes());
        }
    }

    fn put<const N: usize>(&self, offset: usize, bytes: [u8; N]) {
        for (cell, byte) in self.0[offset..offset + N].iter().zip(bytes) {
            cell.store(byte, Ordering::Relaxed);
        }
    }

    fn clear(&self) {
        for cell in &self.0 {
            cell.store(0, Ordering::Relaxed);
        }
    }
}

/// Packets of each entry as one worker counted them, and which blocks of entries it touched.
struct Hits {
    packets: Mapped<AtomicU64>,
    touched: Mapped<AtomicU8>,
}

/// Entries per byte of the touched map.
const BLOCK: usize = 256;

/// The table that workers read.
pub struct BridgeTable {
    release: Release,
    geometry: Geometry,
    hot: Mapped<Hot>,
    /// What clients map; a successor has the same.
    shared: Arc<Mapped<Shared>>,
    /// Per entry: next entry of its overflow chain plus one.
    next: Mapped<AtomicU32>,
    hits: Box<[Hits]>,
}

impl BridgeTable {
    /// Bytes of an entry that clients map.
    pub const ENTRY_SIZE: usize = 64;

    /// A table of that geometry, its shared half in `file` if one is given.
    ///
    /// # Errors
    /// [`MapError`] when memory or file space is not to be had.
    pub fn new(geometry: Geometry, workers: u8, file: Option<&Path>) -> Result<Self, MapError> {
        Self::of_release(Release::Current, geometry, workers, file)
    }

    /// As [`BridgeTable::new`], with entries in the file as that release lays them out.
    ///
    /// # Errors
    /// As [`BridgeTable::new`].
    pub fn of_release(
        release: Release,
        geometry: Geometry,
        workers: u8,
        file: Option<&Path>,
    ) -> Result<Self, MapError> {
        let shared = match file {
            Some(path) => Mapped::file(path, geometry.total())?,
            None => Mapped::private(geometry.total())?,
        };
        Self::over(release, geometry, workers, Arc::new(shared))
    }

    /// An empty table that will take the place of this one, with the same file.
    ///
    /// # Errors
    /// [`MapError`] when memory is not to be had.
    pub fn successor(&self) -> Result<Self, MapError> {
        Self::over(self.release, self.geometry, self.hits.len() as u8, Arc::clone(&self.shared))
    }

    fn over(
        release: Release,
        geometry: Geometry,
        workers: u8,
        shared: Arc<Mapped<Shared>>,
    ) -> Result<Self, MapError> {
        let total = geometry.total();
        let hits = (0..workers)
            .map(|_| {
                let touched = Mapped::private(total.div_ceil(BLOCK))?;
                Ok(Hits { packets: Mapped::private(total)?, touched })
            })
            .collect::<Result<_, MapError>>()?;
        let (hot, next) = (Mapped::private(total)?, Mapped::private(total)?);
        Ok(Self { release, geometry, hot, shared, next, hits })
    }

    /// Main and overflow entries.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// First position of the bucket of a key.
    pub(crate) fn bucket(&self, key: BridgeKey) -> u32 {
        self.geometry.bucket(key.hash())
    }

    /// First step of a lookup: where the key belongs, to be given to [`BridgeTable::lookup_at`]. The cache line is
    /// on its way.
    #[inline]
    #[must_use]
    pub fn locate(&self, key: BridgeKey) -> u32 {
        let bucket = self.geometry.bucket(key.hash());
        crate::prefetch::prefetch(&self.hot[bucket as usize]);
        bucket
    }

    /// The entry of a key.
    #[inline]
    #[must_use]
    pub fn lookup(&self, key: BridgeKey) -> Option<BridgeEntry> {
        self.lookup_at(self.geometry.bucket(key.hash()), key)
    }

    /// Second step of a lookup: the entry of a key that belongs there.
    #[inline]
    #[must_use]
    pub fn lookup_at(&self, bucket: u32, key: BridgeKey) -> Option<BridgeEntry> {
        let slots: &[Hot; 4] = self.hot.get(bucket as usize..)?.first_chunk()?;
        // Without a branch for each slot: which one it is cannot be foreseen.
        let mut slot = 4;
        for (i, candidate) in slots.iter().enumerate() {
            slot = if candidate.key.load(Ordering::Relaxed) == key.0 { i } else { slot };
        }
        if let Some(found) = slots.get(slot)
            && let Some(entry) = Self::read(found, bucket + slot as u32, key)
        {
            return Some(entry);
        }
        if slots[3].value.load(Ordering::Relaxed) & CHAINED != 0 {
            self.lookup_chain(bucket, key)
        } else {
            None
        }
    }

    #[inline]
    fn read(slot: &Hot, index: u32, key: BridgeKey) -> Option<BridgeEntry> {
        loop {
            let value = slot.value.load(Ordering::Acquire);
            if slot.key.load(Ordering::Acquire) != key.0 {
                return None;
            }
            // The writer clears the value before it changes the key, so an unchanged value means that key
            // and value belong together.
            if slot.value.load(Ordering::Relaxed) == value {
                let entry = unpack(index, value);
                return entry.flags.contains(BridgeFlags::VALID).then_some(entry);
            }
        }
    }

    #[cold]
    fn lookup_chain(&self, bucket: u32, key: BridgeKey) -> Option<BridgeEntry> {
        self.chain(bucket).find_map(|index| Self::read(&self.hot[index as usize], index, key))
    }

    /// Overflow entries of a bucket, bounded even if the chain changes while it is walked.
    fn chain(&self, bucket: u32) -> impl Iterator<Item = u32> {
        let follow = |index: u32| self.next[index as usize].load(Ordering::Acquire).checked_sub(1);
        std::iter::successors(follow(bucket + 3), move |index| follow(*index))
            .take(self.geometry.overflow as usize)
    }

    /// The entry at a position, with its key.
    #[must_use]
    pub fn entry(&self, index: BridgeIndex) -> Option<(BridgeKey, BridgeEntry)> {
        let slot = self.hot.get(index.index())?;
        let key = BridgeKey(slot.key.load(Ordering::Acquire));
        Some((key, Self::read(slot, index.0, key)?))
    }

    /// Counts a packet of an entry. Only the worker itself calls this with its number.
    #[inline]
    pub fn count(&self, worker: WorkerId, index: BridgeIndex) {
        let Some(hits) = self.hits.get(worker.index()) else { return };
        let cell = &hits.packets[index.index()];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
        // The mark is stored without looking, or the count might become visible only after folding has taken
        // an earlier mark and read the counters. No other worker writes to this line.
        hits.touched[index.index() / BLOCK].store(1, Ordering::Release);
    }

    /// Asks for the cache line that counting a packet of an entry will change.
    #[inline]
    pub fn prefetch_count(&self, worker: WorkerId, index: BridgeIndex) {
        if let Some(cell) = self.hits.get(worker.index()).and_then(|hits| hits.packets.get(index.index())) {
            crate::prefetch::prefetch(cell);
        }
    }

    /// Packets of an entry so far.
    #[must_use]
    pub fn packets(&self, index: BridgeIndex) -> u64 {
        self.hits.iter().map(|hits| hits.packets[index.index()].load(Ordering::Relaxed)).sum()
    }

    /// Brings the packet counters of touched entries into the shared half; returns how many it looked at.
    pub fn fold(&self) -> usize {
        let mut scanned = 0;
        for block in 0..self.geometry.total().div_ceil(BLOCK) {
            let mut touched = false;
            for hits in &self.hits {
                // A mark that this load misses is seen in the next round; one that is taken shows what was
                // counted before it.
                touched |= hits.touched[block].load(Ordering::Relaxed) != 0
                    && hits.touched[block].swap(0, Ordering::Acquire) != 0;
            }
            if touched {
                for index in block * BLOCK..((block + 1) * BLOCK).min(self.geometry.total()) {
                    let packets = self.packets(BridgeIndex(index as u32));
                    self.shared[index].set_packets(self.release, packets);
                    scanned += 1;
                }
            }
        }
        scanned
    }
}

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
