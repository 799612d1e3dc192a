//! Copies of packets for analyzers (forwarding.md 9.1).

use std::net::IpAddr;

use vr_tables::nexthop::{Nexthop, NexthopSlot, UdpTunnel};
use vr_tables::snapshot::Mirror;
use vr_tables::stats::VrfCounter;
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{DropReason, MirrorId, VrfId};
use vr_wire::checksum;

use super::tunnel::complete_checksum;
use super::{Full, Pkt, oversize};
use crate::bytes::put;
use crate::verdict::Stop;

/// The mirror wants its metadata in front of the frame.
const DYNAMIC: u32 = 1;
/// The device makes the copy.
const HW_ASSISTED: u32 = 4;
/// Metadata of nothing: an end marker.
const NO_METADATA: [u8; 2] = [0xff, 0x00];

/// Which metadata goes with a copy.
#[derive(Clone, Copy)]
enum Why {
    Received,
    Sent,
}

impl Full<'_> {
    /// Port mirroring on receive.
    pub(super) fn mirror_received(&mut self, pkt: &Pkt, vif: &Vif) {
        if vif.flags.contains(VifFlags::MIRROR_RX) {
            self.mirror(pkt, vif, vif.mirror, Why::Received);
        }
    }

    /// Port mirroring on transmit.
    pub(super) fn mirror_sent(&mut self, pkt: &Pkt, vif: &Vif) {
        if vif.flags.contains(VifFlags::MIRROR_TX) {
            self.mirror(pkt, vif, vif.mirror, Why::Sent);
        }
    }

    fn mirror(&mut self, pkt: &Pkt, vif: &Vif, id: MirrorId, why: Why) {
        if pkt.mirror_copy {
            return;
        }
        let Some(mirror) = self.tables.mirror(id).copied() else { return };
        let slot = self.tables.nexthop_slots.get(mirror.nexthop.index()).copied();
        let Some((slot, nexthop)) = slot.and_then(|slot| Some((slot, self.tables.nexthop(slot)?))) else {
            return;
        };
        if mirror.flags & HW_ASSISTED != 0 {
            return;
        }
        let Some(mut copy) = self.duplicate(pkt) else { return };
        let end = if copy.offload.is_super_frame() {
            // The headers in front of a copy know one length.
            match copy
                .classify(0)
                .map_err(|_| DropReason::InvalidPacket.into())
                .and_then(|()| oversize::plan(&copy, None))
            {
                Ok(plan) => self.for_each_segment(&copy, &plan, |full, segment| {
                    full.send_mirrored(segment, (vif, why), &mirror, (slot, nexthop))
                }),
                Err(stop) => stop,
            }
        } else {
            self.send_mirrored(&mut copy, (vif, why), &mirror, (slot, nexthop))
        };
        self.finish(copy, end);
    }

    /// Sends a copy to its analyzer.
    fn send_mirrored(
        &mut self,
        copy: &mut Pkt,
        (vif, why): (&Vif, Why),
        mirror: &Mirror,
        (slot, nexthop): (NexthopSlot, &Nexthop),
    ) -> Stop {
        if let Err(stop) = complete_checksum(copy) {
            return stop;
        }
        copy.mirror_copy = true;
        copy.flow_done = true;
        copy.flow = None;
        copy.ecmp = -1;
        copy.ecmp_source = -1;
        copy.outer_source = None;
        copy.udp_source_port = 0;
        copy.label = (mirror.vni >= 0).then_some(mirror.vni as u32);
        copy.label_is_vni = true;
        copy.ttl = 64;
        if nexthop.vrf != VrfId::NONE {
            copy.vrf = nexthop.vrf;
        }
        if mirror.flags & DYNAMIC != 0 {
            let configured = match why {
                Why::Received => &vif.details.mirror_in,
                Why::Sent => &vif.details.mirror_out,
            };
            let metadata: &[u8] = if configured.is_empty() { &NO_METADATA } else { configured };
            if let Err(stop) = copy.push(metadata.len()) {
                return stop;
            }
            copy.frame.bytes_mut()[..metadata.len()].copy_from_slice(metadata);
        }
        self.output(copy, slot)
    }

    /// Output by a mirror tunnel: UDP and IP in front of the copy, then routed.
    pub(super) fn udp_tunnel(&mut self, pkt: &mut Pkt, nexthop: &Nexthop, tunnel: UdpTunnel) -> Stop {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (tunnel.source, tunnel.destination) else {
            // Analyzers behind IPv6 come with the rest of the nexthops.
            return Stop::Drop(DropReason::InvalidNh);
        };
        let payload = pkt.frame.len();
        if payload + 28 > usize::from(u16::MAX) {
            return Stop::Drop(DropReason::Push);
        }
        if let Err(stop) = pkt.push(28) {
            return stop;
        }
        self.memory.ip_id = self.memory.ip_id.wrapping_add(1).max(1);
        let id = self.memory.ip_id;
        let source_port = if pkt.udp_source_port == 0 { tunnel.source_port } else { pkt.udp_source_port };
        let bytes = pkt.frame.bytes_mut();
        put(bytes, 0, [0x45, 0]);
        put(bytes, 2, ((payload + 28) as u16).to_be_bytes());
        put(bytes, 4, id.to_be_bytes());
        put(bytes, 6, [0, 0, 64, 17, 0, 0]);
        put(bytes, 12, source.octets());
        put(bytes, 16, destination.octets());
        let header = checksum::of(&bytes[..20]);
        put(bytes, 10, header.to_be_bytes());
        put(bytes, 20, source_port.to_be_bytes());
        put(bytes, 22, tunnel.destination_port.to_be_bytes());
        put(bytes, 24, ((payload + 8) as u16).to_be_bytes());
        put(bytes, 26, [0, 0]);
        let sum = checksum::inet_l4(&source.octets(), &destination.octets(), 17, &bytes[20..]);
        put(bytes, 26, if sum == 0 { 0xffff } else { sum }.to_be_bytes());
        self.count_vrf(pkt.vrf, VrfCounter::UdpTunnels);
        if nexthop.vrf != VrfId::NONE {
            pkt.vrf = nexthop.vrf;
        }
        if let Err(stop) = pkt.classify_ip() {
            return stop;
        }
        pkt.label = None;
        self.route(pkt)
    }
}
