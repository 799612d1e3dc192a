//! Which packets may make a flow (forwarding.md 6.5).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{FlowAction, FlowFlags, FlowHash, FlowKey, InsertError};
use vr_tables::nexthop::{Nexthop, NexthopFlags};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::DropReason;

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
        if is_later_fragment(pkt) {
            return Err(DropReason::FlowUnusable.into());
        }
        let limit = self.tables.options.flow_hold_limit;
        if limit > 0 && self.holds.outstanding() > u64::from(limit.unsigned_abs()) {
            self.holds.refused.fetch_add(1, Relaxed);
            return Err(DropReason::FlowUnusable.into());
        }
        if self.refuses_new_flows(pkt, nexthop) {
            return Err(DropReason::DropNewFlow.into());
        }
        let (vrf, source_info) = (pkt.vrf, self.source_info(pkt));
        let inserted = self.flows.insert(key, hash, |shared| {
            shared.action.store(FlowAction::Hold as u16, Relaxed);
            shared.flags.store((FlowFlags::ACTIVE | FlowFlags::NEW_FLOW).bits(), Relaxed);
            shared.vrf.store(vrf.0, Relaxed);
            shared.source_info.store(source_info, Relaxed);
        });
        match inserted {
            Ok(index) => {
                self.holds.created.fetch_add(1, Relaxed);
                self.flow_hit(pkt, index, resume)
            }
            Err(InsertError::Exists(index)) => self.flow_hit(pkt, index, resume),
            Err(InsertError::Full) => Err(DropReason::FlowTableFull.into()),
            Err(InsertError::Busy) => Err(DropReason::FlowUnusable.into()),
        }
    }

    fn refuses_new_flows(&self, pkt: &Pkt, nexthop: Option<&Nexthop>) -> bool {
        let vif = match self.ingress_kind(pkt) {
            Some(VifKind::Physical) => nexthop.and_then(Nexthop::vif),
            _ => Some(pkt.vif),
        };
        vif.and_then(|vif| self.tables.vif(vif))
            .is_some_and(|vif| vif.flags.contains(VifFlags::DROP_NEW_FLOWS))
    }
}
