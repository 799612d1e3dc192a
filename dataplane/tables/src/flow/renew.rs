//! Entries that are to be shown to an agent that has forgotten them.

use std::sync::atomic::Ordering;

use vr_types::FlowIndex;

use super::layout::FlowFlags;
use super::state::State;
use super::table::FlowTable;

impl FlowTable {
    /// Gives an entry another generation and marks it as new to the agent; its action stays. What was compiled is void.
    /// For the control thread only.
    ///
    /// `None` if the entry is not active, has another generation, is being changed by somebody, or gets another owner
    /// just now: that is known by the generation which it has now.
    pub(crate) fn renew(&self, index: FlowIndex, generation: u8) -> Option<u8> {
        let (shared, hot) = (self.shared(index)?, self.hot(index)?);
        let before = hot.state();
        let busy = FlowFlags::DELETE_MARKED | FlowFlags::MODIFIED | FlowFlags::EVICT_CANDIDATE;
        let theirs = before.is_active() && before.generation() == generation;
        if !theirs || before.is_between_owners() || shared.flags().intersects(busy) {
            return None;
        }
        let generation = generation.wrapping_add(1);
        let changing = before.changing().0;
        hot.state.compare_exchange(before.0, changing, Ordering::AcqRel, Ordering::Acquire).ok()?;
        hot.forget();
        std::sync::atomic::fence(Ordering::SeqCst);
        shared.generation.store(generation, Ordering::Release);
        shared.flags.fetch_or(FlowFlags::NEW_FLOW.bits(), Ordering::Release);
        self.update_state(index, |state| state.with_generation(generation).changed());
        self.show(index);
        Some(generation)
    }
}

impl State {
    const fn with_generation(self, generation: u8) -> Self {
        Self(self.0 & !0xff | generation as u32)
    }
}
