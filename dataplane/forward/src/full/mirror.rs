//! Copies of packets for analyzers (forwarding.md 9.1).

use std::net::IpAddr;

use vr_tables::flow::SharedFlow;
use vr_tables::nexthop::{Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot, UdpTunnel};
use vr_tables::snapshot::Mirror;
use vr_tables::stats::VrfCounter;
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{DropReason, FlowIndex, MirrorId, VrfId};
use vr_wire::checksum;

use super::encap::push_rewrite;
use super::tunnel::{complete_checksum, entropy};
use super::{Full, Kind, Pkt, oversize};
use crate::bytes::put;
use crate::verdict::{Step, Stop};

/// The mirror wants its metadata in front of the frame.
const DYNAMIC: u32 = 1;
/// The device makes the copy.
const HW_ASSISTED: u32 = 4;
/// Metadata of nothing: an end marker.
const NO_METADATA: [u8; 2] = [0xff, 0x00];
/// Lengths of headers.
const UDP: usize = 8;
const INET: usize = 20;
const INET6: usize = 40;

/// Why there is a copy, which says what metadata goes with it.
#[derive(Clone, Copy)]
enum Why<'a> {
    Received(&'a Vif),
    Sent(&'a Vif),
    Flow(FlowIndex),
}

impl Full<'_> {
    /// Port mirroring on receive.
    pub(super) fn mirror_received(&mut self, pkt: &Pkt, vif: &Vif) {
        if vif.flags.contains(VifFlags::MIRROR_RX) {
            self.mirror(pkt, vif.mirror, Why::Received(vif));
        }
    }

    /// Port mirroring on transmit.
    pub(super) fn mirror_sent(&mut self, pkt: &Pkt, vif: &Vif) {
        if vif.flags.contains(VifFlags::MIRROR_TX) {
            self.mirror(pkt, vif.mirror, Why::Sent(vif));
        }
    }

    /// A copy because the packet's flow says so; an id for no mirror gives none.
    pub(super) fn mirror_flow(&mut self, pkt: &Pkt, flow: FlowIndex, id: MirrorId) {
        self.mirror(pkt, id, Why::Flow(flow));
    }

    fn mirror(&mut self, pkt: &Pkt, id: MirrorId, why: Why<'_>) {
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
        if matches!(why, Why::Flow(_))
            && let Err(stop) = self.whole_frame(&mut copy)
        {
            return self.finish(copy, stop);
        }
        let end = if copy.offload.is_super_frame() {
            // The headers in front of a copy know one length.
            match copy
                .classify(0)
                .map_err(|_| DropReason::InvalidPacket.into())
                .and_then(|()| oversize::plan(&copy, None))
            {
                Ok(plan) => self.for_each_segment(&copy, &plan, |full, segment| {
                    full.send_mirrored(segment, why, &mirror, (slot, nexthop))
                }),
                Err(stop) => stop,
            }
        } else {
            self.send_mirrored(&mut copy, why, &mirror, (slot, nexthop))
        };
        self.finish(copy, end);
    }

    /// What an analyzer is shown of a packet at its flow: the frame as it was received, or what was in its tunnel, with
    /// the Ethernet header that it is about to get if it has none.
    fn whole_frame(&self, copy: &mut Pkt) -> Step {
        if copy.outer_source.is_none() {
            copy.rewind();
            return Ok(());
        }
        let nexthop = copy.nexthop.and_then(|slot| self.tables.nexthop(slot));
        match nexthop.map(|nexthop| (nexthop.family, &nexthop.action)) {
            Some((NexthopFamily::Inet, NexthopAction::Encap(encap))) if copy.offset(copy.network) == 0 => {
                push_rewrite(copy, &encap.rewrite, copy.kind == Kind::Inet6)
            }
            _ => Ok(()),
        }
    }

    /// Metadata as it was configured for a copy.
    fn metadata<'m>(&self, why: Why<'m>) -> &'m [u8]
    where
        Self: 'm,
    {
        match why {
            Why::Received(vif) => &vif.details.mirror_in,
            Why::Sent(vif) => &vif.details.mirror_out,
            Why::Flow(flow) => {
                let number = self.flows.shared(flow).map_or(0, SharedFlow::mirror_metadata);
                self.tables.flow_metadata.get(number as usize).map_or(&[], |metadata| metadata)
            }
        }
    }

    /// Sends a copy to its analyzer.
    fn send_mirrored(
        &mut self,
        copy: &mut Pkt,
        why: Why<'_>,
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
        copy.underlay = -1;
        copy.udp_source_port = if copy.kind.is_ip() { entropy(copy) } else { 0 };
        copy.label = (mirror.vni >= 0).then_some(mirror.vni as u32);
        copy.label_is_vni = true;
        copy.ttl = 64;
        if nexthop.vrf != VrfId::NONE {
            copy.vrf = nexthop.vrf;
        }
        if mirror.flags & DYNAMIC != 0 {
            let configured = self.metadata(why);
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
        let source_port = if pkt.udp_source_port == 0 { tunnel.source_port } else { pkt.udp_source_port };
        let ports = [source_port, tunnel.destination_port];
        let own = self.tables.vif(pkt.vif).filter(|_| nexthop.flags.contains(NexthopFlags::TUNNEL_SIP_COPY));
        let headers = match (tunnel.source, tunnel.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let own = own.map(|vif| vif.ip).filter(|ip| !ip.is_unspecified());
                self.memory.ip_id = self.memory.ip_id.wrapping_add(1).max(1);
                let id = self.memory.ip_id;
                push_inet_udp(pkt, [own.unwrap_or(source).octets(), destination.octets()], ports, id)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let own = own.map(|vif| vif.ip6).filter(|ip| !ip.is_unspecified());
                push_inet6_udp(pkt, [own.unwrap_or(source).octets(), destination.octets()], ports)
            }
            _ => Err(DropReason::InvalidNh.into()),
        };
        if let Err(stop) = headers {
            return stop;
        }
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

/// Pushes a UDP header; its checksum is missing.
fn push_udp(pkt: &mut Pkt, ports: [u16; 2]) -> Step {
    let len = u16::try_from(pkt.frame.len() + UDP).map_err(|_| DropReason::Push)?;
    pkt.push(UDP)?;
    let bytes = pkt.frame.bytes_mut();
    put(bytes, 0, ports[0].to_be_bytes());
    put(bytes, 2, ports[1].to_be_bytes());
    put(bytes, 4, len.to_be_bytes());
    put(bytes, 6, [0, 0]);
    Ok(())
}

/// Pushes UDP and IPv4 headers; `ends` are source and destination.
fn push_inet_udp(pkt: &mut Pkt, ends: [[u8; 4]; 2], ports: [u16; 2], id: u16) -> Step {
    push_udp(pkt, ports)?;
    let sum = checksum::inet_l4(&ends[0], &ends[1], 17, pkt.bytes());
    put(pkt.frame.bytes_mut(), 6, checksum::for_udp(sum).to_be_bytes());
    let len = u16::try_from(pkt.frame.len() + INET).map_err(|_| DropReason::Push)?;
    pkt.push(INET)?;
    let bytes = pkt.frame.bytes_mut();
    put(bytes, 0, [0x45, 0]);
    put(bytes, 2, len.to_be_bytes());
    put(bytes, 4, id.to_be_bytes());
    put(bytes, 6, [0, 0, 64, 17, 0, 0]);
    put(bytes, 12, ends[0]);
    put(bytes, 16, ends[1]);
    let sum = checksum::of(&bytes[..INET]);
    put(bytes, 10, sum.to_be_bytes());
    Ok(())
}

/// The same with an IPv6 header.
fn push_inet6_udp(pkt: &mut Pkt, ends: [[u8; 16]; 2], ports: [u16; 2]) -> Step {
    push_udp(pkt, ports)?;
    let sum = checksum::inet6_l4(&ends[0], &ends[1], 17, pkt.bytes());
    put(pkt.frame.bytes_mut(), 6, checksum::for_udp(sum).to_be_bytes());
    let len = u16::try_from(pkt.frame.len()).map_err(|_| DropReason::Push)?;
    pkt.push(INET6)?;
    let bytes = pkt.frame.bytes_mut();
    put(bytes, 0, [0x60, 0, 0, 0]);
    put(bytes, 4, len.to_be_bytes());
    put(bytes, 6, [17, 64]);
    put(bytes, 8, ends[0]);
    put(bytes, 24, ends[1]);
    Ok(())
}
