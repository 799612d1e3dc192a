//! TCP connections that are over make room (forwarding.md 6.9).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::TcpFlags;
use vr_types::FlowIndex;

use super::Full;

impl Full<'_> {
    /// Behind the action of a packet's flow: marks the flow and its reverse for eviction if their connection is over.
    pub(super) fn evict_if_over(&self, flow: FlowIndex) {
        let shared = self.flows.shared(flow);
        if shared.is_some_and(|shared| shared.tcp_flags().contains(TcpFlags::DEAD)) {
            self.flows.mark_for_eviction(flow);
        }
    }

    /// Behind the packets that waited for the agent: the same, if both directions are linked to each other. Until then the
    /// agent has yet to name this flow.
    pub(super) fn evict_released(&self, flow: FlowIndex) {
        let linked = |index| Some(FlowIndex(self.flows.shared(index)?.reverse.load(Relaxed)));
        if linked(flow).and_then(linked) == Some(flow) {
            self.evict_if_over(flow);
        }
    }
}
