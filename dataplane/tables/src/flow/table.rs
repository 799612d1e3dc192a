use std::path::Path;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};

use vr_types::{FlowIndex, Release, WorkerId};

use super::foreign::Foreign;
use super::hot::{HotFlow, State};
use super::key::{FlowHash, FlowKey};
use super::layout::{FlowAction, HENTRY_VALID, SharedFlow, TcpFlags};
use super::overflow::OverflowHints;
use super::ports::ServicePorts;
use super::settle::settle;
use super::translation::{Translation, TranslationCell};
use super::view::FlowViews;
use crate::geometry::Geometry;
use crate::mapped::{MapError, Mapped};
use crate::prefetch::prefetch;

/// Entries per byte of the touched map.
const BLOCK: usize = 64;
const TAG_BITS: u32 = 15;
const TAG_MASK: u64 = (1 << TAG_BITS) - 1;
/// Bit of a tag word: a writer is changing the bucket.
const LOCKED: u64 = 1 << 63;
/// Bit of a tag word: the overflow chain of the bucket is not empty.
const CHAINED: u64 = 1 << 62;
/// How often a locked bucket or a changing entry is tried before the packet is given up: some two microseconds. A
/// holder that is running is mostly done by then; one that is not would keep the worker waiting.
const TRIES: u32 = 100;
/// The most overflow entries of one bucket. Far above what even a full table comes to by chance; who looks for
/// keys that share a bucket gets no longer chains than this.
const CHAIN_MAX: usize = 64;

/// Why no entry was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InsertError {
    /// The key is there already.
    #[error("the flow exists already, at index {0}")]
    Exists(FlowIndex),
    /// The bucket is full, and so are its chain or the overflow area.
    #[error("the flow table has no free entry for this flow")]
    Full,
    /// Another thread holds the bucket.
    #[error("the bucket of the flow is busy")]
    Busy,
}

/// The flow table that workers and the control thread share.
pub struct FlowTable {
    geometry: Geometry,
    /// A word per bucket: four tags of fifteen bits, zero for a free slot.
    tags: Mapped<AtomicU64>,
    hot: Mapped<HotFlow>,
    shared: Mapped<SharedFlow>,
    /// What clients map if it is not `shared`.
    pub(super) views: Option<FlowViews>,
    pub(super) foreign: Mapped<Foreign>,
    translations: Mapped<TranslationCell>,
    /// Per worker, `marks` bytes apart: the blocks in which it counted. Each worker writes bytes of its own,
    /// so that it can write without looking and no other worker waits for the line.
    touched: Mapped<AtomicU8>,
    marks: usize,
    hints: OverflowHints,
    /// Head of the list of free overflow entries: index plus one, and a counter against reuse.
    free: AtomicU64,
    /// Links of that list.
    free_next: Mapped<AtomicU32>,
    used: AtomicU32,
    used_overflow: AtomicU32,
    ports: ServicePorts,
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
        })
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

    const fn tag(hash: FlowHash) -> u64 {
        let tag = hash.secondary as u64 & TAG_MASK;
        if tag == 0 { TAG_MASK } else { tag }
    }

    /// First step of a lookup: asks for the line of tags.
    #[inline]
    pub fn prefetch_tags(&self, hash: FlowHash) {
        let bucket = self.geometry.bucket(hash.primary) as usize / 4;
        if let Some(word) = self.tags.get(bucket) {
            prefetch(word);
        }
    }

    /// Second step of a lookup: asks for the entry that the tags point to and returns where it is, if any
    /// tag matches, or the one of the overflow area that the hash points to. The answer is a hint for [`FlowTable::check`].
    #[inline]
    #[must_use]
    pub fn candidate(&self, hash: FlowHash) -> Option<FlowIndex> {
        // A tag that matches leaves fifteen zero bits; the lowest such group is found without a branch.
        const LOW: u64 = 0x0000_2000_4000_8001;
        const HIGH: u64 = LOW << (TAG_BITS - 1);
        let bucket = self.geometry.bucket(hash.primary);
        let word = self.tags.get(bucket as usize / 4)?.load(Ordering::Acquire);
        let differences = (word & (LOCKED - 1) & !CHAINED) ^ (Self::tag(hash) * LOW);
        let zeros = differences.wrapping_sub(LOW) & !differences & HIGH;
        let index = if zeros != 0 {
            FlowIndex(bucket + zeros.trailing_zeros() / TAG_BITS)
        } else if word & CHAINED != 0 {
            self.hints.find(hash)?
        } else {
            return None;
        };
        prefetch(self.hot.get(index.index())?);
        Some(index)
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

    /// As [`FlowTable::check`], for the five words of an IPv4 key.
    #[inline]
    #[must_use]
    pub fn check_inet(&self, index: FlowIndex, words: &[u32; 5]) -> Option<(&HotFlow, State)> {
        let hot = self.hot.get(index.index())?;
        let state = hot.state();
        (hot.matches_inet(words) && state.is_active()).then_some((hot, state))
    }

    /// The entry of a key: all of its bucket and its overflow chain.
    #[must_use]
    pub fn find(&self, key: &FlowKey, hash: FlowHash) -> Option<FlowIndex> {
        let bucket = self.geometry.bucket(hash.primary);
        let word = self.tags.get(bucket as usize / 4)?.load(Ordering::Acquire);
        self.find_with(key, hash, bucket, word)
    }

    fn find_with(&self, key: &FlowKey, hash: FlowHash, bucket: u32, word: u64) -> Option<FlowIndex> {
        let tag = Self::tag(hash);
        let here = |index: u32| self.check(FlowIndex(index), key).map(|_| FlowIndex(index));
        (0..4)
            .filter(|slot| (word >> (slot * TAG_BITS)) & TAG_MASK == tag)
            .find_map(|slot| here(bucket + slot))
            .or_else(|| if word & CHAINED == 0 { None } else { self.chain(bucket).find_map(here) })
    }

    /// Overflow entries of a bucket; bounded even if the chain changes while it is walked.
    fn chain(&self, bucket: u32) -> impl Iterator<Item = u32> {
        std::iter::successors(self.next(bucket + 3), |index| self.next(*index)).take(CHAIN_MAX)
    }

    /// The overflow entry that an entry links to.
    fn next(&self, index: u32) -> Option<u32> {
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

    fn lock(&self, bucket: u32) -> Result<u64, InsertError> {
        let cell = &self.tags[bucket as usize / 4];
        for _ in 0..TRIES {
            let word = cell.load(Ordering::Relaxed);
            if word & LOCKED == 0
                && cell
                    .compare_exchange_weak(word, word | LOCKED, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return Ok(word);
            }
            std::hint::spin_loop();
        }
        Err(InsertError::Busy)
    }

    fn unlock(&self, bucket: u32, word: u64) {
        self.tags[bucket as usize / 4].store(word, Ordering::Release);
    }

    /// Makes an entry in HOLD and publishes it once `prepare` has filled in the rest of its shared half.
    ///
    /// # Errors
    /// [`InsertError`] when the key is there, nothing is free, or the bucket is busy.
    pub fn insert(
        &self,
        key: &FlowKey,
        hash: FlowHash,
        prepare: impl FnOnce(&SharedFlow),
    ) -> Result<FlowIndex, InsertError> {
        self.insert_as(key, hash, |shared| {
            prepare(shared);
            (FlowAction::Hold, false)
        })
    }

    /// As [`FlowTable::insert`], with the action that `prepare` says, and whether that is a plain forward.
    ///
    /// # Errors
    /// As [`FlowTable::insert`].
    pub fn insert_as(
        &self,
        key: &FlowKey,
        hash: FlowHash,
        prepare: impl FnOnce(&SharedFlow) -> (FlowAction, bool),
    ) -> Result<FlowIndex, InsertError> {
        let bucket = self.geometry.bucket(hash.primary);
        let word = self.lock(bucket)?;
        if let Some(index) = self.find_with(key, hash, bucket, word) {
            self.unlock(bucket, word);
            return Err(InsertError::Exists(index));
        }
        let free = (0..4).find(|slot| {
            self.shared[(bucket + slot) as usize].hash_flags.load(Ordering::Acquire) & HENTRY_VALID == 0
        });
        let (index, word) = if let Some(slot) = free {
            self.used.fetch_add(1, Ordering::Relaxed);
            (bucket + slot, word | Self::tag(hash) << (slot * TAG_BITS))
        } else if let Some(index) = self.pop_free_for(bucket) {
            self.used_overflow.fetch_add(1, Ordering::Relaxed);
            (index, word | CHAINED)
        } else {
            self.unlock(bucket, word);
            return Err(InsertError::Full);
        };
        self.fill(index, bucket, key, prepare);
        if index >= self.geometry.entries {
            self.shared[(bucket + 3) as usize].next_index.store(index, Ordering::Release);
            self.show(FlowIndex(bucket + 3));
            self.hints.add(hash, FlowIndex(index));
        }
        self.unlock(bucket, word);
        Ok(FlowIndex(index))
    }

    fn fill(
        &self,
        index: u32,
        bucket: u32,
        key: &FlowKey,
        prepare: impl FnOnce(&SharedFlow) -> (FlowAction, bool),
    ) {
        let shared = &self.shared[index as usize];
        let in_overflow = index >= self.geometry.entries;
        let next = if in_overflow || index == bucket + 3 {
            self.chain(bucket).next().unwrap_or(u32::MAX)
        } else {
            u32::MAX
        };
        let generation = shared.generation.load(Ordering::Relaxed).wrapping_add(1);
        shared.initialise(index, bucket, next);
        shared.generation.store(generation, Ordering::Relaxed);
        shared.set_key(key);
        let (action, simple) = prepare(shared);
        let hot = &self.hot[index as usize];
        for (cell, word) in hot.key.iter().zip(key.words()) {
            cell.store(*word, Ordering::Relaxed);
        }
        hot.packets.store(0, Ordering::Relaxed);
        hot.bytes.store(0, Ordering::Relaxed);
        hot.epoch.store(0, Ordering::Relaxed);
        self.foreign[index as usize].clear();
        hot.state.store(State::new(generation).with_action(action, simple).0, Ordering::Release);
        shared.hash_flags.store(HENTRY_VALID, Ordering::Release);
        self.show(FlowIndex(index));
    }

    /// An overflow entry for a bucket whose chain has room for it.
    fn pop_free_for(&self, bucket: u32) -> Option<u32> {
        if self.chain(bucket).count() < CHAIN_MAX { self.pop_free() } else { None }
    }

    fn pop_free(&self) -> Option<u32> {
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            let position = (head as u32).checked_sub(1)?;
            let next = self.free_next[position as usize].load(Ordering::Relaxed);
            let new = ((head >> 32) + 1) << 32 | u64::from(next);
            match self.free.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return Some(self.geometry.entries + position),
                Err(now) => head = now,
            }
        }
    }

    fn push_free(&self, index: u32) {
        let position = index - self.geometry.entries;
        let mut head = self.free.load(Ordering::Acquire);
        loop {
            self.free_next[position as usize].store(head as u32, Ordering::Relaxed);
            let new = ((head >> 32) + 1) << 32 | u64::from(position + 1);
            match self.free.compare_exchange_weak(head, new, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }

    /// First step of a removal: no lookup finds the entry any more. Its slot stays occupied until
    /// [`FlowTable::release`], which is due when every worker has finished its present batch. `false` when
    /// the slot is not in use or its bucket is busy.
    pub fn unlink(&self, index: FlowIndex) -> bool {
        let Some(key) = self.shared.get(index.index()).and_then(SharedFlow::key) else { return false };
        let hash = key.hash();
        let bucket = self.geometry.bucket(hash.primary);
        let Ok(mut word) = self.lock(bucket) else { return false };
        self.update_state(index, State::inactive);
        if index.0 < self.geometry.entries {
            word &= !(TAG_MASK << ((index.0 - bucket) * TAG_BITS));
        } else {
            self.hints.remove(hash, index);
            let mut links = std::iter::once(bucket + 3).chain(self.chain(bucket));
            if let Some(before) = links.find(|before| self.next(*before) == Some(index.0)) {
                let after = self.shared[index.index()].next_index.load(Ordering::Relaxed);
                self.shared[before as usize].next_index.store(after, Ordering::Release);
                self.show(FlowIndex(before));
            }
            if self.next(bucket + 3).is_none() {
                word &= !CHAINED;
            }
        }
        self.unlock(bucket, word);
        true
    }

    /// Second step of a removal: the slot may be used again. The generation stays.
    pub fn release(&self, index: FlowIndex) {
        let Some(shared) = self.shared.get(index.index()) else { return };
        let linked = FlowIndex(shared.reverse.load(Ordering::Relaxed));
        // The chain of a bucket hangs off its fourth entry, which may itself be free: that link stays, and
        // belongs to whoever holds the bucket.
        if index.0 >= self.geometry.entries || index.0 % 4 != 3 {
            shared.next_index.store(0, Ordering::Relaxed);
        }
        shared.clear();
        // From here on an insertion may fill the slot.
        shared.hash_flags.store(0, Ordering::Release);
        self.void(linked);
        self.show(index);
        if index.0 < self.geometry.entries {
            self.used.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.used_overflow.fetch_sub(1, Ordering::Relaxed);
            self.push_free(index.0);
        }
    }

    pub(super) fn update_state(&self, index: FlowIndex, change: impl Fn(State) -> State) -> Option<State> {
        let cell = &self.hot.get(index.index())?.state;
        let old = cell.fetch_update(Ordering::AcqRel, Ordering::Acquire, |old| Some(change(State(old)).0));
        old.ok().map(State)
    }

    /// Changes an entry as the agent asked: what was compiled is void, readers of the shared half wait until
    /// `change` is done and then find all of it. `simple` says that the new action is a plain forward.
    /// For the control thread only.
    pub fn modify(&self, index: FlowIndex, change: impl FnOnce(&SharedFlow) -> (FlowAction, bool)) {
        let (Some(shared), Some(hot)) = (self.shared(index), self.hot(index)) else { return };
        self.update_state(index, State::changing);
        hot.forget();
        std::sync::atomic::fence(Ordering::SeqCst);
        let linked = shared.reverse.load(Ordering::Relaxed);
        let (action, simple) = change(shared);
        self.update_state(index, |state| state.with_action(action, simple).changed());
        if shared.reverse.load(Ordering::Relaxed) != linked {
            self.void(FlowIndex(linked));
        }
        self.show(index);
    }

    /// Voids what was compiled for an entry. A translation is made of the key of the entry that this one is linked to,
    /// so it ends when that one goes or is linked to another.
    pub(crate) fn void(&self, index: FlowIndex) {
        if let Some(hot) = self.hot.get(index.index()) {
            hot.void(hot.state());
        }
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

    /// Reads the shared half so that all of it belongs to one state. `None` when a change does not end
    /// within a short time, or the entry is not active.
    pub fn read<R>(&self, index: FlowIndex, read: impl Fn(&SharedFlow) -> R) -> Option<(R, State)> {
        let hot = self.hot.get(index.index())?;
        for _ in 0..TRIES {
            let before = hot.state();
            if !before.is_active() {
                return None;
            }
            if !before.is_changing() {
                let result = read(&self.shared[index.index()]);
                std::sync::atomic::fence(Ordering::Acquire);
                let after = hot.state();
                if after.version() == before.version() && !after.is_changing() {
                    return Some((result, after));
                }
            }
            std::hint::spin_loop();
        }
        None
    }

    /// Claims an entry for a worker if nobody owns it; says whether the worker is its owner now.
    #[inline]
    pub fn claim(&self, index: FlowIndex, worker: WorkerId) -> bool {
        let Some(hot) = self.hot.get(index.index()) else { return false };
        let state = hot.state();
        let owned = state.with_owner(worker).0;
        state.is_owned_by(worker)
            || state.is_unowned()
                && hot.state.compare_exchange(state.0, owned, Ordering::AcqRel, Ordering::Acquire).is_ok()
    }

    /// Counts a packet on an entry, owned by the worker or not.
    pub fn count(&self, index: FlowIndex, worker: WorkerId, bytes: usize) {
        let Some(hot) = self.hot.get(index.index()) else { return };
        if self.claim(index, worker) {
            hot.count(bytes);
        } else if let Some(foreign) = self.foreign.get(index.index()) {
            foreign.count(bytes);
        }
        self.touch(index, worker);
    }

    /// Marks an entry for the next folding, after it was counted on. The worker stores without looking: had
    /// it looked first, its count might become visible only after folding has cleared the mark and read the
    /// counters.
    #[inline]
    pub fn touch(&self, index: FlowIndex, worker: WorkerId) {
        if let Some(cell) = self.touched.get(worker.index() * self.marks + index.index() / BLOCK) {
            // Release: whoever takes the mark sees what was counted before.
            cell.store(1, Ordering::Release);
        }
    }

    /// Takes the marks of a block; says whether there was one.
    pub(super) fn take_marks(&self, block: usize) -> bool {
        let mut touched = false;
        for cell in self.touched.iter().skip(block).step_by(self.marks) {
            // A mark that this load misses is seen in the next round.
            touched |= cell.load(Ordering::Relaxed) != 0 && cell.swap(0, Ordering::Acquire) != 0;
        }
        touched
    }

    /// The entries in blocks, as marks are about them.
    pub(super) fn blocks(&self) -> impl Iterator<Item = std::ops::Range<u32>> + use<> {
        let total = self.geometry.total() as u32;
        (0..total).step_by(BLOCK).map(move |first| first..total.min(first + BLOCK as u32))
    }

    /// Packets and bytes of an entry so far.
    #[must_use]
    pub fn counters(&self, index: FlowIndex) -> (u64, u64) {
        let (Some(hot), Some(foreign)) = (self.hot.get(index.index()), self.foreign.get(index.index()))
        else {
            return (0, 0);
        };
        let (others_packets, others_bytes) = foreign.counters();
        // The owner's packet counter has 32 bits; the shared half remembers the carries.
        let low = hot.packets.load(Ordering::Relaxed).wrapping_add(others_packets as u32);
        let (before, _) = self.shared[index.index()].counters();
        let carry = u64::from(low < before as u32);
        let packets = ((before >> 32) + carry) << 32 | u64::from(low);
        (packets, hot.bytes.load(Ordering::Relaxed).wrapping_add(others_bytes))
    }

    /// Adds TCP flags to an entry and says which it has now.
    pub fn set_tcp_flags(&self, index: FlowIndex, flags: TcpFlags) -> TcpFlags {
        let Some(shared) = self.shared.get(index.index()) else { return TcpFlags::empty() };
        let before = shared.tcp_flags.fetch_or(flags.bits(), Ordering::AcqRel);
        let now = TcpFlags::from_bits_truncate(before) | flags;
        settle(
            || TcpFlags::from_bits_truncate(shared.tcp_flags.load(Ordering::Acquire)),
            |settled| {
                self.update_state(index, |state| state.with_tcp_settled(settled));
            },
        );
        self.show(index);
        now
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
