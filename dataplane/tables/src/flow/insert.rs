//! How entries come into the table and leave it.

use std::sync::atomic::Ordering;

use vr_types::FlowIndex;

use super::key::{FlowHash, FlowKey};
use super::layout::{FlowAction, HENTRY_VALID, SharedFlow};
use super::state::State;
use super::table::{CHAIN_MAX, CHAINED, FlowTable, LOCKED, TAG_BITS, TAG_MASK, TRIES};

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

impl FlowTable {
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

    /// Makes an entry in HOLD and publishes it once `prepare` has filled in the rest of its shared half, whose counters
    /// are still those of an evicted predecessor then.
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
        // One without a tag may still be on its way out; the entries of the others need not be read.
        let untagged = (0..4).filter(|slot| word >> (slot * TAG_BITS) & TAG_MASK == 0);
        let free = untagged
            .map(|slot| (slot, &self.shared[(bucket + slot) as usize].hash_flags))
            .find_map(|(slot, flags)| (flags.load(Ordering::Acquire) & HENTRY_VALID == 0).then_some(slot));
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
        shared.set_counters(0, 0);
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
        let Some(shared) = self.shared.get(index.index()) else { return false };
        let Some(key) = shared.key() else { return false };
        let hash = key.hash();
        let bucket = self.geometry.bucket(hash.primary);
        let Ok(mut word) = self.lock(bucket) else { return false };
        // Workers come to the entry by its reverse flow as well.
        self.end_link(FlowIndex(shared.reverse.load(Ordering::Relaxed)), index);
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
        shared.clear();
        self.free_slot(index, shared);
    }

    /// From now on an insertion may fill the slot, which no lookup finds and no worker uses.
    pub(super) fn free_slot(&self, index: FlowIndex, shared: &SharedFlow) {
        if let Some(quotas) = &self.quotas {
            quotas.forget(index);
        }
        // The chain of a bucket hangs off its fourth entry, which may itself be free: that link stays, and
        // belongs to whoever holds the bucket.
        if index.0 >= self.geometry.entries || index.0 % 4 != 3 {
            shared.next_index.store(0, Ordering::Relaxed);
        }
        shared.hash_flags.store(0, Ordering::Release);
        self.show(index);
        if index.0 < self.geometry.entries {
            self.used.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.used_overflow.fetch_sub(1, Ordering::Relaxed);
            self.push_free(index.0);
        }
    }
}
