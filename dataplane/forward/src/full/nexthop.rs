//! Nexthop output: what is common to all, and the simple kinds (forwarding.md 4.1 to 4.6).

use vr_tables::nexthop::{Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot};
use vr_tables::stats::VrfCounter;
use vr_types::{DropReason, Trap, TrapReason};

use super::pkt::Target;
use super::{Full, Kind, Pkt, Resume};
use crate::verdict::Stop;

impl Full<'_> {
    /// Sends the packet by a nexthop.
    pub(super) fn output(&mut self, pkt: &mut Pkt, slot: NexthopSlot) -> Stop {
        if pkt.hops == 0 {
            return Stop::Drop(DropReason::PktLoop);
        }
        pkt.hops -= 1;
        if pkt.ttl == 0 {
            return Stop::Trap(Trap::new(TrapReason::ZeroTtl));
        }
        pkt.nexthop = Some(slot);
        let Some(nexthop) = self.tables.nexthop(slot) else { return Stop::Drop(DropReason::InvalidNh) };
        if !nexthop.flags.contains(NexthopFlags::VALID) {
            return Stop::Drop(DropReason::InvalidNh);
        }
        if pkt.kind.is_ip() && !pkt.flow_done && nexthop.wants_flow() {
            pkt.flow_wanted = true;
            let (id, vif, epoch) = (nexthop.id, nexthop.vif(), self.tables.nexthop_epoch(slot));
            if let Err(stop) = self.flow(pkt, Resume::Nexthop(Target { slot, id, vif, epoch })) {
                return stop;
            }
            return self.output_after_flow(pkt, slot);
        }
        self.act(pkt, slot, nexthop)
    }

    /// Goes on after the flow of a packet, which may have chosen another nexthop.
    pub(super) fn output_after_flow(&mut self, pkt: &mut Pkt, slot: NexthopSlot) -> Stop {
        match pkt.nexthop {
            None => Stop::Drop(DropReason::InvalidNh),
            Some(now) if now != slot => self.output(pkt, now),
            Some(now) => match self.tables.nexthop(now) {
                Some(nexthop) => self.act(pkt, now, nexthop),
                None => Stop::Drop(DropReason::InvalidNh),
            },
        }
    }

    fn act(&mut self, pkt: &mut Pkt, slot: NexthopSlot, nexthop: &Nexthop) -> Stop {
        match &nexthop.action {
            NexthopAction::Discard => {
                self.count_vrf(pkt.vrf, VrfCounter::Discards);
                Stop::Drop(DropReason::Discard)
            }
            NexthopAction::Receive(_) => {
                self.count_vrf(pkt.vrf, VrfCounter::Receives);
                if nexthop.family != NexthopFamily::Inet {
                    return Stop::Drop(DropReason::InvalidProtocol);
                }
                if pkt.kind == Kind::Inet6 {
                    return self.deliver_to_host(pkt, nexthop.vif());
                }
                self.local_receive(pkt, Some(slot))
            }
            NexthopAction::L2Receive => self.l2_receive(pkt),
            NexthopAction::Resolve => self.resolve(pkt),
            NexthopAction::VrfTranslate => {
                pkt.compilable = None;
                pkt.vrf = nexthop.vrf;
                self.count_vrf(pkt.vrf, VrfCounter::VrfTranslates);
                match nexthop.family {
                    NexthopFamily::Inet => self.route(pkt),
                    _ => self.bridge_input(pkt),
                }
            }
            NexthopAction::Encap(encap) => {
                self.compile(pkt, slot);
                self.encap(pkt, nexthop, encap)
            }
            NexthopAction::Tunnel(tunnel) => {
                self.compile(pkt, slot);
                self.tunnel(pkt, nexthop, tunnel)
            }
            NexthopAction::Composite(composite) => self.composite(pkt, slot, nexthop, composite),
            NexthopAction::UdpTunnel(tunnel) => self.udp_tunnel(pkt, nexthop, *tunnel),
            // Provider backbone bridging comes with the rest of the nexthops.
            NexthopAction::Invalid | NexthopAction::Pbb { .. } => Stop::Drop(DropReason::InvalidNh),
        }
    }

    /// Our MAC: the frame is for the router.
    fn l2_receive(&mut self, pkt: &mut Pkt) -> Stop {
        self.count_vrf(pkt.vrf, VrfCounter::L2Receives);
        pkt.to_me = true;
        if let Err(stop) = pkt.pull_to_network() {
            return stop;
        }
        match pkt.kind {
            Kind::Inet => self.inet_input(pkt),
            Kind::Inet6 => {
                if super::neighbour::is_solicitation(pkt)
                    && let Some(stop) = self.neighbour_input(pkt)
                {
                    return stop;
                }
                self.inet6_input(pkt)
            }
            Kind::Arp => match self.arp_input(pkt) {
                Some(stop) => stop,
                None => Stop::Drop(DropReason::NowhereToGo),
            },
            _ => Stop::Drop(DropReason::InvalidProtocol),
        }
    }

    /// An underlay neighbour is unknown: the agent is asked, the packet goes to the other side.
    fn resolve(&mut self, pkt: &mut Pkt) -> Stop {
        self.count_vrf(pkt.vrf, VrfCounter::Resolves);
        let trap = Trap::new(TrapReason::Resolve);
        match self.duplicate(pkt) {
            Some(copy) => {
                self.trap(copy, &trap);
                self.cross_connect(pkt)
            }
            None => Stop::Trap(trap),
        }
    }
}
