//! As much of forwarding as the world needs: from guests and peers, bridging, routing, encapsulation.

use vr_types::{DropReason, Mac, Trap, TrapReason};

use super::action::members_of;
use super::packet::guest_of;
use super::{End, Model, Packet, Resume};
use crate::packets;
use crate::world::{
    BRIDGED, BRIDGES, FABRIC, GUEST_MAC, GUESTS, L2_RECEIVE, LABEL_LIMIT, LABELS, NODE, NODE_MAC, PEER_MAC,
    PEERS, ROUTED, ROUTES, TUNNEL, VRF_OF,
};

/// Outer Ethernet and IPv4 header.
const OUTER: usize = 34;

/// The VRF of a nexthop of a guest or of a composite.
pub(super) fn vrf_of(nexthop: u32) -> u16 {
    let guest = ROUTED.iter().chain(&BRIDGED).position(|id| *id == nexthop);
    guest.map_or(1, |guest| VRF_OF[guest % GUESTS.len()])
}

impl Model {
    pub(super) fn from_guest(&mut self, packet: &mut Packet) -> End {
        packet.vrf = VRF_OF[guest_of(packet).unwrap()];
        packet.classify();
        match self.flow(packet, Resume::Bridge, false) {
            Ok(()) => self.bridge(packet),
            Err(end) => end,
        }
    }

    /// A packet for this node, with a label (forwarding.md 5.2).
    pub(super) fn from_fabric(&mut self, packet: &mut Packet) -> End {
        packet.classify();
        // On its way to local receive it is routed.
        packet.set_ttl(63);
        let at = OUTER + if packet.frame[23] == packets::UDP { 8 } else { 4 };
        let word = u32::from_be_bytes(*packet.frame[at..].first_chunk().unwrap());
        let (label, ttl) = (word >> 12, word as u8);
        if label >= LABEL_LIMIT {
            return DropReason::InvalidLabel.into();
        }
        if ttl <= 1 {
            return DropReason::TtlExceeded.into();
        }
        let Some((_, nexthop)) = LABELS.iter().find(|(known, _)| *known == label) else {
            return DropReason::InvalidLabel.into();
        };
        packet.outer = packet.frame[26..30].try_into().ok();
        (packet.start, packet.ip) = (at + 4, at + 4);
        (packet.label, packet.ttl) = (Some(label), ttl - 1);
        (packet.is_group, packet.is_tagged) = (false, false);
        if BRIDGED.contains(nexthop) {
            packet.classify();
        }
        packet.vrf = vrf_of(*nexthop);
        self.output(packet, *nexthop)
    }

    /// The bridging step (forwarding.md 3.4).
    pub(super) fn bridge(&mut self, packet: &mut Packet) -> End {
        if packet.to_me {
            packet.start = packet.ip;
            return self.route(packet);
        }
        let mac = packet.destination_mac();
        let entry = BRIDGES.iter().find(|(vrf, to, ..)| (*vrf, *to) == (packet.vrf, mac));
        let Some((.., nexthop, label)) = entry else { return DropReason::L2NoRoute.into() };
        packet.label = label.or(packet.label);
        if *nexthop == L2_RECEIVE {
            packet.start = packet.ip;
            packet.to_me = true;
            return self.route(packet);
        }
        self.output(packet, *nexthop)
    }

    /// The routing step (forwarding.md 3.3).
    fn route(&mut self, packet: &mut Packet) -> End {
        if packet.is_inet6() {
            packet.ttl = packet.frame[packet.ip + 7];
        } else {
            packet.ttl = packet.frame[packet.ip + 8];
            if packet.ttl == 0 {
                return DropReason::TtlExceeded.into();
            }
            packet.ttl -= 1;
            packet.set_ttl(packet.ttl);
        }
        let (nexthop, label) = lookup(packet.vrf, packet.destination());
        packet.label = label.or(packet.label);
        self.output(packet, nexthop)
    }

    /// Nexthop output (forwarding.md 4.1).
    pub(super) fn output(&mut self, packet: &mut Packet, nexthop: u32) -> End {
        if packet.ttl == 0 {
            return End::Trap(Trap::new(TrapReason::ZeroTtl));
        }
        packet.nexthop = Some(nexthop);
        let wants_flow =
            ROUTED.contains(&nexthop) || BRIDGED.contains(&nexthop) || members_of(nexthop).is_some();
        if wants_flow && let Err(end) = self.flow(packet, Resume::Nexthop(nexthop), true) {
            return end;
        }
        self.output_after_flow(packet, nexthop)
    }

    pub(super) fn output_after_flow(&mut self, packet: &mut Packet, nexthop: u32) -> End {
        match packet.nexthop {
            Some(now) if now != nexthop => self.output(packet, now),
            _ => self.act(packet, nexthop),
        }
    }

    fn act(&mut self, packet: &mut Packet, nexthop: u32) -> End {
        if let Some(members) = members_of(nexthop) {
            return self.choose(packet, members);
        }
        if let Some(which) = TUNNEL.iter().position(|id| *id == nexthop) {
            return self.encapsulate(packet, which);
        }
        if let Some(guest) = BRIDGED.iter().position(|id| *id == nexthop) {
            return End::Send(GUESTS[guest], packet.frame[packet.start..].to_vec());
        }
        let Some(guest) = ROUTED.iter().position(|id| *id == nexthop) else {
            return DropReason::Discard.into();
        };
        let payload = &packet.frame[packet.start..];
        if !matches!(payload[0] >> 4, 4 | 6) {
            return DropReason::InvalidProtocol.into();
        }
        let frame = packets::ethernet(GUEST_MAC[guest], Mac::VIRTUAL_ROUTER, false, payload);
        End::Send(GUESTS[guest], frame)
    }

    /// MPLS over UDP to the first peer, over GRE to the second (forwarding.md 4.10). The source port is left zero.
    fn encapsulate(&mut self, packet: &mut Packet, which: usize) -> End {
        let Some(label) = packet.label else { return self.route(packet) };
        if packet.vif == FABRIC && packet.outer == Some(PEERS[which]) {
            return DropReason::PktLoop.into();
        }
        let payload = &packet.frame[packet.start..];
        let id = if packet.is_inet6() {
            self.ip_id = self.ip_id.wrapping_add(1).max(1);
            self.ip_id
        } else {
            packet.be16(4)
        };
        let label = (label << 12 | 0x100 | u32::from(packet.ttl)).to_be_bytes();
        let (protocol, mut shim) = if which == 0 {
            let len = (12 + payload.len() as u16).to_be_bytes();
            (packets::UDP, vec![0, 0, 0x19, 0xeb, len[0], len[1], 0, 0])
        } else {
            (47, vec![0, 0, 0x88, 0x47])
        };
        shim.extend(label);
        let mut header = vec![0x45, 0];
        header.extend((20 + shim.len() as u16 + payload.len() as u16).to_be_bytes());
        header.extend(id.to_be_bytes());
        header.extend([0, 0, 64, protocol, 0, 0]);
        header.extend(NODE);
        header.extend(PEERS[which]);
        let sum = vr_wire::checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        End::Send(
            FABRIC,
            [&packets::ethernet(PEER_MAC, NODE_MAC, false, &header)[..], &shim, payload].concat(),
        )
    }
}

/// The nexthop and label of a route.
pub(super) fn lookup(vrf: u16, host: u8) -> (u32, Option<u32>) {
    let found = ROUTES.iter().find(|(in_vrf, to, ..)| (*in_vrf, *to) == (vrf, host));
    found.map_or((0, None), |(.., nexthop, label)| (*nexthop, *label))
}
