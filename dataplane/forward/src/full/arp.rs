//! ARP: who answers what (forwarding.md 7.1 to 7.5).

use vr_tables::bridge::BridgeEntry;
use vr_tables::fib::{Route, RouteFlags};
use vr_tables::nexthop::{Nexthop, NexthopAction};
use vr_tables::stats::VrfCounter;
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{DropReason, Mac, Trap, TrapReason, VrfId};

use super::encap::push_ethernet;
use super::{Full, Pkt};
use crate::bytes::{array, be16, put};
use crate::verdict::Stop;

/// What to do with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Answer with this MAC.
    Proxy(Mac),
    /// Hand it to the other side of the cross-connect.
    CrossConnect,
    /// A copy for the agent, the original to the other side.
    TrapAndCrossConnect,
    /// A copy for the agent, the original is flooded.
    TrapAndFlood,
    /// Drop it.
    Drop,
    /// Go on with bridging.
    Flood,
}

/// Fields of an ARP body that decide.
struct Body {
    reply: bool,
    sender_mac: Mac,
    sender: [u8; 4],
    target: [u8; 4],
}

fn parse(bytes: &[u8]) -> Option<Body> {
    let body = array::<28>(bytes, 0)?;
    let well_formed = body[..6] == [0, 1, 8, 0, 6, 4];
    let operation = be16(&body, 6)?;
    (well_formed && matches!(operation, 1 | 2)).then_some(Body {
        reply: operation == 2,
        sender_mac: Mac(array(&body, 8)?),
        sender: array(&body, 14)?,
        target: array(&body, 24)?,
    })
}

/// Whether neighbour packets of this packet concern the underlay itself. What has a tag belongs to a VLAN of the host's.
pub(super) fn is_underlay(pkt: &Pkt, vif: &Vif) -> bool {
    vif.kind == VifKind::Physical
        && pkt.label.is_none()
        && pkt.vrf == vif.vrf
        && pkt.vlan.is_none_or(|vlan| vlan == 0)
}

impl Full<'_> {
    /// The packet starts at its ARP body. `None` when the caller goes on with it.
    pub(super) fn arp_input(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        let Some(body) = parse(pkt.bytes()) else { return Some(Stop::Drop(DropReason::InvalidArp)) };
        if body.reply {
            return self.arp_reply(pkt);
        }
        match self.arp_request(pkt, &body) {
            Verdict::Proxy(mac) => Some(self.answer(pkt, &body, mac)),
            Verdict::CrossConnect => Some(self.cross_connect(pkt)),
            Verdict::TrapAndCrossConnect => Some(self.trap_and_cross_connect(pkt)),
            Verdict::TrapAndFlood => {
                self.trap_copy(pkt);
                None
            }
            Verdict::Drop => Some(Stop::Drop(DropReason::InvalidArp)),
            Verdict::Flood if self.ingress_has(pkt, VifFlags::SERVICE_IF) => {
                Some(Stop::Drop(DropReason::InvalidArp))
            }
            Verdict::Flood => None,
        }
    }

    fn arp_request(&mut self, pkt: &mut Pkt, body: &Body) -> Verdict {
        let Some(vif) = self.tables.vif(pkt.vif) else { return Verdict::Drop };
        let gratuitous = body.sender == [0; 4] || body.sender == body.target;
        let route = |this: &Self, pkt: &Pkt| this.tables.route(pkt.vrf, body.target);
        match vif.kind {
            VifKind::Host | VifKind::XenLinkLocal | VifKind::Gateway => {
                if gratuitous {
                    return Verdict::CrossConnect;
                }
                if body.target[..2] == [169, 254] || vif.kind == VifKind::Gateway {
                    return Verdict::Proxy(vif.mac);
                }
                let route = route(self, pkt);
                underlay_only(self.decide(pkt, vif, &route, gratuitous))
            }
            VifKind::Physical => {
                if vif.flags.contains(VifFlags::XCONNECT) {
                    return Verdict::CrossConnect;
                }
                let route = route(self, pkt);
                if !is_underlay(pkt, vif) {
                    return self.decide(pkt, vif, &route, gratuitous);
                }
                if gratuitous {
                    return Verdict::TrapAndCrossConnect;
                }
                underlay_only(self.decide(pkt, vif, &route, gratuitous))
            }
            VifKind::Virtual | VifKind::VirtualVlan => {
                let route = route(self, pkt);
                self.decide(pkt, vif, &route, gratuitous)
            }
            _ => Verdict::Drop,
        }
    }

    /// The generic decision (forwarding.md 7.3), for ARP and neighbour discovery alike.
    pub(super) fn decide(&mut self, pkt: &mut Pkt, vif: &Vif, route: &Route, gratuitous: bool) -> Verdict {
        let mac_proxy = vif.flags.contains(VifFlags::MAC_PROXY);
        if pkt.vlan.is_some() {
            return Verdict::Flood;
        }
        if gratuitous {
            if vif.kind == VifKind::Physical {
                return Verdict::Flood;
            }
            if mac_proxy {
                return Verdict::Drop;
            }
            return if route.flags().contains(RouteFlags::ARP_TRAP) {
                Verdict::TrapAndFlood
            } else {
                Verdict::Flood
            };
        }
        if mac_proxy || route.flags().contains(RouteFlags::ARP_PROXY) {
            return self.choose_mac(pkt, vif, route);
        }
        self.count_vrf(pkt.vrf, VrfCounter::ArpVirtualFlood);
        if vif.kind.is_host_side() || is_underlay(pkt, vif) { Verdict::CrossConnect } else { Verdict::Flood }
    }

    /// The MAC to answer with (forwarding.md 7.3.1).
    fn choose_mac(&mut self, pkt: &mut Pkt, vif: &Vif, route: &Route) -> Verdict {
        if vif.flags.contains(VifFlags::MAC_PROXY) {
            self.count_vrf(pkt.vrf, VrfCounter::ArpVirtualProxy);
            pkt.own_mac = true;
            return Verdict::Proxy(vif.mac);
        }
        let nexthop = self.tables.nexthop(route.nexthop);
        let to_gateway = nexthop.is_some_and(|nh| self.is_gateway(nh));
        if vif.flags.contains(VifFlags::NO_ARP_PROXY) && !to_gateway {
            return Verdict::Drop;
        }
        let stitched = self.bridge.entry(route.stitched);
        let mac = stitched.map_or(vif.mac, |(key, _)| key.mac());
        let flood = route.flags().contains(RouteFlags::ARP_FLOOD) && stitched.is_none();
        match vif.kind {
            VifKind::Physical => {
                let underlay = is_underlay(pkt, vif);
                let considered =
                    if underlay { nexthop } else { self.nexthop_of(stitched.map(|(_, entry)| entry)) };
                let hosted = considered.is_some_and(|nh| self.is_hosted(nh));
                let to_vcp = nexthop.is_some_and(|nh| matches!(nh.action, NexthopAction::Resolve));
                if flood {
                    self.count_vrf(pkt.vrf, VrfCounter::ArpPhysicalFlood);
                    return Verdict::Flood;
                }
                if to_gateway {
                    return Verdict::Drop;
                }
                if to_vcp || hosted {
                    self.count_vrf(pkt.vrf, VrfCounter::ArpPhysicalStitch);
                    return Verdict::Proxy(mac);
                }
                self.count_vrf(pkt.vrf, VrfCounter::ArpPhysicalFlood);
                if underlay { Verdict::CrossConnect } else { Verdict::Flood }
            }
            kind if kind.is_guest() => {
                if flood {
                    self.count_vrf(pkt.vrf, VrfCounter::ArpVirtualFlood);
                    return Verdict::Flood;
                }
                if stitched.is_some() {
                    self.count_vrf(pkt.vrf, VrfCounter::ArpVirtualStitch);
                } else {
                    self.count_vrf(pkt.vrf, VrfCounter::ArpVirtualProxy);
                    pkt.own_mac = true;
                }
                Verdict::Proxy(mac)
            }
            _ => Verdict::Proxy(mac),
        }
    }

    fn nexthop_of(&self, entry: Option<BridgeEntry>) -> Option<&Nexthop> {
        self.tables.nexthop(entry?.nexthop)
    }

    /// Whether a nexthop leads to a guest of this node.
    fn is_hosted(&self, nexthop: &Nexthop) -> bool {
        let NexthopAction::Encap(encap) = &nexthop.action else { return false };
        self.tables.vif(encap.vif).is_some_and(|vif| vif.kind.is_guest())
    }

    fn arp_reply(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        let Some(vif) = self.tables.vif(pkt.vif) else { return Some(Stop::Drop(DropReason::InvalidIf)) };
        if vif.flags.contains(VifFlags::XCONNECT) || vif.kind == VifKind::Host {
            return Some(self.cross_connect(pkt));
        }
        match vif.kind {
            kind if kind.is_guest() => {
                if pkt.to_me {
                    return Some(Stop::Trap(Trap::new(TrapReason::Arp)));
                }
                if pkt.multicast {
                    self.trap_copy(pkt);
                }
                None
            }
            VifKind::Physical if is_underlay(pkt, vif) => Some(self.trap_and_cross_connect(pkt)),
            VifKind::Physical => None,
            _ => Some(Stop::Drop(DropReason::InvalidIf)),
        }
    }

    /// A copy for the agent.
    pub(super) fn trap_copy(&mut self, pkt: &Pkt) -> bool {
        match self.duplicate(pkt) {
            Some(copy) => {
                self.trap(copy, &Trap::new(TrapReason::Arp));
                true
            }
            None => false,
        }
    }

    pub(super) fn trap_and_cross_connect(&mut self, pkt: &mut Pkt) -> Stop {
        if self.trap_copy(pkt) { self.cross_connect(pkt) } else { Stop::Trap(Trap::new(TrapReason::Arp)) }
    }

    /// Turns the request into its answer and sends it (forwarding.md 7.4).
    fn answer(&mut self, pkt: &mut Pkt, body: &Body, mac: Mac) -> Stop {
        let bytes = pkt.frame.bytes_mut();
        put(bytes, 6, 2u16.to_be_bytes());
        put(bytes, 8, mac.0);
        put(bytes, 14, body.target);
        put(bytes, 18, body.sender_mac.0);
        put(bytes, 24, body.sender);
        if let Err(stop) = push_ethernet(pkt, body.sender_mac, mac, 0x0806) {
            return stop;
        }
        self.send_answer(pkt, body.sender_mac)
    }

    /// Sends an answer to the station that asked.
    pub(super) fn send_answer(&mut self, pkt: &mut Pkt, requester: Mac) -> Stop {
        pkt.flow_done = true;
        pkt.multicast = false;
        pkt.received = (pkt.frame.headroom() as u16, pkt.frame.len() as u32);
        let Some(vif) = self.tables.vif(pkt.vif) else { return Stop::Drop(DropReason::InvalidIf) };
        let direct = vif.kind.is_host_side()
            || vif.kind == VifKind::Physical && pkt.vrf == VrfId::FABRIC
            || vif.flags.intersects(VifFlags::NO_ARP_PROXY | VifFlags::MAC_PROXY);
        if direct {
            return self.send(pkt, vif.id);
        }
        let Some(entry) = self.entry(pkt.vrf, requester) else { return Stop::Drop(DropReason::InvalidNh) };
        let Some(nexthop) = self.tables.nexthop(entry.nexthop) else {
            return Stop::Drop(DropReason::InvalidNh);
        };
        pkt.label = entry.valid_label();
        pkt.label_is_vni = false;
        if vif.kind.is_guest() && nexthop.vif() != Some(vif.id) {
            return self.send(pkt, vif.id);
        }
        self.output(pkt, entry.nexthop)
    }
}

/// In the underlay a request is answered or left to the kernel on the other side.
pub(super) const fn underlay_only(verdict: Verdict) -> Verdict {
    match verdict {
        Verdict::Proxy(mac) => Verdict::Proxy(mac),
        _ => Verdict::CrossConnect,
    }
}
