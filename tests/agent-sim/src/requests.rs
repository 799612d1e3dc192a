//! The requests that make up a node's program, one builder for each kind of object (control.md 4).

use std::net::Ipv4Addr;

use crate::message::Message;
use crate::topology::{Mac, Topology, inet6};

pub(crate) const ADD: i32 = 0;
pub(crate) const INET: u8 = 2;
pub(crate) const INET6: u8 = 10;
pub(crate) const BRIDGE: u8 = 7;

/// Values of `rtr_label_flags` of inet routes.
const LABEL_VALID: i16 = 1;
const ARP_PROXY: i16 = 2;

/// Values of `nhr_type` and `nhr_flags`.
pub(crate) mod nh {
    pub(crate) const RECEIVE: u8 = 1;
    pub(crate) const ENCAP: u8 = 2;
    pub(crate) const TUNNEL: u8 = 3;
    pub(crate) const RESOLVE: u8 = 4;
    pub(crate) const COMPOSITE: u8 = 6;
    pub(crate) const VRF_TRANSLATE: u8 = 7;
    pub(crate) const L2_RECEIVE: u8 = 8;

    pub(crate) const VALID: u32 = 0x1;
    pub(crate) const POLICY: u32 = 0x2;
    pub(crate) const GRE: u32 = 0x8;
    pub(crate) const MULTICAST: u32 = 0x20;
    pub(crate) const UDP_MPLS: u32 = 0x40;
    pub(crate) const VXLAN: u32 = 0x80;
    pub(crate) const RELAXED_POLICY: u32 = 0x100;
    pub(crate) const COMPOSITE_ECMP: u32 = 0x400;
    pub(crate) const COMPOSITE_ENCAP: u32 = 0x2000;
}

pub(crate) struct Vif<'a> {
    pub(crate) kind: i32,
    pub(crate) index: i32,
    pub(crate) name: &'a str,
    pub(crate) mac: Mac,
    pub(crate) vrf: i32,
    pub(crate) flags: i32,
}

impl Vif<'_> {
    pub(crate) fn message(&self, transport: u8) -> Message {
        Message::new("vr_interface_req")
            .i32(1, ADD)
            .i32(3, self.kind)
            .i32(4, self.flags)
            .i32(5, self.vrf)
            .i32(6, self.index)
            .i32(8, -1)
            .string(10, self.name)
            .bytes(38, &self.mac)
            .byte(53, transport)
            .i16(55, -1)
            .i32(63, -1)
    }
}

pub(crate) struct Nexthop {
    id: i32,
    kind: u8,
    family: u8,
    vrf: i32,
    flags: u32,
    ports: Vec<i32>,
    encap: Vec<u8>,
    /// Members of a composite and their labels.
    members: Vec<(i32, i32)>,
    pub(crate) ends: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Nexthop {
    pub(crate) fn new(id: i32, kind: u8, family: u8, vrf: i32) -> Self {
        Self {
            id,
            kind,
            family,
            vrf,
            flags: nh::VALID,
            ports: Vec::new(),
            encap: Vec::new(),
            members: Vec::new(),
            ends: None,
        }
    }

    pub(crate) fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    pub(crate) fn port(mut self, vif: i32) -> Self {
        self.ports = vec![vif];
        self
    }

    pub(crate) fn encap(mut self, destination: Mac, source: Mac) -> Self {
        self.encap = [&destination[..], &source, &[0x08, 0x00]].concat();
        self
    }

    pub(crate) fn members(self, members: &[i32]) -> Self {
        self.labelled_members(members.iter().map(|member| (*member, -1)))
    }

    pub(crate) fn labelled_members(mut self, members: impl Iterator<Item = (i32, i32)>) -> Self {
        self.members = members.collect();
        self
    }

    pub(crate) fn add(self) -> Vec<u8> {
        let (members, labels): (Vec<_>, Vec<_>) = self.members.into_iter().unzip();
        let (source, destination) = self.ends.unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        Message::new("vr_nexthop_req")
            .i32(1, ADD)
            .byte(2, self.kind)
            .byte(3, self.family)
            .i32(4, self.id)
            .i32s(6, &self.ports)
            .i32(8, 0x0806)
            .i32(9, self.vrf)
            .ipv4(10, source)
            .ipv4(11, destination)
            .u32(16, self.flags)
            .bytes(17, &self.encap)
            .i32s(18, &members)
            .i32s(19, &labels)
            .stop()
    }
}

pub(crate) struct InetRoute {
    pub(crate) vrf: i32,
    pub(crate) prefix: Ipv4Addr,
    pub(crate) length: i32,
    pub(crate) nexthop: i32,
    pub(crate) label: Option<i32>,
    pub(crate) mac: Option<Mac>,
}

impl InetRoute {
    /// The route, and the one of the corresponding IPv6 prefix if there is IPv6.
    pub(crate) fn add_both(&self, topology: &Topology) -> impl Iterator<Item = Vec<u8>> {
        [self.add(), self.request(INET6, &inet6(self.prefix).octets(), 96 + self.length, ARP_PROXY)]
            .into_iter()
            .take(if topology.inet6 { 2 } else { 1 })
    }

    pub(crate) fn add(&self) -> Vec<u8> {
        self.request(INET, &self.prefix.octets(), self.length, ARP_PROXY)
    }

    /// The route to somebody who answers ARP requests himself.
    pub(crate) fn add_unanswered(&self) -> Vec<u8> {
        self.request(INET, &self.prefix.octets(), self.length, 0)
    }

    fn request(&self, family: u8, prefix: &[u8], length: i32, flags: i16) -> Vec<u8> {
        let flags = flags | if self.label.is_some() { LABEL_VALID } else { 0 };
        Message::new("vr_route_req")
            .i32(1, ADD)
            .i32(2, self.vrf)
            .i32(3, i32::from(family))
            .bytes(4, prefix)
            .i32(5, length)
            .i16(7, flags)
            .i32(8, self.label.unwrap_or(0))
            .i32(9, self.nexthop)
            .bytes(12, &self.mac.map(Vec::from).unwrap_or_default())
            .stop()
    }
}

pub(crate) fn bridge_route(vrf: i32, mac: Mac, nexthop: i32, label: i32, flags: i16) -> Vec<u8> {
    Message::new("vr_route_req")
        .i32(1, ADD)
        .i32(2, vrf)
        .i32(3, i32::from(BRIDGE))
        .i16(7, flags)
        .i32(8, label)
        .i32(9, nexthop)
        .bytes(12, &mac)
        .stop()
}

pub(crate) fn label_add(label: i32, nexthop: i32) -> Vec<u8> {
    Message::new("vr_mpls_req").i32(1, ADD).i32(2, label).i16(3, 0).i32(4, nexthop).stop()
}

pub(crate) fn vrf_add(vrf: i32) -> Vec<u8> {
    Message::new("vr_vrf_req").i32(1, ADD).i16(2, 0).i32(3, vrf).i32(4, 6).i32(5, -1).i32(6, -1).stop()
}
