//! What the full path finds out about a plain flow is kept for the fast lanes.

use vr_tables::flow::{Compiled, EgressKind, Source};
use vr_tables::nexthop::NexthopSlot;
use vr_tables::vif::VifKind;
use vr_types::Mac;

use super::pkt::Compilable;
use super::{Full, Kind, Pkt};

impl Full<'_> {
    /// The packet is about to leave by this nexthop, straight behind its flow.
    pub(super) fn compile(&self, pkt: &mut Pkt, nexthop: NexthopSlot) {
        let (Some(compilable), Some(index)) = (pkt.compilable.take(), pkt.flow) else { return };
        let Compilable { state, checked_by, translation, member } = compilable;
        let (Some(hot), Some(vif)) = (self.flows.hot(index), self.tables.vif(pkt.vif)) else { return };
        if pkt.kind != Kind::Inet || pkt.vlan.is_some() {
            return;
        }
        let (kind, source) = match (vif.kind, pkt.outer_source) {
            (VifKind::Virtual, None) if pkt.to_me => (EgressKind::Routed, vif.source()),
            (VifKind::Virtual, None) => (EgressKind::Bridged, vif.source()),
            (VifKind::Physical, Some(peer)) => (EgressKind::FromFabric, self.tables.peer(peer)),
            _ => return,
        };
        if source == Source::UNKNOWN {
            return;
        }
        let (kind, nexthop, label) = match (member, kind) {
            (None, kind) => (kind, nexthop, pkt.label),
            (Some((composite, position)), EgressKind::Routed) => {
                (EgressKind::Member, composite, Some(u32::from(position)))
            }
            (Some(_), _) => return,
        };
        let received = pkt.frame.buffer_bytes(usize::from(pkt.received.0), 6).and_then(Mac::from_slice);
        let compiled = Compiled {
            source,
            checked_by,
            kind,
            nexthop,
            label,
            mac: received.unwrap_or(Mac::ZERO),
            bridge: pkt.bridge,
            vrf: pkt.vrf,
        };
        if let Some(translation) = &translation {
            self.flows.set_translation(index, translation);
        }
        let tables = self.tables;
        if hot.compile(state, tables.flow_epoch(pkt.vrf), &tables.nexthop_epochs, &compiled) {
            self.stats.recompiled();
        }
    }
}
