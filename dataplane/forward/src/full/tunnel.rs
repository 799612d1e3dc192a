//! Output into tunnels (forwarding.md 4.10, 8.1).

use vr_frame::Offload;
use vr_tables::nexthop::{Nexthop, NexthopFlags, Tunnel};
use vr_tables::stats::VrfCounter;
use vr_tables::vif::Vif;
use vr_types::{DropReason, Mac, TunnelKind};
use vr_wire::encap::{self, EncapTemplate, Patch, ROOM};
use vr_wire::{checksum, hash, mpls};

use super::encap::push_ethernet;
use super::{Full, Kind, Pkt, oversize};
use crate::bytes::{array, be16};
use crate::verdict::{Step, Stop};

/// Bytes of a control word.
const CONTROL_WORD: usize = 4;
/// Bytes of the Ethernet header that a routed packet gets inside VXLAN.
const INNER_ETHERNET: usize = 14;

/// The way into one tunnel.
struct Way<'t> {
    vif: &'t Vif,
    template: EncapTemplate,
    label: u32,
    control_word: bool,
    /// Destination of the Ethernet header inside, for routed packets in VXLAN.
    inner_mac: Option<Mac>,
}

impl Way<'_> {
    /// What the tunnel adds behind the outer Ethernet header.
    fn overhead(&self, tunnel: &Tunnel) -> usize {
        tunnel.kind.overhead()
            + if tunnel.transport_label.is_some() { mpls::LEN } else { 0 }
            + if self.control_word { CONTROL_WORD } else { 0 }
            + if self.inner_mac.is_some() { INNER_ETHERNET } else { 0 }
    }
}

impl Full<'_> {
    pub(super) fn tunnel(&mut self, pkt: &mut Pkt, nexthop: &Nexthop, tunnel: &Tunnel) -> Stop {
        self.count_tunnel(pkt, tunnel);
        let Some(label) = pkt.label else {
            // A packet that waited for its flow lost its label; routing finds it again.
            return match tunnel.kind {
                TunnelKind::Vxlan => Stop::Drop(DropReason::InvalidLabel),
                _ => self.route(pkt),
            };
        };
        if self.from_underlay(pkt) && pkt.outer_source == Some(tunnel.destination) {
            return Stop::Drop(DropReason::PktLoop);
        }
        let Some((vif, template)) = self.underlay(pkt, nexthop, tunnel) else {
            return Stop::Drop(DropReason::InvalidUnderlayEcmp);
        };
        if nexthop.flags.contains(NexthopFlags::CRYPT_TRAFFIC) {
            return Stop::Drop(DropReason::NoCryptPath);
        }
        let way = Way {
            vif,
            template,
            label,
            control_word: pkt.control_word && tunnel.kind != TunnelKind::Vxlan,
            inner_mac: nexthop.flags.contains(NexthopFlags::L3_VXLAN).then_some(tunnel.inner_mac),
        };
        let room = Self::mtu(vif).saturating_sub(way.overhead(tunnel));
        if !pkt.offload.is_super_frame() {
            return match oversize::check(pkt, pkt.frame.len(), room) {
                Ok(()) => self.enter_tunnel(pkt, &way),
                Err(stop) => stop,
            };
        }
        let plan = match oversize::plan(pkt, Some(room)) {
            Ok(plan) => plan,
            Err(stop) => return stop,
        };
        if let Err(stop) = oversize::check(pkt, plan.longest(), room) {
            return stop;
        }
        if pkt.udp_source_port == 0 {
            pkt.udp_source_port = entropy(pkt);
        }
        self.for_each_segment(pkt, &plan, |full, segment| full.enter_tunnel(segment, &way))
    }

    /// Encapsulates and sends a packet that is no super-frame.
    fn enter_tunnel(&mut self, pkt: &mut Pkt, way: &Way<'_>) -> Stop {
        if let Some(mac) = way.inner_mac
            && let Err(stop) = inner_ethernet(pkt, mac, way.vif)
        {
            return stop;
        }
        match self.encapsulate(pkt, &way.template, way.label, way.control_word) {
            Ok(()) => self.send(pkt, way.vif.id),
            Err(stop) => stop,
        }
    }

    fn count_tunnel(&self, pkt: &Pkt, tunnel: &Tunnel) {
        self.count_vrf(
            pkt.vrf,
            match tunnel.kind {
                TunnelKind::MplsOverGre => VrfCounter::GreMplsTunnels,
                TunnelKind::MplsOverUdp => VrfCounter::UdpMplsTunnels,
                TunnelKind::Vxlan => VrfCounter::VxlanTunnels,
            },
        );
        if tunnel.transport_label.is_some() {
            self.count_vrf(pkt.vrf, VrfCounter::UdpMplsOverMplsTunnels);
        }
    }

    /// The underlay link for a packet (forwarding.md 4.11).
    fn underlay<'t>(&self, pkt: &Pkt, nexthop: &Nexthop, tunnel: &Tunnel) -> Option<(&'t Vif, EncapTemplate)>
    where
        Self: 't,
    {
        let link = match &tunnel.underlay {
            Some(underlay) if nexthop.flags.contains(NexthopFlags::TUNNEL_UNDERLAY_ECMP) => {
                let valid = || underlay.links.iter().flatten();
                let chosen = if let Ok(told) = usize::try_from(pkt.underlay) {
                    underlay.links.get(told)?.as_ref()?
                } else {
                    let hash = usize::from(entropy(pkt));
                    let other = || valid().nth(hash % valid().count().max(1));
                    underlay.links[hash % 3].as_ref().or_else(other)?
                };
                (chosen.0, chosen.1)
            }
            _ => (tunnel.vif, tunnel.template),
        };
        Some((self.tables.vif(link.0)?, link.1))
    }

    /// Puts the outer headers in front of the packet.
    pub(super) fn encapsulate(
        &mut self,
        pkt: &mut Pkt,
        template: &EncapTemplate,
        label: u32,
        control_word: bool,
    ) -> Step {
        complete_checksum(pkt)?;
        let id = self.outer_id(pkt);
        let source_port = if pkt.udp_source_port == 0 { entropy(pkt) } else { pkt.udp_source_port };
        if control_word {
            pkt.push(CONTROL_WORD)?;
            pkt.frame.bytes_mut()[..CONTROL_WORD].fill(0);
        }
        let patch = Patch { payload: pkt.frame.len(), id, label, ttl: pkt.ttl, source_port };
        let room = pkt.frame.push(ROOM).and_then(|bytes| bytes.first_chunk_mut::<ROOM>());
        template.write(room.ok_or(DropReason::Push)?, patch);
        pkt.pull(ROOM - template.len())?;
        pkt.network = (pkt.frame.headroom() + template.ethernet_len()) as u16;
        pkt.kind = match pkt.kind {
            Kind::Inet => Kind::InetInTunnel,
            Kind::Inet6 => Kind::Inet6InTunnel,
            _ => Kind::OtherInTunnel,
        };
        Ok(())
    }

    /// The outer identification: that of an inner IPv4 packet, so that traceroute can tell what an error is
    /// about, else a number of our own.
    fn outer_id(&mut self, pkt: &Pkt) -> u16 {
        if pkt.kind == Kind::Inet
            && let Some(id) = be16(pkt.l3(), 4)
        {
            return id;
        }
        self.memory.ip_id = self.memory.ip_id.wrapping_add(1).max(1);
        self.memory.ip_id
    }
}

/// Completes a partial checksum: nobody behind a tunnel could.
pub(super) fn complete_checksum(pkt: &mut Pkt) -> Step {
    if !pkt.offload.needs_csum {
        return Ok(());
    }
    let start = pkt.offset(pkt.offload.csum_start);
    let offset = usize::from(pkt.offload.csum_offset);
    if !checksum::complete(pkt.frame.bytes_mut(), start, offset) {
        return Err(DropReason::InvalidPacket.into());
    }
    pkt.offload = Offload { needs_csum: false, csum_start: 0, csum_offset: 0, ..pkt.offload };
    Ok(())
}

/// A routed packet in VXLAN gets an Ethernet header of the two nodes.
fn inner_ethernet(pkt: &mut Pkt, destination: Mac, vif: &Vif) -> Step {
    if vif.mac.is_zero() {
        return Err(DropReason::InterfaceDrop.into());
    }
    let ethertype = if pkt.kind == Kind::Inet6 { 0x86dd } else { 0x0800 };
    push_ethernet(pkt, destination, vif.mac, ethertype)
}

/// Source port of the outer header for a packet without a flow: constant for its addresses, ports and VRF.
pub(super) fn entropy(pkt: &Pkt) -> u16 {
    let l3 = pkt.l3();
    let vrf = u32::from(pkt.vrf.0);
    let word = |at: usize| array::<4>(l3, at).map_or(0, u32::from_le_bytes);
    let hash = match pkt.kind {
        Kind::Inet => {
            let header = usize::from(l3.first().copied().unwrap_or(0) & 0xf) * 4;
            let fragment = be16(l3, 6).is_some_and(|field| field & 0x3fff != 0);
            let protocol = l3.get(9).copied().unwrap_or(0);
            let ports = if !fragment && super::flow_key::has_ports(protocol) { word(header) } else { 0 };
            hash::hash_words(&[vrf, ports, word(12), word(16)]).0
        }
        Kind::Inet6 => {
            let protocol = l3.get(6).copied().unwrap_or(0);
            let ports = if super::flow_key::has_ports(protocol) { word(40) } else { 0 };
            let addresses = std::array::from_fn::<u32, 8, _>(|i| word(8 + 4 * i));
            let [a, b, c, d, e, f, g, h] = addresses;
            hash::hash_words(&[vrf, ports, a, b, c, d, e, f, g, h]).0
        }
        _ => {
            let frame = pkt.bytes();
            let word = |at: usize| array::<4>(frame, at).map_or(0, u32::from_le_bytes);
            hash::hash_words(&[vrf, word(0), word(4), word(8)]).0
        }
    };
    encap::entropy_port(hash)
}
