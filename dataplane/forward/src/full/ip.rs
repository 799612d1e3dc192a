//! IP input and the routing step (forwarding.md 2.4, 2.5, 3.3).

use vr_tables::nexthop::{Nexthop, NexthopAction, NexthopFamily};
use vr_tables::vif::VifKind;
use vr_types::{DropReason, Trap, TrapReason};
use vr_wire::ipv4::{self, Ipv4};

use super::{Full, Pkt, Resume};
use crate::bytes::array;
use crate::verdict::{Step, Stop};

/// Length of the IPv4 header at the start of `bytes`, checked against what is there.
pub(super) fn inet_header_len(bytes: &[u8]) -> Step<usize> {
    let first = *bytes.first().ok_or(DropReason::Pull)?;
    let len = usize::from(first & 0xf) * 4;
    if first >> 4 != 4 || len < 20 {
        return Err(DropReason::InvalidProtocol.into());
    }
    if bytes.len() < len { Err(DropReason::Pull.into()) } else { Ok(len) }
}

impl Full<'_> {
    /// The packet starts at its IPv4 header.
    pub(super) fn inet_input(&mut self, pkt: &mut Pkt) -> Stop {
        if let Err(stop) = inet_header_len(pkt.bytes()) {
            return stop;
        }
        if pkt.force_local {
            return self.local_receive(pkt, None);
        }
        if let Err(stop) = self.flow(pkt, Resume::Route) {
            return stop;
        }
        self.route(pkt)
    }

    /// The packet starts at its IPv6 header.
    pub(super) fn inet6_input(&mut self, pkt: &mut Pkt) -> Stop {
        let bytes = pkt.bytes();
        if bytes.len() < 40 {
            return Stop::Drop(DropReason::Pull);
        }
        if bytes[6] == 58 && bytes.get(40) == Some(&133) {
            return Stop::Trap(Trap::new(TrapReason::L3Protocols));
        }
        let ports = array::<4>(bytes, 40);
        let dhcp = bytes[6] == 17 && ports == Some([0x02, 0x22, 0x02, 0x23]);
        if dhcp && self.ingress_kind(pkt).is_some_and(VifKind::is_guest) {
            return Stop::Trap(Trap::new(TrapReason::L3Protocols));
        }
        self.route(pkt)
    }

    /// Whether a nexthop leads to the agent: a gateway address.
    pub(super) fn is_gateway(&self, nexthop: &Nexthop) -> bool {
        matches!(&nexthop.action, NexthopAction::Encap(encap) if encap.vif == self.tables.roles.agent)
    }

    /// Routes the packet in its present VRF.
    pub(super) fn route(&mut self, pkt: &mut Pkt) -> Stop {
        let bytes = pkt.bytes();
        let (route, inet) = match bytes.first().map(|byte| byte >> 4) {
            Some(4) => {
                let (Some(destination), Some(ttl)) = (array(bytes, 16), bytes.get(8).copied()) else {
                    return Stop::Drop(DropReason::Pull);
                };
                if ttl == 0 {
                    return Stop::Drop(DropReason::TtlExceeded);
                }
                pkt.ttl = ttl;
                (self.tables.route(pkt.vrf, destination), true)
            }
            Some(6) => {
                let (Some(destination), Some(hops)) = (array(bytes, 24), bytes.get(7).copied()) else {
                    return Stop::Drop(DropReason::Pull);
                };
                // The hop limit is not decremented, as in the recordings (19-ipv6-forwarding.jsonl).
                pkt.ttl = hops;
                (self.tables.route6(pkt.vrf, destination), false)
            }
            _ => return Stop::Drop(DropReason::InvalidProtocol),
        };
        if let Some(label) = route.label() {
            pkt.label = Some(label);
            pkt.label_is_vni = false;
        }
        let Some(nexthop) = self.tables.nexthop(route.nexthop) else {
            return Stop::Drop(DropReason::InvalidNh);
        };
        let second_step =
            matches!(nexthop.action, NexthopAction::VrfTranslate) && nexthop.family == NexthopFamily::Inet;
        if inet && !second_step && !self.is_gateway(nexthop) {
            if let Some(header) = pkt.frame.bytes_mut().first_chunk_mut() {
                Ipv4::<&mut [u8; ipv4::LEN]>::new(header).decrement_ttl();
            }
            pkt.ttl -= 1;
        }
        self.output(pkt, route.nexthop)
    }
}
