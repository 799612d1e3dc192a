//! TCP connections that are over make room (forwarding.md 6.9).

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
}
