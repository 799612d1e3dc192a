use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use crossbeam::queue::ArrayQueue;
use vr_types::{FlowIndex, Release, WorkerId};

use super::count::BLOCK;
use super::evict::{CANDIDATES, Candidate};
use super::foreign::Foreign;
use super::hot::HotFlow;
use super::key::{FlowHash, FlowKey};
use super::layout::{HENTRY_VALID, SharedFlow};
use super::overflow::OverflowHints;
use super::ports::ServicePorts;
use super::quota::{QuotaLimits, Quotas};
use super::state::State;
use super::translation::{Translation, TranslationCell};
use super::view::FlowViews;
use crate::geometry::Geometry;
use crate::mapped::{MapError, Mapped};
use crate::prefetch::prefetch;

pub(super) const TAG_BITS: u32 = 15;
pub(super) const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// Bit of a tag word: a writer is changing the bucket.
pub(super) const LOCKED: u64 = 1 << 63;
/// Bit of a tag word: the overflow chain of the bucket is not empty.
pub(super) const CHAINED: u64 = 1 << 62;
/// How often a locked bucket or a changing entry is tried before the packet is given up: some two microseconds. A
/// holder that is running is mostly done by then; one that is not would keep the worker waiting.
pub(super) const TRIES: u32 = 100;
/// The most overflow entries of one bucket. Far above what even a full table comes to by chance; who looks for
/// keys that share a bucket gets no longer chains than this.
pub(super) const CHAIN_MAX: usize = 64;

/// What the tags of its bucket say about a flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tagged {
    /// It may be here.
    Entry(FlowIndex),
    /// If anywhere, it is in the overflow area.
    Overflow,
    /// It has no entry.
    Nowhere,
}

/// The flow table that workers and the control thread share.
pub struct FlowTable {
    pub(super) geometry: Geometry,
    /// A word per bucket: four tags of fifteen bits, zero for a free slot.
    pub(super) tags: Mapped<AtomicU64>,
    pub(super) hot: Mapped<HotFlow>,
    pub(super) shared: Mapped<SharedFlow>,
    /// What clients map if it is not `shared`.
    pub(super) views: Option<FlowViews>,
    pub(super) foreign: Mapped<Foreign>,
    pub(super) translations: Mapped<TranslationCell>,
    /// Per worker, `marks` bytes apart: the blocks in which it counted. Each worker writes bytes of its own,
    /// so that it can write without looking and no other worker waits for the line.
    pub(super) touched: Mapped<AtomicU8>,
    pub(super) marks: usize,
    pub(super) hints: OverflowHints,
    /// Head of the list of free overflow entries: index plus one, and a counter against reuse.
    pub(super) free: AtomicU64,
    /// Links of that list.
    pub(super) free_next: Mapped<AtomicU32>,
    pub(super) used: AtomicU32,
    pub(super) used_overflow: AtomicU32,
    pub(super) ports: ServicePorts,
    /// Entries that workers have marked for eviction.
    pub(super) candidates: ArrayQueue<Candidate>,
    /// How many were evicted.
    pub(super) evictions: AtomicU64,
    pub(super) quotas: Option<Quotas>,
}

impl FlowTable {
    /// A table of that geometry for so many workers, its shared half in `file` if one is given.
    ///
    /// # Errors
    /// [`MapError`] when memory or file space is not to be had.
    pub fn new(geometry: Geometry, workers: u8, file: Option<&Path>) -> Result<Self, MapError> {
        Self::of_release(Release::Current, geometry, workers, file)
    }

    /// As [`FlowTable::new`], with entries in the file as clients of that release know them.
    ///
    /// # Errors
    /// As [`FlowTable::new`].
    pub fn of_release(
        release: Release,
        geometry: Geometry,
        workers: u8,
        file: Option<&Path>,
    ) -> Result<Self, MapError> {
        let total = geometry.total();
        let marks = total.div_ceil(BLOCK).next_multiple_of(64);
        let (shared, views) = match (release, file) {
            (Release::Current, Some(path)) => (Mapped::file(path, total)?, None),
            (Release::Current, None) => (Mapped::private(total)?, None),
            (Release::R220, file) => (Mapped::private(total)?, Some(FlowViews::new(total, file)?)),
        };
        let free_next = Mapped::<AtomicU32>::private(geometry.overflow as usize)?;
        for (i, link) in free_next.iter().enumerate() {
            let last = i + 1 == geometry.overflow as usize;
            link.store(if last { 0 } else { i as u32 + 2 }, Ordering::Relaxed);
        }
        Ok(Self {
            geometry,
            tags: Mapped::private(geometry.entries as usize / 4)?,
            hot: Mapped::private(total)?,
            shared,
            views,
            foreign: Mapped::private(total)?,
            translations: Mapped::private(total)?,
            touched: Mapped::private(marks * usize::from(workers))?,
            marks,
            hints: OverflowHints::new(geometry.overflow)?,
            free: AtomicU64::new(u64::from(geometry.overflow > 0)),
            free_next,
            used: AtomicU32::new(0),
            used_overflow: AtomicU32::new(0),
            ports: ServicePorts::default(),
            candidates: ArrayQueue::new(CANDIDATES),
            evictions: AtomicU64::new(0),
            quotas: None,
        })
    }

    /// The table with quotas for VRFs and interfaces whose numbers are below these.
    pub(crate) fn with_quotas(self, limits: QuotaLimits, vrfs: usize, vifs: usize) -> Result<Self, MapError> {
        let quotas = match limits {
            QuotaLimits { per_vrf: 0, per_vif: 0 } => None,
            limits => Some(Quotas::new(limits, self.geometry.total(), vrfs, vifs)?),
        };
        Ok(Self { quotas, ..self })
    }

    /// Quotas, if there are any.
    #[must_use]
    pub const fn quotas(&self) -> Option<&Quotas> {
        self.quotas.as_ref()
    }

    /// Main and overflow entries.
    #[must_use]
    pub const fn geometry(&self) -> Geometry {
        self.geometry
    }

    /// Ports of link-local services.
    #[must_use]
    pub const fn ports(&self) -> &ServicePorts {
        &self.ports
    }

    /// Used entries: in the main table and in the overflow area.
    #[must_use]
    pub fn used(&self) -> (u32, u32) {
        (self.used.load(Ordering::Relaxed), self.used_overflow.load(Ordering::Relaxed))
    }

    pub(super) const fn tag(hash: FlowHash) -> u64 {
        let tag = hash.secondary as u64 & TAG_MASK;
        if tag == 0 { TAG_MASK } else { tag }
    }

    /// First step of a lookup: the bucket of the hash, for [`FlowTable::by_tag`]. Its line of tags is asked for.
    #[inline]
    #[allow(clippy::must_use_candidate, reason = "some only want the line")]
    pub fn locate(&self, hash: FlowHash) -> u32 {
        let bucket = self.geometry.bucket(hash.primary);
        if let Some(word) = self.tags.get(bucket as usize / 4) {
            prefetch(word);
        }
        bucket
    }

    /// Second step of a lookup: where the tags of the bucket say that the entry is, which is asked for, as is the line
    /// that says where in the overflow area it is. The answer is a hint for [`FlowTable::check`].
    #[inline]
    #[must_use]
    pub fn by_tag(&self, bucket: u32, hash: FlowHash) -> Tagged {
        // A tag that matches leaves fifteen zero bits; the lowest such group is found without a branch.
        const LOW: u64 = 0x0000_2000_4000_8001;
        const HIGH: u64 = LOW << (TAG_BITS - 1);
        let Some(word) = self.tags.get(bucket as usize / 4) else { return Tagged::Nowhere };
        let word = word.load(Ordering::Acquire);
        let differences = (word & (LOCKED - 1) & !CHAINED) ^ (Self::tag(hash) * LOW);
        let zeros = differences.wrapping_sub(LOW) & !differences & HIGH;
        if zeros != 0 {
            let index = bucket + zeros.trailing_zeros() / TAG_BITS;
            if let Some(hot) = self.hot.get(index as usize) {
                prefetch(hot);
            }
            Tagged::Entry(FlowIndex(index))
        } else if word & CHAINED != 0 {
            self.hints.prefetch(hash);
            Tagged::Overflow
        } else {
            Tagged::Nowhere
        }
    }

    /// The step after [`Tagged::Overflow`]: the entry of the overflow area that the hash points to, which is asked for.
    #[inline]
    #[must_use]
    pub fn in_overflow(&self, hash: FlowHash) -> Option<FlowIndex> {
        let index = self.hints.find(hash)?;
        prefetch(self.hot.get(index.index())?);
        Some(index)
    }

    /// All steps at once.
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: FlowHash) -> Option<FlowIndex> {
        match self.by_tag(self.geometry.bucket(hash.primary), hash) {
            Tagged::Entry(index) => Some(index),
            Tagged::Overflow => self.in_overflow(hash),
            Tagged::Nowhere => None,
        }
    }

    /// Third step of a lookup: the entry at a candidate position if it holds the key and is active.
    #[inline]
    #[must_use]
    pub fn check(&self, index: FlowIndex, key: &FlowKey) -> Option<(&HotFlow, State)> {
        let hot = self.hot.get(index.index())?;
        let state = hot.state();
        let hit = hot.matches(key.words())
            && state.is_active()
            && (!key.is_inet6() || self.shared.get(index.index())?.has_key(key));
        hit.then_some((hot, state))
    }

    /// As [`FlowTable::check`], for the five words of an IPv4 key, and with [`State::passes`] in place of active.
    #[inline]
    #[must_use]
    pub fn check_inet(
        &self,
        index: FlowIndex,
        words: &[u32; 5],
        worker: WorkerId,
    ) -> Option<(&HotFlow, State)> {
        let hot = self.hot.get(index.index())?;
        let state = hot.state();
        (hot.matches_inet(words) && state.passes(worker)).then_some((hot, state))
    }

    /// The entry of a key: all of its bucket and its overflow chain.
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: FlowHash) -> Option<FlowIndex> {
        let bucket = self.geometry.bucket(hash.primary);
        let word = self.tags.get(bucket as usize / 4)?.load(Ordering::Acquire);
        self.find_with(key, hash, bucket, word)
    }

    pub(super) fn find_with(
        &self,
        key: &FlowKey,
        hash: FlowHash,
        bucket: u32,
        word: u64,
    ) -> Option<FlowIndex> {
        let tag = Self::tag(hash);
        let here = |index: u32| self.check(FlowIndex(index), key).map(|_| FlowIndex(index));
        (0..4)
            .filter(|slot| (word >> (slot * TAG_BITS)) & TAG_MASK == tag)
            .find_map(|slot| here(bucket + slot))
            .or_else(|| if word & CHAINED == 0 { None } else { self.chain(bucket).find_map(here) })
    }

    /// Overflow entries of a bucket; bounded even if the chain changes while it is walked.
    pub(super) fn chain(&self, bucket: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(self.next(bucket + 3), |index| self.next(*index)).take(CHAIN_MAX)
    }

    /// The overflow entry that an entry links to.
    pub(super) fn next(&self, index: u32) -> Option<u32> {
        let next = self.shared[index as usize].next_index.load(Ordering::Acquire);
        (next >= self.geometry.entries && (next as usize) < self.geometry.total()).then_some(next)
    }

    /// The shared half of an entry.
    #[must_use]
    pub fn shared(&self, index: FlowIndex) -> Option<&SharedFlow> {
        self.shared.get(index.index())
    }

    /// The private half of an entry.
    #[must_use]
    pub fn hot(&self, index: FlowIndex) -> Option<&HotFlow> {
        self.hot.get(index.index())
    }

    /// Stores what [`HotFlow::compile`] is about to make valid for a translated flow. For the owning worker only.
    pub fn set_translation(&self, index: FlowIndex, translation: &Translation) {
        if let Some(cell) = self.translations.get(index.index()) {
            cell.store(translation);
        }
    }

    /// What [`FlowTable::set_translation`] stored last. For the owning worker only.
    #[inline]
    #[must_use]
    pub fn translation(&self, index: FlowIndex) -> Option<Translation> {
        Some(self.translations.get(index.index())?.load())
    }

    /// Asks for the line of a translation.
    #[inline]
    pub fn prefetch_translation(&self, index: FlowIndex) {
        if let Some(cell) = self.translations.get(index.index()) {
            prefetch(cell);
        }
    }

    /// Whether a slot is in use.
    #[must_use]
    pub fn in_use(&self, index: FlowIndex) -> bool {
        self.shared
            .get(index.index())
            .is_some_and(|s| s.hash_flags.load(Ordering::Acquire) & HENTRY_VALID != 0)
    }

    /// Every slot in use, in order.
    pub fn indexes(&self) -> impl Iterator<Item = FlowIndex> {
        (0..self.geometry.total() as u32).map(FlowIndex).filter(|index| self.in_use(*index))
    }
}
