//! Composite nexthops: one of several, or all of them (forwarding.md 4.12).

use std::net::IpAddr;

use vr_tables::bridge::BridgeFlags;
use vr_tables::nexthop::{
    Composite, Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot, Tunnel,
};
use vr_tables::stats::VrfCounter;
use vr_types::{DropReason, Trap, TrapReason, TunnelKind};
use vr_wire::encap::EncapTemplate;

use super::tunnel_in::EDGE_STACK;
use super::{Full, Kind, Pkt, oversize};
use crate::bytes::array;
use crate::verdict::{Step, Stop};

/// Where a frame to be replicated came from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// A local interface.
    Local,
    /// A neighbour in the multicast tree; the frame stands behind a VXLAN packet's headers.
    Tree,
    /// From outside of the tree, without those headers.
    Outside,
    /// A peer that replicates itself.
    Ingress,
    /// A top of rack switch.
    TopOfRack,
}

impl Full<'_> {
    pub(super) fn composite(
        &mut self,
        pkt: &mut Pkt,
        slot: NexthopSlot,
        nexthop: &Nexthop,
        composite: &Composite,
    ) -> Stop {
        let flags = nexthop.flags;
        if flags.contains(NexthopFlags::COMPOSITE_ECMP) {
            self.count_vrf(pkt.vrf, VrfCounter::EcmpComposites);
            return self.choose(pkt, slot, flags, composite);
        }
        pkt.compilable = None;
        if flags.contains(NexthopFlags::MCAST) {
            self.count_vrf(pkt.vrf, VrfCounter::L2McastComposites);
            return self.replicate(pkt, slot, nexthop, composite);
        }
        if composite.members.is_empty() {
            return Stop::Drop(DropReason::Discard);
        }
        Stop::Drop(DropReason::InvalidNh)
    }

    /// The root of a replication tree: copies to every member composite that fits the origin.
    fn replicate(&mut self, pkt: &mut Pkt, slot: NexthopSlot, root: &Nexthop, composite: &Composite) -> Stop {
        if pkt.offload.is_super_frame() {
            return match oversize::plan(pkt, None) {
                Ok(plan) => self.for_each_segment(pkt, &plan, |full, segment| {
                    full.replicate(segment, slot, root, composite)
                }),
                Err(stop) => stop,
            };
        }
        let origin = match self.origin(pkt, root, composite) {
            Ok(origin) => origin,
            Err(stop) => return stop,
        };
        if let Some(stop) = self.control_packet(pkt, origin) {
            return stop;
        }
        if let Some(stop) = self.known_here(pkt, origin) {
            return stop;
        }
        if composite.members.is_empty() {
            return Stop::Drop(DropReason::Discard);
        }
        let (label, vrf) = (pkt.label, pkt.vrf);
        for member in composite.members.iter().flatten() {
            let Some(group) = self.tables.nexthop(member.nexthop) else { continue };
            let NexthopAction::Composite(members) = &group.action else { continue };
            if !group.flags.contains(NexthopFlags::VALID) {
                continue;
            }
            pkt.label = label;
            pkt.vrf = vrf;
            pkt.nexthop = Some(slot);
            let flags = group.flags;
            if flags.contains(NexthopFlags::COMPOSITE_ENCAP) {
                self.to_local_members(pkt, origin, members);
            } else if flags.contains(NexthopFlags::COMPOSITE_FABRIC) {
                if origin != Origin::Ingress {
                    self.to_tree_members(pkt, origin, group, members);
                }
            } else if flags.contains(NexthopFlags::COMPOSITE_EVPN) {
                if matches!(origin, Origin::Local | Origin::TopOfRack) {
                    self.count_vrf(pkt.vrf, VrfCounter::EvpnComposites);
                    self.to_peers(pkt, members, 0, None);
                }
            } else if flags.contains(NexthopFlags::COMPOSITE_TOR) {
                self.count_vrf(pkt.vrf, VrfCounter::EvpnComposites);
                let strip = if origin == Origin::Tree { EDGE_STACK } else { 0 };
                self.to_peers(pkt, members, strip, pkt.outer_source);
            }
        }
        Stop::Drop(DropReason::ClonedOriginal)
    }

    /// Which kind of sender the frame came from, checked against the tree.
    fn origin(&self, pkt: &Pkt, root: &Nexthop, composite: &Composite) -> Step<Origin> {
        if !self.from_underlay(pkt) {
            return Ok(Origin::Local);
        }
        let Some(source) = pkt.outer_source else { return Err(DropReason::InvalidMcastSource.into()) };
        for member in composite.members.iter().flatten() {
            let Some(group) = self.tables.nexthop(member.nexthop) else { continue };
            let NexthopAction::Composite(members) = &group.action else { continue };
            let from_group = members.members.iter().flatten().any(|peer| {
                matches!(self.tables.nexthop(peer.nexthop).map(|nh| &nh.action),
                    Some(NexthopAction::Tunnel(tunnel)) if tunnel.destination == source)
            });
            if !from_group {
                continue;
            }
            if group.flags.contains(NexthopFlags::COMPOSITE_FABRIC) {
                return Ok(Origin::Tree);
            }
            if group.flags.contains(NexthopFlags::COMPOSITE_EVPN) {
                return Ok(Origin::Ingress);
            }
            if group.flags.contains(NexthopFlags::COMPOSITE_TOR) {
                return Ok(Origin::TopOfRack);
            }
        }
        if root.flags.contains(NexthopFlags::VALIDATE_MCAST_SRC) {
            return Err(DropReason::InvalidMcastSource.into());
        }
        Ok(Origin::Outside)
    }

    /// Broadcast control packets that are answered or shown to the agent (forwarding.md 7.8).
    fn control_packet(&mut self, pkt: &mut Pkt, origin: Origin) -> Option<Stop> {
        if pkt.vlan.is_some() {
            return None;
        }
        let source = array::<6>(pkt.bytes(), 6).map(vr_types::Mac);
        let of_switch = source
            .and_then(|mac| self.entry(pkt.vrf, mac))
            .is_some_and(|entry| entry.flags.contains(BridgeFlags::EVPN_CONTROL));
        let known_source = matches!(origin, Origin::Local | Origin::TopOfRack) || of_switch;
        match pkt.kind {
            Kind::Arp => {
                if pkt.pull_to_network().is_err() {
                    return Some(Stop::Drop(DropReason::Pull));
                }
                let handled = self.arp_input(pkt);
                if handled.is_none() && pkt.restore_l2().is_err() {
                    return Some(Stop::Drop(DropReason::Push));
                }
                handled
            }
            Kind::Inet6 if known_source && super::neighbour::is_neighbour_discovery(pkt) => {
                if pkt.l3().get(40) == Some(&133) {
                    return Some(Stop::Trap(Trap::new(TrapReason::L3Protocols)));
                }
                if pkt.pull_to_network().is_err() {
                    return Some(Stop::Drop(DropReason::Pull));
                }
                let handled = self.neighbour_input(pkt);
                if handled.is_none() && pkt.restore_l2().is_err() {
                    return Some(Stop::Drop(DropReason::Push));
                }
                handled
            }
            _ => None,
        }
    }

    /// A frame that another node flooded because it does not know the destination, which is a guest of ours.
    fn known_here(&mut self, pkt: &mut Pkt, origin: Origin) -> Option<Stop> {
        let strip = match origin {
            Origin::Tree => EDGE_STACK,
            Origin::Ingress => 0,
            _ => return None,
        };
        let destination = array::<6>(pkt.bytes(), strip).map(vr_types::Mac).filter(|mac| !mac.is_group())?;
        let slot = self.entry(pkt.vrf, destination)?.nexthop;
        let local = matches!(self.tables.nexthop(slot)?.action, NexthopAction::Encap(_));
        local.then(|| match pkt.pull(strip) {
            Ok(()) => self.output(pkt, slot),
            Err(stop) => stop,
        })
    }

    /// A copy of the frame behind `strip` bytes, to be sent by a member.
    fn copy_for_member(&mut self, pkt: &Pkt, strip: usize) -> Option<Pkt> {
        let Some(mut copy) = self.may_make(1).then(|| self.duplicate(pkt)).flatten() else {
            self.stats.dropped(pkt.vif, DropReason::McastCloneFail);
            return None;
        };
        if let Err(stop) = copy.pull(strip) {
            self.finish(copy, stop);
            return None;
        }
        Some(copy)
    }

    fn send_copy(&mut self, mut copy: Pkt, slot: NexthopSlot) {
        let end = self.output(&mut copy, slot);
        self.finish(copy, end);
    }

    fn to_local_members(&mut self, pkt: &Pkt, origin: Origin, group: &Composite) {
        self.count_vrf(pkt.vrf, VrfCounter::EncapComposites);
        let strip = if origin == Origin::Tree { EDGE_STACK } else { 0 };
        for member in group.members.iter().flatten() {
            let Some(nexthop) = self.tables.nexthop(member.nexthop) else { continue };
            let Some(vif) = nexthop.vif() else { continue };
            if vif == pkt.vif {
                continue;
            }
            let Some(mut copy) = self.copy_for_member(pkt, strip) else { continue };
            if let Some(vif) = self.tables.vif(vif) {
                copy.vrf = vif.vrf;
            }
            self.send_copy(copy, member.nexthop);
        }
    }

    /// Neighbours in the multicast tree: the frame travels in a VXLAN packet behind the label.
    fn to_tree_members(&mut self, pkt: &Pkt, origin: Origin, group: &Nexthop, members: &Composite) {
        self.count_vrf(pkt.vrf, VrfCounter::FabricComposites);
        let local = matches!(origin, Origin::Local | Origin::TopOfRack);
        let bridged = group.family == NexthopFamily::Bridge;
        let Some(vni) = pkt.label.or(if local { None } else { Some(0) }) else {
            self.stats.dropped(pkt.vif, DropReason::InvalidLabel);
            return;
        };
        for member in members.members.iter().flatten() {
            let Some(nexthop) = self.tables.nexthop(member.nexthop) else { continue };
            let NexthopAction::Tunnel(tunnel) = &nexthop.action else { continue };
            if pkt.outer_source == Some(tunnel.destination) {
                continue;
            }
            let Some(mut copy) = self.copy_for_member(pkt, 0) else { continue };
            if tunnel.kind == TunnelKind::Vxlan {
                self.drop(copy, DropReason::InvalidNh);
                continue;
            }
            if bridged {
                let stacked = if local {
                    self.push_edge_stack(&mut copy, tunnel.source, tunnel.destination, vni)
                } else {
                    Ok(())
                };
                if let Err(stop) = stacked {
                    self.finish(copy, stop);
                    continue;
                }
                copy.control_word = true;
            }
            self.enter_underlay(&mut copy, tunnel);
            copy.label = member.label;
            copy.label_is_vni = false;
            self.send_copy(copy, member.nexthop);
        }
    }

    /// Copies into tunnels belong to the VRF of the underlay.
    fn enter_underlay(&self, copy: &mut Pkt, tunnel: &Tunnel) {
        if let Some(vif) = self.tables.vif(tunnel.vif) {
            copy.vrf = vif.vrf;
        }
    }

    /// Writes the headers of a VXLAN packet in front of a frame, without an outer Ethernet header.
    fn push_edge_stack(&mut self, pkt: &mut Pkt, source: IpAddr, destination: IpAddr, vni: u32) -> Step {
        let template = EncapTemplate::new(TunnelKind::Vxlan, &[], source, destination, 0, None)
            .map_err(|_| DropReason::InvalidNh)?;
        self.encapsulate(pkt, &template, vni, false)?;
        // What follows is an opaque frame.
        pkt.kind = Kind::Unknown;
        Ok(())
    }

    /// Peers that get the bare frame.
    fn to_peers(&mut self, pkt: &Pkt, group: &Composite, strip: usize, except: Option<IpAddr>) {
        for member in group.members.iter().flatten() {
            let Some(nexthop) = self.tables.nexthop(member.nexthop) else { continue };
            if let (NexthopAction::Tunnel(tunnel), Some(except)) = (&nexthop.action, except)
                && tunnel.destination == except
            {
                continue;
            }
            let Some(mut copy) = self.copy_for_member(pkt, strip) else { continue };
            if let NexthopAction::Tunnel(tunnel) = &nexthop.action {
                self.enter_underlay(&mut copy, tunnel);
            }
            copy.label = member.label;
            copy.label_is_vni = false;
            self.send_copy(copy, member.nexthop);
        }
    }
}
