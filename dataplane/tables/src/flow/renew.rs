//! Entries that are to be shown to an agent that has forgotten them.

use std::sync::atomic::Ordering;

use vr_types::FlowIndex;

use super::layout::{FlowFlags, SharedFlow};
use super::state::State;
use super::table::FlowTable;

impl FlowTable {
    /// Gives an entry another generation and marks it as new to the agent; its action stays. What was compiled is void.
    /// For the control thread only.
    ///
    /// `None` if the entry is not active, has another generation, is being changed by somebody, or gets another owner
    /// just now: that is known by the generation which it has now.
    pub(crate) fn renew(&self, index: FlowIndex, generation: u8) -> Option<u8> {
        let shared = self.shared(index)?;
        // No worker marks it for eviction under the generation that it is about to lose.
        if !shared.start_renewal(FlowFlags::DELETE_MARKED | FlowFlags::EVICT_CANDIDATE) {
            return None;
        }
        let renewed = self.renew_locked(index, shared, generation);
        shared.end_change(FlowFlags::empty(), FlowFlags::empty());
        self.show(index);
        renewed
    }

    fn renew_locked(&self, index: FlowIndex, shared: &SharedFlow, generation: u8) -> Option<u8> {
        let hot = self.hot(index)?;
        let before = hot.state();
        let theirs = before.is_active() && before.generation() == generation;
        if !theirs || before.is_between_owners() {
            return None;
        }
        let generation = generation.wrapping_add(1);
        if !hot.replace(before, before.changing()) {
            return None;
        }
        hot.forget();
        std::sync::atomic::fence(Ordering::SeqCst);
        shared.generation.store(generation, Ordering::Release);
        // Whoever may compile for it again has seen that.
        shared.flags.fetch_or(FlowFlags::NEW_FLOW.bits(), Ordering::Release);
        self.update_state(index, |state| state.with_generation(generation).changed());
        Some(generation)
    }
}

impl State {
    const fn with_generation(self, generation: u8) -> Self {
        Self(self.0 & !0xff | generation as u32)
    }
}
