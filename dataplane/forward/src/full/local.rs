//! Local receive: tunnel packets are decapsulated, everything else goes to the host (forwarding.md 2.7).

use vr_tables::nexthop::{NexthopAction, NexthopFlags, NexthopSlot};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, Release, Trap, TrapReason, VifId};

use super::encap::push_ethernet;
use super::ip::inet_header_len;
use super::nat::TCP;
use super::transport::layout;
use super::{Full, Kind, Pkt, Resume};
use crate::bytes::{array, be16};
use crate::verdict::Stop;

const GRE: u8 = 47;
const UDP: u8 = 17;
const ICMP: u8 = 1;

/// Destination ports of tunnels that carry labels.
pub(super) const MPLS_PORTS: [u16; 2] = [6635, 51234];
/// Destination port of VXLAN.
pub(super) const VXLAN_PORT: u16 = 4789;

impl Full<'_> {
    /// The packet starts at its IPv4 header. `nexthop` is the receive nexthop that led here, if one did.
    pub(super) fn local_receive(&mut self, pkt: &mut Pkt, nexthop: Option<NexthopSlot>) -> Stop {
        let header = match inet_header_len(pkt.bytes()) {
            Ok(header) => header,
            Err(stop) => return stop,
        };
        if nexthop.is_some() || self.is_own_address(pkt) {
            let first_fragment = be16(pkt.bytes(), 6).is_some_and(|field| field & 0x3fff == 0);
            let handled = match pkt.bytes()[9] {
                GRE if first_fragment => self.gre_input(pkt, header),
                UDP if first_fragment => self.udp_input(pkt, header),
                ICMP if is_error_about_tunnel(pkt.bytes(), header) => {
                    Some(Stop::Trap(Trap::new(TrapReason::IcmpError)))
                }
                _ => None,
            };
            if let Some(stop) = handled {
                return stop;
            }
        }
        let device = nexthop.and_then(|slot| match self.tables.nexthop(slot)?.action {
            NexthopAction::Receive(vif) => Some(vif),
            _ => None,
        });
        if let Some(stop) = self.host_flow(pkt, nexthop, device) {
            return stop;
        }
        self.deliver_to_host(pkt, device)
    }

    /// Whether the destination is an address of this node.
    fn is_own_address(&self, pkt: &Pkt) -> bool {
        let Some(vif) = self.tables.vif(pkt.vif) else { return false };
        if vif.kind != VifKind::Physical {
            return true;
        }
        let Some(destination) = array(pkt.bytes(), 16) else { return false };
        let route = self.tables.route(vif.vrf, destination);
        matches!(self.tables.nexthop(route.nexthop).map(|nh| &nh.action), Some(NexthopAction::Receive(_)))
    }

    /// Flow processing of packets for the host: where its interface has policy, and of what comes to a port of a
    /// link-local service, which belongs to a guest.
    fn host_flow(
        &mut self,
        pkt: &mut Pkt,
        nexthop: Option<NexthopSlot>,
        device: Option<VifId>,
    ) -> Option<Stop> {
        if pkt.flow_done || pkt.force_local || pkt.mirror_copy {
            return None;
        }
        let vif = self.tables.vif(device?)?;
        // R2.20 has no policy for the host.
        let policy = vif.kind.is_host_side()
            && vif.flags.contains(VifFlags::POLICY)
            && self.tables.options.release == Release::Current;
        if !policy {
            let relaxed = self.tables.nexthop(nexthop?)?.flags.contains(NexthopFlags::RELAXED_POLICY);
            if !relaxed || !self.is_for_service(pkt) {
                return None;
            }
            pkt.for_service = true;
        }
        pkt.flow_wanted = true;
        if let Err(stop) = self.flow(pkt, Resume::Local) {
            return Some(stop);
        }
        self.route_again_if_translated(pkt)
    }

    /// Whether a flow of a link-local service uses the port that the packet goes to; of an echo its id, of an error the
    /// port that the quoted packet came from.
    fn is_for_service(&self, pkt: &Pkt) -> bool {
        let bytes = pkt.bytes();
        let Some(at) = layout(bytes, true) else { return false };
        let is_current = self.tables.options.release == Release::Current;
        let used = |protocol, port| self.flows.ports().contains(protocol, port);
        match at.protocol {
            TCP | UDP if at.first_fragment => {
                be16(bytes, at.header + 2).is_some_and(|port| used(at.protocol, port))
            }
            TCP | UDP => self
                .ports_of_datagram(pkt)
                .is_some_and(|[.., high, low]| used(at.protocol, u16::from_be_bytes([high, low]))),
            ICMP if at.first_fragment && is_current => match bytes.get(at.header) {
                Some(0 | 8) => be16(bytes, at.header + 4).is_some_and(|id| used(ICMP, id)),
                Some(3 | 11) => {
                    quoted_port(bytes, at.header).is_some_and(|(protocol, port)| used(protocol, port))
                }
                _ => false,
            },
            _ => false,
        }
    }

    /// A packet whose flow moved it to another VRF, or gave it to a guest, is routed there; not for ever.
    pub(super) fn route_again_if_translated(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        if !(pkt.to_me || pkt.for_service && pkt.flow.is_some()) {
            return None;
        }
        pkt.local_ttl -= 1;
        if pkt.local_ttl == 0 {
            return Some(Stop::Drop(DropReason::PktLoop));
        }
        Some(self.route(pkt))
    }

    /// Gives the packet to the host, by `device` or the interface that stands for it.
    pub(super) fn deliver_to_host(&mut self, pkt: &mut Pkt, device: Option<VifId>) -> Stop {
        let device = device
            .or_else(|| self.other_side(pkt))
            .or_else(|| self.tables.vif(self.tables.roles.host).map(|vif| vif.id));
        let Some(vif) = device.and_then(|id| self.tables.vif(id)) else {
            return Stop::Drop(DropReason::TrapNoIf);
        };
        if pkt.mirror_copy || pkt.outer_source.is_some() {
            let ethertype = if pkt.kind == Kind::Inet6 { 0x86dd } else { 0x0800 };
            if let Err(stop) = push_ethernet(pkt, vif.mac, vif.mac, ethertype) {
                return stop;
            }
        } else {
            pkt.rewind();
        }
        self.send(pkt, vif.id)
    }
}

/// Protocol and source port, or id, of what an ICMP error with its header at `error` quotes.
fn quoted_port(bytes: &[u8], error: usize) -> Option<(u8, u16)> {
    let quoted = bytes.get(error + 8..)?;
    let at = layout(quoted, true).filter(|at| at.first_fragment)?;
    match at.protocol {
        TCP | UDP => Some((at.protocol, be16(quoted, at.header)?)),
        ICMP => Some((ICMP, be16(quoted, at.header + 4)?)),
        _ => None,
    }
}

/// Whether an ICMP error at the start of `bytes` quotes a packet of one of our tunnels.
fn is_error_about_tunnel(bytes: &[u8], header: usize) -> bool {
    if !matches!(bytes.get(header), Some(3 | 11)) {
        return false;
    }
    let Some(quoted) = bytes.get(header + 8..) else { return false };
    let Ok(inner) = inet_header_len(quoted) else { return false };
    match quoted[9] {
        GRE => true,
        UDP => be16(quoted, inner + 2).is_some_and(|port| MPLS_PORTS.contains(&port)),
        _ => false,
    }
}
