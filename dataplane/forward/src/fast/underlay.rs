//! Parse and decapsulation stage for frames from the underlay.

use vr_frame::{BATCH, Packet};
use vr_tables::bridge::BridgeKey;
use vr_tables::nexthop::{Nexthop, NexthopAction, NexthopFamily, NexthopFlags};
use vr_tables::vif::Vif;
use vr_types::{BridgeIndex, Label, Mac, Vni, VrfId};

use super::Lane;
use super::guest::{changes_connection, key, prefetch_headers};
use super::meta::{Egress, PktMeta};
use crate::full::Full;

/// Outer Ethernet, IPv4 without options, and eight bytes of UDP, or GRE with a label.
const OUTER: usize = 14 + 20 + 8;
const AHEAD: usize = 4;
const TCP: u8 = 6;
const NO_BRIDGE: u32 = BridgeIndex::NONE.0;

/// The last underlay address that was found to be ours, and the epoch of the tables that said so.
#[derive(Default)]
pub(crate) struct LocalAddress {
    address: [u8; 4],
    epoch: u32,
}

impl LocalAddress {
    /// Whether a receive nexthop of the underlay covers the address.
    fn is_ours(&mut self, full: &Full<'_>, vif: &Vif, address: [u8; 4]) -> bool {
        let epoch = full.tables.flow_epoch(vif.vrf);
        if self.address == address && self.epoch == epoch {
            return true;
        }
        let route = full.tables.route(vif.vrf, address);
        let ours = full.tables.nexthop(route.nexthop).is_some_and(|nexthop| {
            matches!(nexthop.action, NexthopAction::Receive(_))
                && nexthop.family == NexthopFamily::Inet
                && nexthop.flags.contains(NexthopFlags::VALID)
        });
        if ours {
            *self = Self { address, epoch };
        }
        ours
    }
}

/// Fills in keys and nexthops; the lane has the tunnel packets for guests that are plain enough.
pub(super) fn parse_and_decapsulate(
    full: &Full<'_>,
    local: &mut LocalAddress,
    vif: &Vif,
    batch: &[Packet],
    meta: &mut [PktMeta; BATCH],
) -> Lane {
    let mut lane = 0;
    for (position, (packet, meta)) in batch.iter().zip(meta.iter_mut()).enumerate() {
        if let Some(ahead) = batch.get(position + AHEAD) {
            prefetch_headers(ahead);
        }
        let taken = parse_one(full, local, vif, packet, meta);
        lane |= u64::from(taken.is_some()) << position;
    }
    lane
}

#[inline]
fn parse_one(
    full: &Full<'_>,
    local: &mut LocalAddress,
    vif: &Vif,
    packet: &Packet,
    meta: &mut PktMeta,
) -> Option<()> {
    let bytes = packet.frame.bytes();
    let outer: &[u8; OUTER] = bytes.first_chunk()?;
    let plain = [outer[12], outer[13], outer[14]] == [0x08, 0x00, 0x45];
    let fragment = u16::from_be_bytes([outer[20], outer[21]]) & 0x3fff != 0;
    if outer[0] & 1 != 0 || !plain || fragment || outer[22] <= 1 || !packet.offload.is_plain() {
        return None;
    }
    if !local.is_ours(full, vif, [outer[30], outer[31], outer[32], outer[33]]) {
        return None;
    }
    meta.source = u32::from_le_bytes([outer[26], outer[27], outer[28], outer[29]]);
    match (outer[23], u16::from_be_bytes([outer[36], outer[37]])) {
        (17, 6635 | 51234) => labelled(full, bytes, 42, meta),
        (17, 4789) => vxlan(full, bytes, meta),
        (47, 0x8847) if [outer[34], outer[35]] == [0, 0] => labelled(full, bytes, 38, meta),
        _ => None,
    }
}

/// A packet behind the label at offset `at`.
#[inline]
fn labelled(full: &Full<'_>, bytes: &[u8], at: usize, meta: &mut PktMeta) -> Option<()> {
    let word = u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?);
    let single = word & 0x100 != 0;
    if !single || word as u8 <= 1 {
        return None;
    }
    let slot = full.tables.label(Label(word >> 12))?;
    let nexthop = full.tables.nexthop(slot)?;
    meta.nexthop = slot.0;
    meta.label = PktMeta::NO_LABEL;
    meta.bridge = NO_BRIDGE;
    let family = nexthop.family;
    match family {
        NexthopFamily::Inet => inner(full, bytes, at + 4, 0, nexthop, meta),
        NexthopFamily::Bridge if !nexthop.flags.contains(NexthopFlags::L2_CONTROL_DATA) => {
            inner(full, bytes, at + 4, 14, nexthop, meta)
        }
        _ => None,
    }
}

/// A frame behind a VXLAN header.
#[inline]
fn vxlan(full: &Full<'_>, bytes: &[u8], meta: &mut PktMeta) -> Option<()> {
    let header: &[u8; 14] = bytes.get(42..)?.first_chunk()?;
    // The valid bit and nothing that only the full path knows.
    if header[0] & 0x09 != 0x08 {
        return None;
    }
    let vni = u32::from_be_bytes([0, header[4], header[5], header[6]]);
    let translate = full.tables.nexthop(full.tables.vni(Vni(vni))?)?;
    let bridged = matches!(translate.action, NexthopAction::VrfTranslate)
        && translate.family == NexthopFamily::Bridge
        && translate.flags.contains(NexthopFlags::VALID)
        && !translate.wants_flow();
    let destination = Mac([header[8], header[9], header[10], header[11], header[12], header[13]]);
    if !bridged || destination.is_group() {
        return None;
    }
    let entry = full.bridge.lookup(BridgeKey::new(translate.vrf, destination))?;
    let nexthop = full.tables.nexthop(entry.nexthop)?;
    if nexthop.family != NexthopFamily::Bridge {
        return None;
    }
    meta.nexthop = entry.nexthop.0;
    meta.label = PktMeta::NO_LABEL;
    meta.bridge = entry.index.0;
    meta.vrf = translate.vrf.0;
    inner(full, bytes, 50, 14, nexthop, meta)
}

/// The inner packet at offset `at`, behind an Ethernet header of `ethernet` bytes or none.
#[inline]
fn inner(
    full: &Full<'_>,
    bytes: &[u8],
    at: usize,
    ethernet: usize,
    nexthop: &Nexthop,
    meta: &mut PktMeta,
) -> Option<()> {
    let NexthopAction::Encap(encap) = &nexthop.action else { return None };
    let usable = nexthop.flags.contains(NexthopFlags::VALID)
        && !nexthop
            .flags
            .intersects(NexthopFlags::MCAST | NexthopFlags::RELAXED_POLICY | NexthopFlags::FLOW_LOOKUP);
    let vif = full.tables.vif(encap.vif)?;
    if !usable {
        return None;
    }
    if ethernet != 0 {
        let frame: &[u8; 14] = bytes.get(at..)?.first_chunk()?;
        if frame[0] & 1 != 0 || [frame[12], frame[13]] != [0x08, 0x00] {
            return None;
        }
        meta.egress = Egress::Bridged;
    } else {
        meta.egress = Egress::Delivered;
    }
    let inet: &[u8; 28] = bytes.get(at + ethernet..)?.first_chunk()?;
    if inet[0] != 0x45 || !key(inet, vif.nexthop.0, &mut meta.key) {
        return None;
    }
    meta.tcp = inet[9] == TCP;
    if meta.tcp && changes_connection(bytes, at + ethernet + 20) {
        return None;
    }
    if meta.bridge == NO_BRIDGE {
        meta.vrf = if nexthop.vrf == VrfId::NONE { vif.vrf.0 } else { nexthop.vrf.0 };
    }
    meta.inner = at as u16;
    meta.policy = nexthop.flags.contains(NexthopFlags::POLICY);
    Some(())
}
