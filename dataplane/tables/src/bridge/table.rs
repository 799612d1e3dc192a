use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use vr_types::{BridgeIndex, Release};

use super::count::Hits;
use super::entry::{BridgeEntry, BridgeFlags, BridgeKey, CHAINED, Hot, unpack};
use super::shared::Shared;
use crate::geometry::Geometry;
use crate::mapped::{MapError, Mapped};

/// The table that workers read.
pub struct BridgeTable {
    pub(super) release: Release,
    pub(super) geometry: Geometry,
    pub(super) hot: Mapped<Hot>,
    /// What clients map; a successor has the same.
    pub(super) shared: Arc<Mapped<Shared>>,
    /// Per entry: next entry of its overflow chain plus one.
    pub(super) next: Mapped<AtomicU32>,
    pub(super) hits: Box<[Hits]>,
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
        let hits = (0..workers).map(|_| Hits::new(total)).collect::<Result<_, MapError>>()?;
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
}
