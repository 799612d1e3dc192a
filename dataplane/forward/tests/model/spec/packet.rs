use vr_types::{Mac, VifId};

use crate::world::GUESTS;

/// A packet on its way through the model.
#[derive(Clone, Debug)]
pub(crate) struct Packet {
    /// As received; headers are changed in place.
    pub(crate) frame: Vec<u8>,
    /// Where the current header and the IP header begin.
    pub(crate) start: usize,
    pub(crate) ip: usize,
    pub(crate) vif: VifId,
    pub(crate) vrf: u16,
    pub(crate) is_group: bool,
    pub(crate) is_tagged: bool,
    pub(crate) flow_done: bool,
    pub(crate) to_me: bool,
    pub(crate) flow: Option<u32>,
    pub(crate) label: Option<u32>,
    pub(crate) outer: Option<[u8; 4]>,
    pub(crate) member: i8,
    pub(crate) source_member: i8,
    pub(crate) nexthop: Option<u32>,
    pub(crate) ttl: u8,
}

impl Packet {
    pub(crate) fn new(vif: VifId, frame: Vec<u8>) -> Self {
        Self {
            frame,
            start: 0,
            ip: 0,
            vif,
            vrf: 0,
            is_group: false,
            is_tagged: false,
            flow_done: false,
            to_me: false,
            flow: None,
            label: None,
            outer: None,
            member: -1,
            source_member: -1,
            nexthop: None,
            ttl: 64,
        }
    }

    /// Reads the Ethernet header at the start (forwarding.md 2.1).
    pub(crate) fn classify(&mut self) {
        let frame = &self.frame[self.start..];
        self.is_group = frame[0] & 1 == 1;
        self.is_tagged = frame[12..14] == [0x81, 0];
        self.ip = self.start + if self.is_tagged { 18 } else { 14 };
    }

    pub(crate) fn is_inet6(&self) -> bool {
        self.frame[self.ip] >> 4 == 6
    }

    pub(crate) fn destination_mac(&self) -> Mac {
        Mac(*self.frame[self.start..].first_chunk().unwrap())
    }

    pub(crate) fn be16(&self, at: usize) -> u16 {
        u16::from_be_bytes([self.frame[self.ip + at], self.frame[self.ip + at + 1]])
    }

    pub(crate) fn be32(&self, at: usize) -> u32 {
        u32::from(self.be16(at)) << 16 | u32::from(self.be16(at + 2))
    }

    /// The first byte of the destination address, which is all that differs.
    pub(crate) fn destination(&self) -> u8 {
        self.frame[self.ip + if self.is_inet6() { 24 } else { 16 }]
    }

    /// Protocol, offset of its header from the IP header, and whether that header is here.
    pub(crate) fn transport(&self) -> (u8, usize, bool) {
        let next = self.frame[self.ip + if self.is_inet6() { 6 } else { 9 }];
        match (self.is_inet6(), next) {
            (false, protocol) => (protocol, 20, self.be16(6) & 0x1fff == 0),
            (true, 44) => (self.frame[self.ip + 40], 48, self.be16(42) >> 3 == 0),
            (true, protocol) => (protocol, 40, true),
        }
    }

    /// Whether it is an ICMP error that is whole (forwarding.md 2.6).
    pub(crate) fn is_icmp_error(&self) -> bool {
        let (protocol, at, is_here) = self.transport();
        let kind = self.frame[self.ip + at];
        is_here && (protocol == 1 && matches!(kind, 3 | 11) || protocol == 58 && kind < 128)
    }

    /// Overwrites bytes that begin so far behind the IP header.
    pub(crate) fn put(&mut self, at: usize, bytes: &[u8]) {
        self.frame[self.ip + at..self.ip + at + bytes.len()].copy_from_slice(bytes);
    }

    /// Writes the TTL of an IPv4 header, and its checksum anew.
    pub(crate) fn set_ttl(&mut self, ttl: u8) {
        self.put(8, &[ttl]);
        self.sum_header();
    }

    pub(crate) fn sum_header(&mut self) {
        self.put(10, &[0, 0]);
        let sum = vr_wire::checksum::of(&self.frame[self.ip..self.ip + 20]);
        self.put(10, &sum.to_be_bytes());
    }
}

/// The guest that a packet comes from.
pub(super) fn guest_of(packet: &Packet) -> Option<usize> {
    GUESTS.iter().position(|vif| *vif == packet.vif)
}
