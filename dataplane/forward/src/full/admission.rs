//! Which packets may make a flow (forwarding.md 6.5), and which flows may be there beside others.

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{Charge, FlowAction, FlowFlags, FlowHash, FlowKey, InsertError};
use vr_tables::nexthop::{Nexthop, NexthopFlags};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, VifId};

use super::fragments::is_later_fragment;
use super::{Full, Pkt, Resume};
use crate::verdict::Step;

impl Full<'_> {
    /// A packet without a flow: makes one where that is allowed.
    pub(super) fn flow_miss(&mut self, pkt: &mut Pkt, key: &FlowKey, hash: FlowHash, resume: Resume) -> Step {
        let nexthop = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot));
        if nexthop
            .is_some_and(|nh| nh.flags.intersects(NexthopFlags::RELAXED_POLICY | NexthopFlags::FLOW_LOOKUP))
        {
            return Ok(());
        }
        if self.tables.restarting {
            return self.pass_without_flow(pkt, nexthop);
        }
        if is_later_fragment(pkt) {
            return Err(DropReason::FlowUnusable.into());
        }
        let beyond = self.may_wait()?;
        let charge = Charge { vrf: pkt.vrf, vif: self.makes_flow(pkt, nexthop).unwrap_or(VifId::NONE) };
        if self.refuses_new_flows(charge) {
            self.not_made(beyond, None);
            return Err(DropReason::DropNewFlow.into());
        }
        let (vrf, source_info) = (pkt.vrf, self.source_info(pkt));
        let inserted = self.flows.insert(key, hash, |shared| {
            pkt.left = shared.counters();
            shared.action.store(FlowAction::Hold as u16, Relaxed);
            shared.flags.store((FlowFlags::ACTIVE | FlowFlags::NEW_FLOW).bits(), Relaxed);
            shared.vrf.store(vrf.0, Relaxed);
            shared.source_info.store(source_info, Relaxed);
        });
        if let Ok(index) = inserted {
            if let Some(quotas) = self.flows.quotas() {
                quotas.remember(index, charge);
            }
            return self.flow_hit(pkt, index, resume);
        }
        self.not_made(beyond, Some(charge));
        match inserted {
            Ok(index) | Err(InsertError::Exists(index)) => self.flow_hit(pkt, index, resume),
            Err(InsertError::Full) => Err(DropReason::FlowTableFull.into()),
            Err(InsertError::Busy) => Err(DropReason::FlowUnusable.into()),
        }
    }

    /// Counts one more flow that waits for the agent, if it may; says whether that is beyond the limit.
    fn may_wait(&self) -> Step<bool> {
        let limit = self.tables.options.flow_hold_limit;
        if self.holds.enter() <= u64::from(limit.unsigned_abs()) || limit <= 0 {
            return Ok(false);
        }
        if self.holds.burst.take(self.tables.options.burst(), self.now.0) {
            return Ok(true);
        }
        self.holds.leave();
        self.holds.refused.fetch_add(1, Relaxed);
        Err(DropReason::FlowUnusable.into())
    }

    /// Gives back what was taken for a flow that is not made after all.
    fn not_made(&self, beyond: bool, charge: Option<Charge>) {
        self.holds.leave();
        if beyond {
            self.holds.burst.give_back();
        }
        if let (Some(quotas), Some(charge)) = (self.flows.quotas(), charge) {
            quotas.give_back(charge);
        }
    }

    /// The interface that a new flow belongs to: of the guest that sends, or of the one that shall receive.
    fn makes_flow(&self, pkt: &Pkt, nexthop: Option<&Nexthop>) -> Option<VifId> {
        match self.ingress_kind(pkt) {
            Some(VifKind::Physical) => nexthop.and_then(Nexthop::vif),
            _ => Some(pkt.vif),
        }
    }

    /// Whether the interface takes no new flows, or it or the VRF has as many as it may have. If not, the flow is
    /// charged.
    fn refuses_new_flows(&self, charge: Charge) -> bool {
        let vif = self.tables.vif(charge.vif);
        vif.is_some_and(|vif| vif.flags.contains(VifFlags::DROP_NEW_FLOWS))
            || self.flows.quotas().is_some_and(|quotas| !quotas.admit(charge))
    }

    /// Gives back burst tokens whose time is over.
    pub(crate) fn refill_burst(&self) {
        self.holds.burst.refill(self.tables.options.burst(), self.now.0);
    }
}
