//! What the full path finds out about a plain flow is kept for the fast lanes.

use std::net::IpAddr;

use vr_tables::flow::{Compiled, EgressKind};
use vr_tables::nexthop::NexthopSlot;
use vr_tables::vif::VifKind;
use vr_types::Mac;

use super::{Full, Kind, Pkt};

impl Full<'_> {
    /// The packet is about to leave by this nexthop, straight behind its flow.
    pub(super) fn compile(&self, pkt: &mut Pkt, nexthop: NexthopSlot) {
        let (Some(_), Some(index)) = (pkt.compilable.take(), pkt.flow) else { return };
        let Some(hot) = self.flows.hot(index) else { return };
        // The claim that made the packet compilable changed the owner in the state; version stays the same.
        let state = hot.state();
        let vif = self.tables.vif(pkt.vif);
        if pkt.kind != Kind::Inet || pkt.vlan.is_some() || !state.is_simple() {
            return;
        }
        let (kind, source) = match (vif.map(|vif| vif.kind), pkt.outer_source) {
            (Some(VifKind::Virtual), None) => {
                (if pkt.to_me { EgressKind::Routed } else { EgressKind::Bridged }, u32::from(pkt.vif.0))
            }
            (Some(VifKind::Physical), Some(IpAddr::V4(source))) => {
                (EgressKind::FromFabric, u32::from_le_bytes(source.octets()))
            }
            _ => return,
        };
        let received = pkt.frame.buffer_bytes(usize::from(pkt.received.0), 6).and_then(Mac::from_slice);
        let compiled = Compiled {
            source,
            kind,
            nexthop,
            label: pkt.label,
            mac: received.unwrap_or(Mac::ZERO),
            bridge: pkt.bridge,
            vrf: pkt.vrf,
        };
        hot.compile(state, self.tables.flow_epoch(pkt.vrf), &compiled);
    }
}
