//! What is different while an agent restarts, and after it (docs/agent-restart.md).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::nexthop::Nexthop;
use vr_tables::vif::VifKind;
use vr_types::{DropReason, FlowIndex, TrapReason, VifId, VrfId};

use super::{Full, Pkt};
use crate::verdict::Step;

impl Full<'_> {
    /// Whether the agent may be asked about a packet. While it restarts it knows the numbers of the underlay only.
    pub(super) fn may_ask(&self, pkt: &Pkt) -> bool {
        !self.tables.restarting || self.is_of_underlay(pkt)
    }

    /// Whether the agent may inject a packet: its numbers for guests are not in force while it restarts.
    pub(super) fn may_inject(&self, vif: VifId, vrf: VrfId) -> bool {
        let is_guest = || self.tables.vif(vif).is_some_and(|vif| vif.kind.is_guest());
        !self.tables.restarting || vrf == VrfId::FABRIC && !is_guest()
    }

    /// A packet that needs a new flow, while nobody decides about flows: the host goes on without, for the agent itself
    /// may need it. Guests keep their policy.
    pub(super) fn pass_without_flow(&self, pkt: &mut Pkt, nexthop: Option<&Nexthop>) -> Step {
        let target = nexthop.and_then(Nexthop::vif).and_then(|vif| self.tables.vif(vif));
        if !self.is_of_underlay(pkt) || target.is_some_and(|vif| vif.kind.is_guest()) {
            return Err(DropReason::DropNewFlow.into());
        }
        // It may be for a guest: that is known when it has been routed.
        pkt.flow_done = nexthop.is_some();
        Ok(())
    }

    fn is_of_underlay(&self, pkt: &Pkt) -> bool {
        match self.ingress_kind(pkt) {
            Some(VifKind::Host | VifKind::XenLinkLocal | VifKind::Agent) => true,
            Some(VifKind::Physical) => pkt.outer_source.is_none(),
            _ => false,
        }
    }

    /// Shows a packet of a flow that the restarted agent has forgotten as that of a new one. The packet itself goes on
    /// by the old action.
    pub(super) fn show_again(&mut self, pkt: &Pkt, flow: FlowIndex) {
        let (Some(shared), Some(mut copy)) = (self.flows.shared(flow), self.duplicate(pkt)) else { return };
        let trap = self.flow_trap(pkt, flow, shared, shared.generation.load(Relaxed));
        if trap.reason == TrapReason::FlowMiss {
            copy.vrf = VrfId(shared.vrf.load(Relaxed));
            self.trap(copy, &trap);
        } else {
            // Another worker was faster.
            self.pool.free(copy.frame);
        }
    }
}
