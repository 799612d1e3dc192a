//! Asking for the memory of flows that are about to be made or changed, so that the misses of many overlap.

use std::sync::atomic::Ordering::Relaxed;

use vr_types::FlowIndex;

use super::key::FlowHash;
use super::table::{FlowTable, TAG_BITS, TAG_MASK};
use crate::prefetch::prefetch;

/// Flows that are asked for at once at the most.
const MOST: usize = 16;

/// A flow that will be needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The entry is there.
    Entry(FlowIndex),
    /// One will be made for a key with this hash.
    New(FlowHash),
}

impl FlowTable {
    /// Asks for what [`FlowTable::insert`] and [`FlowTable::modify`] of these flows need.
    ///
    /// What has to be translated first is asked for first, in short loops: a processor looks up only a few pages at a
    /// time, and no further ahead than some hundred instructions.
    pub fn expect(&self, flows: &[Expected]) {
        for flows in flows.chunks(MOST) {
            let mut entries = [FlowIndex::NONE; MOST];
            for flow in flows {
                if let Expected::New(hash) = flow {
                    self.locate(*hash);
                }
            }
            for (entry, flow) in entries.iter_mut().zip(flows) {
                *entry = match flow {
                    Expected::Entry(index) => *index,
                    Expected::New(hash) => self.vacancy(*hash),
                };
                self.prefetch_first(*entry);
            }
            for entry in &entries[..flows.len()] {
                self.prefetch_rest(*entry);
            }
        }
    }

    /// As [`FlowTable::expect`] for one new flow whose tags are there already.
    #[inline]
    pub fn expect_new(&self, hash: FlowHash) {
        let entry = self.vacancy(hash);
        self.prefetch_first(entry);
        self.prefetch_rest(entry);
    }

    /// Asks for what packets need that are released by these entries.
    pub fn expect_release(&self, flows: &[FlowIndex]) {
        for flow in flows {
            self.prefetch_first(*flow);
        }
        for flow in flows {
            self.prefetch_rest(*flow);
        }
        for flow in flows.iter().filter_map(|flow| self.shared(*flow)) {
            // The source check looks at the reverse flow.
            if let Some(reverse) = self.shared(FlowIndex(flow.reverse.load(Relaxed))) {
                prefetch(&reverse.hash_flags);
                prefetch(&reverse.ecmp_index);
            }
        }
    }

    /// The entry that an insertion will take if nobody else comes first; none if it is one of the overflow area.
    #[inline]
    fn vacancy(&self, hash: FlowHash) -> FlowIndex {
        let bucket = self.geometry().bucket(hash.primary);
        let word = self.tags.get(bucket as usize / 4).map_or(u64::MAX, |tags| tags.load(Relaxed));
        let slot = (0..4).find(|slot| word >> (slot * TAG_BITS) & TAG_MASK == 0);
        slot.map_or(FlowIndex::NONE, |slot| FlowIndex(bucket + slot))
    }

    #[inline]
    fn prefetch_first(&self, index: FlowIndex) {
        if let (Some(shared), Some(hot)) = (self.shared(index), self.hot(index)) {
            prefetch(&shared.hash_flags);
            prefetch(hot);
        }
    }

    #[inline]
    fn prefetch_rest(&self, index: FlowIndex) {
        if let (Some(shared), Some(foreign)) = (self.shared(index), self.foreign.get(index.index())) {
            prefetch(&shared.reverse);
            prefetch(&shared.tcp_ack);
            prefetch(foreign);
        }
    }
}
