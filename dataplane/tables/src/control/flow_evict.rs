//! Flows that make room without the agent (forwarding.md 6.9).

use std::sync::atomic::Ordering::{Acquire, Release};

use vr_types::FlowIndex;

use super::flow::invalid;
use super::{CommandError, Tables};
use crate::flow::{Candidate, FlowAction, FlowFlags, TcpFlags};

const TCP: u8 = 6;
/// Marked entries that are evicted at a time, so that a command waits no longer.
const MARKED: usize = 256;

impl Tables {
    /// Evicts what workers have marked.
    pub(super) fn evict_marked(&mut self) {
        for _ in 0..MARKED {
            let Some(candidate) = self.flows.next_candidate() else { return };
            // One that is not there any more was removed by the agent meanwhile.
            self.evict(candidate);
        }
    }

    /// Takes an entry out of the table: no packet finds it any more, its slot is free after a grace period, and tells
    /// until its next use who it was. Gives its action if it was there.
    pub(super) fn evict(&mut self, candidate: Candidate) -> Option<FlowAction> {
        let action = self.flows.hot(candidate.index)?.state().action();
        if !self.flows.start_eviction(candidate) {
            return None;
        }
        let index = candidate.index;
        self.services.set(self.flows.ports(), index, None);
        if action == FlowAction::Hold {
            self.holds.evicted.fetch_add(1, Release);
        }
        self.leaving.evict(&self.flows, &mut self.one_way_links, index);
        Some(action)
    }

    /// Takes away what evicted flows have left in the table.
    pub(super) fn flow_clear_evicted(&mut self) {
        if self.flows.evictions() > 0 {
            self.flows.clear_evicted();
        }
    }

    /// The agent wants a TCP flow evicted that is over.
    pub(super) fn flow_evict(&mut self, entry: Option<FlowIndex>) -> Result<(), CommandError> {
        let refused = invalid("only a TCP flow that is over can be evicted");
        let Some((index, shared)) = entry.and_then(|index| Some((index, self.flows.shared(index)?))) else {
            return Err(refused);
        };
        let is_tcp = shared.key().is_some_and(|key| key.protocol() == TCP);
        let active = shared.flags().contains(FlowFlags::ACTIVE);
        if !is_tcp || !active || !shared.tcp_flags().contains(TcpFlags::DEAD) {
            return Err(refused);
        }
        let generation = shared.generation.load(Acquire);
        self.evict(Candidate { index, generation }).map(|_| ()).ok_or(CommandError::Busy)
    }
}
