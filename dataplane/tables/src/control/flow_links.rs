//! Links between flows that go one way only.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering::Acquire;

use vr_types::FlowIndex;

use crate::flow::FlowTable;

/// Entries that name another one as their reverse flow, and are not named by it: where links lead, and whence. Two
/// entries that name each other find each other when one of them goes; these would keep the slot's next user.
#[derive(Default)]
pub(super) struct OneWayLinks(BTreeSet<(FlowIndex, FlowIndex)>);

impl OneWayLinks {
    /// The link of an entry has changed; `before` is where it led.
    pub(super) fn changed(&mut self, flows: &FlowTable, index: FlowIndex, before: FlowIndex) {
        for other in [before, linked(flows, index)] {
            self.look(flows, index, other);
            self.look(flows, other, index);
        }
    }

    /// No lookup finds the entry any more: no link leads to it from now on.
    pub(super) fn unlinked(&mut self, flows: &FlowTable, index: FlowIndex) {
        let to_it = (index, FlowIndex(0))..=(index, FlowIndex::NONE);
        while let Some(link) = self.0.range(to_it.clone()).next().copied() {
            self.0.remove(&link);
            flows.end_link(link.1, index);
        }
        self.0.remove(&(linked(flows, index), index));
    }

    fn look(&mut self, flows: &FlowTable, from: FlowIndex, to: FlowIndex) {
        if linked(flows, from) == to && to != FlowIndex::NONE && linked(flows, to) != from {
            self.0.insert((to, from));
        } else {
            self.0.remove(&(to, from));
        }
    }
}

/// The entry that an entry names as its reverse flow.
fn linked(flows: &FlowTable, index: FlowIndex) -> FlowIndex {
    flows.shared(index).map_or(FlowIndex::NONE, |shared| FlowIndex(shared.reverse.load(Acquire)))
}
