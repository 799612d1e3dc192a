//! Last stages: does the packet fit its nexthop, then rewrite, count, send.

use vr_frame::{BATCH, Packet};
use vr_tables::nexthop::{Encap, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot, Tunnel};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{BridgeIndex, VifId, VrfId};
use vr_wire::encap::{Patch, ROOM, entropy_port};

use super::meta::{Egress, PktMeta};
use super::tally::Tally;
use super::{Lane, flow, positions};
use crate::bytes::{be16, be32};
use crate::full::{Full, decrement_ttl};

/// Nexthops with these flags need the full path.
const SPECIAL: NexthopFlags = NexthopFlags::TUNNEL_UNDERLAY_ECMP
    .union(NexthopFlags::CRYPT_TRAFFIC)
    .union(NexthopFlags::L3_VXLAN)
    .union(NexthopFlags::MCAST);

/// Keeps the packets that their nexthop can take as they are.
pub(super) fn fits(full: &Full<'_>, lane: Lane, meta: &[PktMeta; BATCH], batch: &[Packet]) -> Lane {
    let mut fitting = lane;
    for position in positions(lane) {
        if !fits_one(full, &meta[position], &batch[position]) {
            fitting &= !(1 << position);
        }
    }
    fitting
}

#[inline]
fn fits_one(full: &Full<'_>, meta: &PktMeta, packet: &Packet) -> bool {
    let Some(nexthop) = full.tables.nexthop(NexthopSlot(meta.nexthop)) else { return false };
    if !nexthop.flags.contains(NexthopFlags::VALID) || nexthop.flags.intersects(SPECIAL) {
        return false;
    }
    let bridged = meta.egress == Egress::Bridged;
    match &nexthop.action {
        NexthopAction::Encap(encap) => {
            (nexthop.family == NexthopFamily::Bridge) == bridged
                && (bridged || encap.rewrite.len() == 14)
                && takes_plain(full.tables.vif(encap.vif), VifKind::Virtual)
        }
        NexthopAction::Tunnel(tunnel) => {
            // What came from the fabric never goes back to it here.
            if meta.inner != 0 || meta.label == PktMeta::NO_LABEL || packet.frame.headroom() < ROOM {
                return false;
            }
            let Some(vif) = full.tables.vif(tunnel.vif) else { return false };
            let size = packet.frame.len() - if bridged { 0 } else { 14 };
            takes_plain(Some(vif), VifKind::Physical)
                && tunnel.transport_label.is_none()
                && size + tunnel.kind.overhead() <= Full::mtu(vif)
        }
        _ => false,
    }
}

fn takes_plain(vif: Option<&Vif>, kind: VifKind) -> bool {
    vif.is_some_and(|vif| {
        vif.kind == kind && !vif.flags.intersects(VifFlags::MIRROR_TX | VifFlags::MONITORED)
    })
}

/// Rewrites and counts the packets of the lane. They are moved out in a loop of its own: a packet that is
/// moved right after its fields were written would wait for these writes.
pub(super) fn rewrite(
    full: &Full<'_>,
    lane: Lane,
    tally: &mut Tally,
    meta: &mut [PktMeta; BATCH],
    batch: &mut [Packet],
) {
    for position in positions(lane) {
        rewrite_one(full, tally, &mut meta[position], &mut batch[position]);
    }
}

#[inline]
fn rewrite_one(full: &Full<'_>, tally: &mut Tally, meta: &mut PktMeta, packet: &mut Packet) {
    // The stage before found it in the same snapshot.
    let Some(nexthop) = full.tables.nexthop(NexthopSlot(meta.nexthop)) else { return };
    tally.received(packet.frame.len());
    tally.enter(full.stats, VrfId(meta.vrf));
    let from_underlay = meta.inner != 0;
    if from_underlay {
        // The stage that parsed the packet saw that many bytes.
        let _ = packet.frame.pull(usize::from(meta.inner));
    }
    if meta.bridge != BridgeIndex::NONE.0 {
        full.bridge.count(full.worker, BridgeIndex(meta.bridge));
        tally.vrf.translates += u32::from(from_underlay);
    }
    if meta.policy {
        let ack_at = if meta.egress == Egress::Delivered { 20 + 8 } else { 14 + 20 + 8 };
        let ack = if meta.tcp { acknowledgement(packet.frame.bytes(), ack_at) } else { None };
        flow::count(full, meta, packet.frame.len(), ack);
    }
    if meta.egress == Egress::Routed {
        tally.vrf.l2_receives += 1;
        let _ = packet.frame.pull(14);
        decrement_ttl(packet.frame.bytes_mut());
    }
    meta.to = match &nexthop.action {
        NexthopAction::Encap(encap) => to_guest(tally, packet, meta, encap),
        NexthopAction::Tunnel(tunnel) => into_tunnel(tally, packet, meta, tunnel),
        // The stage before let no other kind pass.
        _ => return,
    };
    tally.sent(full.stats, meta.to, packet.frame.len());
}

fn acknowledgement(frame: &[u8], at: usize) -> Option<u32> {
    const ACK: u8 = 0x10;
    if frame.get(at + 5)? & ACK != 0 { be32(frame, at) } else { None }
}

#[inline]
fn to_guest(tally: &mut Tally, packet: &mut Packet, meta: &PktMeta, encap: &Encap) -> VifId {
    if meta.egress == Egress::Bridged {
        tally.vrf.l2_encaps += 1;
        return encap.vif;
    }
    tally.vrf.encaps += 1;
    if let (Some(bytes), Some(rewrite)) = (packet.frame.push(14), encap.rewrite.first_chunk::<14>())
        && let Some(header) = bytes.first_chunk_mut::<14>()
    {
        *header = *rewrite;
        [header[12], header[13]] = [0x08, 0x00];
    }
    encap.vif
}

#[inline]
fn into_tunnel(tally: &mut Tally, packet: &mut Packet, meta: &PktMeta, tunnel: &Tunnel) -> VifId {
    tally.vrf.tunnels[tunnel.kind as usize] += 1;
    let bytes = packet.frame.bytes();
    let (id_at, ttl) = if meta.egress == Egress::Bridged { (14 + 4, 64) } else { (4, meta.ttl) };
    let patch = Patch {
        payload: bytes.len(),
        id: be16(bytes, id_at).unwrap_or(0),
        label: meta.label,
        ttl,
        source_port: entropy_port(meta.hash[1]),
    };
    if let Some(room) = packet.frame.push(ROOM).and_then(|bytes| bytes.first_chunk_mut::<ROOM>()) {
        tunnel.template.write(room, patch);
        let _ = packet.frame.pull(ROOM - tunnel.template.len());
    }
    tunnel.vif
}
