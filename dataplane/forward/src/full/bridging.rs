//! The bridging step (forwarding.md 3.4).

use vr_tables::bridge::{BridgeEntry, BridgeFlags, BridgeKey};
use vr_tables::nexthop::{NexthopAction, NexthopFlags};
use vr_tables::stats::VrfCounter;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, Mac, Trap, TrapReason, VrfId};

use super::mss::Overhead;
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16};
use crate::verdict::Stop;

/// Packets that are recognised by their group destination.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WellKnown {
    Dhcp,
    Igmp,
}

impl Full<'_> {
    /// Bridges the frame in its present VRF, or routes it when it is for us.
    pub(super) fn bridge_input(&mut self, pkt: &mut Pkt) -> Stop {
        let Some(destination) = pkt.destination_mac() else { return Stop::Drop(DropReason::Pull) };
        let moved = pkt.kind.is_ip() || pkt.kind == Kind::Arp;
        if moved && let Err(stop) = pkt.pull_to_network() {
            return stop;
        }
        if pkt.to_me {
            return match pkt.kind {
                Kind::Inet => self.inet_input(pkt),
                Kind::Inet6 => self.inet6_input(pkt),
                _ => Stop::Drop(DropReason::NowhereToGo),
            };
        }
        if let Some(stop) = self.guest_specials(pkt) {
            return stop;
        }
        let entry = match self.bridge_lookup(pkt, destination) {
            Ok(entry) => entry,
            Err(stop) => return stop,
        };
        self.bridge.counting(self.worker).count(entry.index);
        pkt.bridge = entry.index;
        let Some(nexthop) = self.tables.nexthop(entry.nexthop) else {
            return Stop::Drop(DropReason::InvalidNh);
        };
        let routed = matches!(nexthop.action, NexthopAction::L2Receive);
        if pkt.kind.is_ip() {
            if self.ingress_kind(pkt).is_some_and(VifKind::is_guest) {
                self.clamp_from_guest(pkt, if routed { Overhead::Routed } else { Overhead::Bridged });
            }
            let hairpin = !pkt.multicast
                && self.from_underlay(pkt)
                && matches!(nexthop.action, NexthopAction::Tunnel(_))
                && !self.ingress_has(pkt, VifFlags::FABRIC_GATEWAY);
            if hairpin {
                return Stop::Drop(DropReason::InvalidSource);
            }
        }
        if moved && let Err(stop) = pkt.restore_l2() {
            return stop;
        }
        self.output(pkt, entry.nexthop)
    }

    /// DHCP, IGMP, ARP and neighbour discovery of guests.
    fn guest_specials(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        let vif = self.tables.vif(pkt.vif)?;
        if vif.kind.is_guest() && pkt.multicast {
            match well_known(pkt) {
                Some(WellKnown::Dhcp) if vif.flags.contains(VifFlags::DHCP) => {
                    return Some(Stop::Trap(Trap::new(TrapReason::L3Protocols)));
                }
                Some(WellKnown::Igmp) if vif.flags.contains(VifFlags::IGMP) => {
                    return Some(Stop::Trap(Trap::new(TrapReason::L3Protocols)));
                }
                _ => {}
            }
        }
        if !pkt.multicast || vif.flags.contains(VifFlags::MAC_PROXY) {
            match pkt.kind {
                Kind::Arp => return self.arp_input(pkt),
                Kind::Inet6 if super::neighbour::is_solicitation(pkt) => return self.neighbour_input(pkt),
                _ => {}
            }
        }
        None
    }

    /// The entry for a destination, or for flooding where that is allowed.
    fn bridge_lookup(&mut self, pkt: &mut Pkt, destination: Mac) -> Result<BridgeEntry, Stop> {
        if pkt.multicast
            && let Some(vif) = self.tables.vif(pkt.vif)
            && vif.mcast_vrf != VrfId::NONE
        {
            pkt.vrf = vif.mcast_vrf;
        }
        let entry =
            if pkt.multicast { self.group_entry(pkt, destination) } else { self.entry(pkt.vrf, destination) };
        let usable = entry.filter(|entry| {
            self.tables.nexthop(entry.nexthop).is_some_and(|nh| !matches!(nh.action, NexthopAction::Discard))
        });
        if let Some(entry) = usable {
            Self::take_label(pkt, &entry);
            return Ok(entry);
        }
        if pkt.multicast || !self.floods_unknown_unicast(pkt) {
            return Err(DropReason::L2NoRoute.into());
        }
        let flood = self.entry(pkt.vrf, Mac::BROADCAST).ok_or(DropReason::L2NoRoute)?;
        self.count_vrf(pkt.vrf, VrfCounter::UucFloods);
        pkt.multicast = true;
        Self::take_label(pkt, &flood);
        Ok(flood)
    }

    fn take_label(pkt: &mut Pkt, entry: &BridgeEntry) {
        if let Some(label) = entry.valid_label() {
            pkt.label = Some(label);
            pkt.label_is_vni = false;
        }
        pkt.control_word = entry.flags.contains(BridgeFlags::L2_CONTROL_DATA);
    }

    pub(super) fn entry(&self, vrf: VrfId, mac: Mac) -> Option<BridgeEntry> {
        self.bridge.lookup(BridgeKey::new(vrf, mac))
    }

    fn group_entry(&self, pkt: &Pkt, destination: Mac) -> Option<BridgeEntry> {
        let flood = || self.entry(pkt.vrf, Mac::BROADCAST);
        let from_guest = matches!(self.ingress_kind(pkt), Some(VifKind::Virtual | VifKind::Agent));
        if pkt.kind != Kind::Inet || from_guest && !self.ingress_has(pkt, VifFlags::IGMP) {
            return flood();
        }
        self.entry(pkt.vrf, destination).or_else(flood)
    }

    fn floods_unknown_unicast(&self, pkt: &Pkt) -> bool {
        if self.from_underlay(pkt) {
            let nexthop = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot));
            return nexthop.is_some_and(|nh| nh.flags.contains(NexthopFlags::UNKNOWN_UC_FLOOD));
        }
        self.ingress_has(pkt, VifFlags::UNKNOWN_UC_FLOOD)
    }
}

/// Recognises DHCP and IGMP; the packet starts at its IP header.
fn well_known(pkt: &Pkt) -> Option<WellKnown> {
    let bytes = pkt.bytes();
    match pkt.kind {
        Kind::Inet => {
            let header = super::ip::inet_header_len(bytes).ok()?;
            let first_fragment = be16(bytes, 6)? & 0x1fff == 0;
            match bytes[9] {
                2 => Some(WellKnown::Igmp),
                17 if first_fragment && be16(bytes, header)? == 68 => Some(WellKnown::Dhcp),
                _ => None,
            }
        }
        Kind::Inet6 => {
            let to_all_routers: [u8; 2] = array(bytes, 24)?;
            (to_all_routers == [0xff, 0x02] && bytes[6] == 17 && be16(bytes, 40)? == 546)
                .then_some(WellKnown::Dhcp)
        }
        _ => None,
    }
}
