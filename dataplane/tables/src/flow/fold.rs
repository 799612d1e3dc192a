//! Brings counters into the shared half, and finds entries whose packets have moved to another worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use vr_types::FlowIndex;

use super::state::State;
use super::table::FlowTable;
use crate::deferred::Deferred;
use crate::grace::Grace;

/// Belongs to the housekeeping thread. While it looks at a block it takes part in grace periods, so that the
/// slots in it do not change hands.
pub struct FlowFolding {
    table: Arc<FlowTable>,
    grace: Arc<Grace>,
    /// Entries, with their generation, whose former owners may still be in the batch in which they were it.
    between_owners: Deferred<(FlowIndex, u8)>,
}

impl FlowFolding {
    pub(crate) fn new(table: Arc<FlowTable>, grace: Arc<Grace>) -> Self {
        Self { table, grace, between_owners: Deferred::default() }
    }

    /// Looks at everything that was touched since the last time; returns how many entries that were. An
    /// entry on which only workers that do not own it have counted since its last look loses its owner: at
    /// once nobody owns it, and after a grace period the next worker that meets it may.
    pub fn run(&mut self) -> usize {
        while let Some(entries) = self.between_owners.take(&self.grace) {
            for (index, generation) in entries {
                self.let_go(index, generation);
            }
        }
        let mut scanned = 0;
        for (number, entries) in self.table.blocks().enumerate() {
            if self.table.take_marks(number) {
                scanned += entries.len();
                self.grace.enter(self.grace.housekeeping());
                for index in entries {
                    self.fold(FlowIndex(index));
                }
                self.grace.leave(self.grace.housekeeping());
            }
        }
        self.between_owners.seal(&self.grace);
        scanned
    }

    fn fold(&mut self, index: FlowIndex) {
        let table = &self.table;
        let (Some(hot), Some(shared), Some(foreign)) =
            (table.hot(index), table.shared(index), table.foreign.get(index.index()))
        else {
            return;
        };
        let state = hot.state();
        if !state.is_active() {
            return;
        }
        let (packets, bytes) = table.counters(index);
        shared.set_counters(packets, bytes);
        table.show(index);
        // An entry that is changing may get another generation, under which nobody would let go of it.
        if foreign.owner_has_gone(hot.packets.load(Ordering::Relaxed))
            && !state.is_unowned()
            && !state.is_between_owners()
            && !state.is_changing()
            && hot.replace(state, state.between_owners())
        {
            self.between_owners.push((index, state.generation()));
        }
    }

    fn let_go(&self, index: FlowIndex, generation: u8) {
        let waits = |state: State| state.generation() == generation && state.is_between_owners();
        self.table.update_state(index, |state| if waits(state) { state.unowned() } else { state });
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use vr_types::{NexthopId, WorkerId};

    use super::super::FlowKey;
    use super::{Arc, FlowFolding, FlowTable, Grace, State};
    use crate::geometry::Geometry;

    #[test]
    fn an_entry_keeps_its_owner_while_it_changes() {
        let table = Arc::new(FlowTable::new(Geometry { entries: 4, overflow: 0 }, 2, None).unwrap());
        let mut folding = FlowFolding::new(Arc::clone(&table), Arc::new(Grace::new(2)));
        let key = FlowKey::inet(17, [0, 1, 0, 53], NexthopId(9), [10, 0, 0, 1], [10, 0, 0, 2]);
        let index = table.insert(&key, key.hash(), |_| {}).unwrap();
        let owned_by = |worker| table.hot(index).unwrap().state().is_owned_by(WorkerId(worker));
        table.count(index, WorkerId(0), 100);
        let mut others_only = || {
            table.count(index, WorkerId(1), 100);
            folding.run();
        };
        others_only();
        table.update_state(index, State::changing);
        others_only();
        assert!(owned_by(0));
        table.update_state(index, State::changed);
        others_only();
        assert!(!owned_by(0));
        others_only();
        table.count(index, WorkerId(1), 100);
        assert!(owned_by(1));
    }
}
