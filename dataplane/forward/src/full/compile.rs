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
        let Compilable { state, checked_by, translation, .. } = compilable;
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
        let Some((kind, nexthop, label)) = way(&compilable, kind, (nexthop, pkt.label)) else { return };
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

/// In place of a position: no member of a composite.
const NO_POSITION: u32 = 0xff;
/// Bit beside a position: the packet got another destination and VRF, and with them another nexthop.
const MOVED: u32 = 0x100;

/// What is compiled of the way that a packet of this kind takes: the nexthop and label by which it leaves, or the first of
/// two steps where the second is looked up for every packet.
fn way(
    compilable: &Compilable,
    kind: EgressKind,
    last: (NexthopSlot, Option<u32>),
) -> Option<(EgressKind, NexthopSlot, Option<u32>)> {
    let Compilable { way, moved, member, .. } = *compilable;
    let (first, position) =
        member.map_or((last.0, NO_POSITION), |(composite, position)| (composite, u32::from(position)));
    match (kind, member) {
        (EgressKind::FromFabric, None) if !moved => Some((kind, last.0, None)),
        (EgressKind::FromFabric, _) => {
            let label = position | if moved { MOVED } else { 0 };
            (way == Some(first)).then_some((kind, first, Some(label)))
        }
        (EgressKind::Routed, Some(_)) => Some((EgressKind::Member, first, Some(position))),
        (_, Some(_)) => None,
        (_, None) => Some((kind, last.0, last.1)),
    }
}

/// How a packet from the fabric leaves by a nexthop that was compiled for it.
pub(crate) struct Redirection {
    /// The packet got another destination and VRF; else the nexthop is the one that it came to.
    pub(crate) moved: bool,
    /// The nexthop is a composite, and this the position of the member.
    pub(crate) position: Option<u32>,
}

impl Redirection {
    /// What stands in place of a label.
    #[inline]
    pub(crate) fn from_label(label: u32) -> Self {
        let position = label & NO_POSITION;
        Self { moved: label & MOVED != 0, position: (position != NO_POSITION).then_some(position) }
    }
}
