//! Decapsulation of MPLS over GRE, MPLS over UDP and VXLAN (forwarding.md 5).

use std::net::{IpAddr, Ipv4Addr};

use vr_tables::nexthop::{NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot};
use vr_types::{DropReason, Label, Release, Trap, TrapReason, Vni, VrfId};

use super::local::{MPLS_PORTS, VXLAN_PORT};
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16, be32};
use crate::verdict::{Step, Stop};

/// From this label on, a composite replicates and a control word precedes the frame.
const FIRST_MULTICAST_LABEL: u32 = 1024;
/// Bytes of the VXLAN packet inside an edge multicast packet, in front of its Ethernet frame.
pub(super) const EDGE_STACK: usize = 36;

impl Full<'_> {
    /// GRE behind an IPv4 header of `header` bytes; `None` when it is not ours.
    pub(super) fn gre_input(&mut self, pkt: &mut Pkt, header: usize) -> Option<Stop> {
        const CHECKSUM: u16 = 0x8000;
        const KEY: u16 = 0x2000;
        let Some([flags_high, flags_low, proto_high, proto_low]) = array::<4>(pkt.bytes(), header) else {
            return Some(Stop::Drop(DropReason::Misc));
        };
        let flags = u16::from_be_bytes([flags_high, flags_low]);
        if flags & !(CHECKSUM | KEY) != 0 || [proto_high, proto_low] != [0x88, 0x47] {
            return None;
        }
        let options = 4 * (usize::from(flags & CHECKSUM != 0) + usize::from(flags & KEY != 0));
        Some(self.mpls_input(pkt, header + 4 + options))
    }

    /// UDP behind an IPv4 header of `header` bytes; `None` when it is not ours.
    pub(super) fn udp_input(&mut self, pkt: &mut Pkt, header: usize) -> Option<Stop> {
        let port = be16(pkt.bytes(), header + 2)?;
        if MPLS_PORTS.contains(&port) {
            return Some(self.mpls_input(pkt, header + 8));
        }
        (port == VXLAN_PORT).then(|| self.vxlan_input(pkt, header + 8))
    }

    fn remember_outer(pkt: &mut Pkt) {
        pkt.outer_source = array::<4>(pkt.bytes(), 12).map(|source| IpAddr::V4(Ipv4Addr::from(source)));
    }

    fn mpls_input(&mut self, pkt: &mut Pkt, at: usize) -> Stop {
        match self.label(pkt, at) {
            Ok(slot) => self.output(pkt, slot),
            Err(stop) => stop,
        }
    }

    /// Takes the label at offset `at` and everything in front of it off; the nexthop of the label.
    fn label(&mut self, pkt: &mut Pkt, mut at: usize) -> Step<NexthopSlot> {
        const IGNORED: u32 = 0xf_ffff;
        const BOTTOM: u32 = 0x100;
        let mut word = be32(pkt.bytes(), at).ok_or(DropReason::Pull)?;
        if word & BOTTOM == 0 && word >> 12 == IGNORED {
            at += 4;
            word = be32(pkt.bytes(), at).ok_or(DropReason::Pull)?;
        }
        let (label, ttl) = (word >> 12, word as u8);
        if label >= self.tables.label_limit {
            return Err(DropReason::InvalidLabel.into());
        }
        if ttl <= 1 {
            return Err(DropReason::TtlExceeded.into());
        }
        let slot = self.tables.label(Label(label)).ok_or(DropReason::InvalidLabel)?;
        Self::remember_outer(pkt);
        pkt.pull(at + 4)?;
        pkt.label = Some(label);
        pkt.label_is_vni = false;
        pkt.ttl = ttl - 1;
        pkt.multicast = false;
        pkt.vlan = None;
        let nexthop = self.tables.nexthop(slot).ok_or(DropReason::InvalidLabel)?;
        match nexthop.family {
            NexthopFamily::Inet => pkt.classify_ip()?,
            NexthopFamily::Bridge => {
                let multicast =
                    matches!(nexthop.action, NexthopAction::Composite(_)) && label >= FIRST_MULTICAST_LABEL;
                if multicast || nexthop.flags.contains(NexthopFlags::L2_CONTROL_DATA) {
                    if array(pkt.bytes(), 0) != Some([0; 4]) {
                        return Err(DropReason::InvalidPacket.into());
                    }
                    pkt.pull(4)?;
                }
                pkt.classify(if multicast { EDGE_STACK } else { 0 })
                    .map_err(|_| DropReason::InvalidPacket)?;
            }
            NexthopFamily::Other(_) => return Err(DropReason::InvalidNh.into()),
        }
        pkt.vrf = self.vrf_of(pkt, slot);
        Ok(slot)
    }

    /// VRF for a decapsulated packet: the nexthop's, else its device's, else that of the ingress interface.
    fn vrf_of(&self, pkt: &Pkt, slot: NexthopSlot) -> VrfId {
        let Some(nexthop) = self.tables.nexthop(slot) else { return VrfId::NONE };
        if nexthop.vrf != VrfId::NONE {
            return nexthop.vrf;
        }
        let device = nexthop.vif().unwrap_or(pkt.vif);
        self.tables.vif(device).map_or(VrfId::NONE, |vif| vif.vrf)
    }

    fn vxlan_input(&mut self, pkt: &mut Pkt, at: usize) -> Stop {
        match self.vni(pkt, at) {
            // R2.20 knows neither the bit nor the reason.
            Ok((_, true)) if self.tables.options.release == Release::Current => {
                Stop::Trap(Trap::new(TrapReason::RouterAlert))
            }
            Ok((slot, _)) => self.output(pkt, slot),
            Err(stop) => stop,
        }
    }

    /// Takes the VXLAN header at offset `at` and everything in front of it off; the nexthop of the VNI and
    /// whether the router alert bit was set.
    fn vni(&mut self, pkt: &mut Pkt, at: usize) -> Step<(NexthopSlot, bool)> {
        const VNI_VALID: u32 = 0x0800_0000;
        const ROUTER_ALERT: u32 = 0x0100_0000;
        let flags = be32(pkt.bytes(), at).ok_or(DropReason::Pull)?;
        let word = be32(pkt.bytes(), at + 4).ok_or(DropReason::Pull)?;
        if flags & VNI_VALID == 0 {
            return Err(DropReason::InvalidVnid.into());
        }
        Self::remember_outer(pkt);
        let slot = self.tables.vni(Vni(word >> 8)).ok_or(DropReason::InvalidVnid)?;
        pkt.pull(at + 8)?;
        pkt.label = Some(word >> 8);
        pkt.label_is_vni = true;
        pkt.vlan = None;
        pkt.classify(0).map_err(|_| DropReason::InvalidPacket)?;
        pkt.ttl = 64;
        pkt.vrf = self.vrf_of(pkt, slot);
        Ok((slot, flags & ROUTER_ALERT != 0))
    }

    /// Whether an IPv4 packet that starts here is a tunnel packet, which needs no flow of its own.
    pub(super) fn is_tunnel_packet(&self, pkt: &Pkt) -> bool {
        if pkt.kind != Kind::Inet || pkt.outer_source.is_some() || !self.from_underlay(pkt) {
            return false;
        }
        let bytes = pkt.l3();
        let Ok(header) = super::ip::inet_header_len(bytes) else { return false };
        match bytes[9] {
            47 => true,
            17 => {
                be16(bytes, header + 2).is_some_and(|port| port == VXLAN_PORT || MPLS_PORTS.contains(&port))
            }
            _ => false,
        }
    }
}
