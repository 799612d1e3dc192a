//! Entries that make room without the agent (forwarding.md 6.9).

use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use vr_types::FlowIndex;

use super::layout::{FlowAction, FlowFlags, SharedFlow, TcpFlags};
use super::state::State;
use super::table::FlowTable;

/// Entries that wait for the control thread at the most. One that finds no place is named again by its next packet.
pub(super) const CANDIDATES: usize = 16_384;

/// An entry to be evicted, with the generation that was meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    pub(crate) index: FlowIndex,
    pub(crate) generation: u8,
}

/// An entry whose connection is over, and which must not be changed by others any more.
fn start(shared: &SharedFlow) -> bool {
    shared.start_change(FlowFlags::DELETE_MARKED | FlowFlags::EVICT_CANDIDATE)
}

impl FlowTable {
    /// Marks an entry whose TCP connection is over, and its reverse, for eviction; for workers. Nothing happens if
    /// somebody is changing one of them, or if they do not belong together.
    pub fn mark_for_eviction(&self, index: FlowIndex) {
        let Some(shared) = self.shared(index) else { return };
        if !start(shared) {
            return;
        }
        let linked = FlowIndex(shared.reverse.load(Relaxed));
        let reverse = self.shared(linked).filter(|_| linked != index && self.in_use(linked));
        let fits = reverse.is_none_or(|reverse| {
            let back = reverse.reverse.load(Relaxed);
            reverse.tcp_flags().contains(TcpFlags::DEAD)
                && reverse.action.load(Relaxed) != FlowAction::Hold as u16
                && (back == index.0 || back == u32::MAX)
                && start(reverse)
        });
        if fits && let Some(reverse) = reverse {
            self.nominate(linked, reverse);
        }
        if fits {
            self.nominate(index, shared);
        } else {
            shared.end_change(FlowFlags::empty(), FlowFlags::empty());
        }
    }

    /// Ends the change of an entry that becomes a candidate, if there is room for it.
    fn nominate(&self, index: FlowIndex, shared: &SharedFlow) {
        let generation = shared.generation.load(Relaxed);
        shared.end_change(FlowFlags::EVICT_CANDIDATE, FlowFlags::empty());
        if self.candidates.push(Candidate { index, generation }).is_err() {
            shared.flags.fetch_and(!FlowFlags::EVICT_CANDIDATE.bits(), Relaxed);
        } else {
            // The fast lanes leave its packets to the full path, which sees the mark.
            self.update_state(index, |state| state.voided().complicated());
        }
        self.show(index);
    }

    /// Entries evicted so far.
    #[must_use]
    pub fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// The next entry that a worker has marked.
    pub(crate) fn next_candidate(&self) -> Option<Candidate> {
        self.candidates.pop()
    }

    /// Whether entries wait to be evicted.
    pub(crate) fn has_candidates(&self) -> bool {
        !self.candidates.is_empty()
    }

    /// Locks an entry for a request of the agent, if nobody is changing it and the agent knows it.
    pub(crate) fn lock_entry(&self, index: FlowIndex) -> bool {
        self.shared(index).is_some_and(|shared| shared.start_change(FlowFlags::empty()))
    }

    /// Ends that.
    pub(crate) fn unlock_entry(&self, index: FlowIndex) {
        if let Some(shared) = self.shared(index) {
            shared.end_change(FlowFlags::empty(), FlowFlags::empty());
            self.show(index);
        }
    }

    /// Locks an entry for the rest of its life; for the control thread, which unlinks it next. Not one that the agent
    /// has not been told of, that is being removed or changed, or that has another generation. A request of the agent
    /// is told from now on that the entry is busy.
    pub(crate) fn start_eviction(&self, candidate: Candidate) -> bool {
        let Candidate { index, generation } = candidate;
        let (Some(shared), Some(hot)) = (self.shared(index), self.hot(index)) else { return false };
        let state = hot.state();
        let theirs = state.is_active() && state.generation() == generation;
        let started = theirs && shared.start_change(FlowFlags::DELETE_MARKED);
        if started {
            shared.flags.fetch_or(FlowFlags::EVICT_CANDIDATE.bits(), Release);
            self.evictions.fetch_add(1, Relaxed);
            self.show(index);
        }
        started
    }

    /// Last step of an eviction, when no worker uses the entry any more: it is marked as evicted, and its slot may be
    /// used again. Generation and counters stay for the agent, and for the slot's next user.
    pub(crate) fn release_evicted(&self, index: FlowIndex) {
        let Some(shared) = self.shared(index) else { return };
        let (packets, bytes) = self.counters(index);
        shared.set_counters(packets, bytes);
        shared.end_change(FlowFlags::EVICTED, FlowFlags::EVICT_CANDIDATE);
        self.free_slot(index, shared);
    }

    /// Takes away what evicted entries without a successor have left. For the control thread, while no worker looks.
    pub(crate) fn clear_evicted(&self) {
        for index in (0..self.geometry().total() as u32).map(FlowIndex) {
            let Some(shared) =
                self.shared(index).filter(|shared| shared.flags().contains(FlowFlags::EVICTED))
            else {
                continue;
            };
            if shared.hash_flags.load(Acquire) == 0 {
                shared.clear();
                self.show(index);
            }
        }
    }
}

impl State {
    /// Its packets take the full path.
    const fn complicated(self) -> Self {
        self.with_action(self.action(), false)
    }
}
