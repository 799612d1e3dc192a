//! Packets of conversations, built from scratch.

use vr_types::Mac;
use vr_wire::checksum;

use crate::world::{NODE, NODE_MAC, PEER_MAC, inet, inet6};

pub(crate) const ICMP: u8 = 1;
pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;
pub(crate) const ESP: u8 = 50;
pub(crate) const ICMPV6: u8 = 58;
pub(crate) const SCTP: u8 = 132;

/// Which part of a datagram a packet carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Whole,
    /// The first [`FIRST`] bytes of its payload.
    First,
    Rest,
}

/// Bytes of payload in a first fragment.
const FIRST: usize = 24;

/// One packet of a datagram.
#[derive(Clone, Debug)]
pub(crate) struct Inner {
    pub(crate) is_inet6: bool,
    pub(crate) protocol: u8,
    /// Hosts: source, destination.
    pub(crate) hosts: [u8; 2],
    /// Source and destination; identifier and type of ICMP.
    pub(crate) ports: [u16; 2],
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) part: Part,
    /// Flags, sequence number and acknowledgement of TCP.
    pub(crate) tcp: (u8, u32, u32),
    /// Without a UDP checksum.
    pub(crate) without_sum: bool,
    /// Behind the header of the protocol; quoted packets of ICMP errors.
    pub(crate) payload: Vec<u8>,
}

impl Inner {
    fn l4_sum(&self, message: &[u8]) -> u16 {
        let [source, destination] = self.hosts;
        if self.is_inet6 {
            checksum::inet6_l4(&inet6(source), &inet6(destination), self.protocol, message)
        } else {
            checksum::inet_l4(&inet(source), &inet(destination), self.protocol, message)
        }
    }

    fn l4(&self) -> Vec<u8> {
        let ports = self.ports.map(u16::to_be_bytes).concat();
        let (mut message, field) = match self.protocol {
            TCP => {
                let (flags, seq, ack) = self.tcp;
                let numbers = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
                ([ports, numbers, vec![0x50, flags, 0x20, 0, 0, 0, 0, 0]].concat(), 16)
            }
            UDP => {
                let len = (8 + self.payload.len() as u16).to_be_bytes();
                ([&ports[..], &len, &[0, 0]].concat(), 6)
            }
            ICMP | ICMPV6 => {
                let id = self.ports[0].to_be_bytes();
                (vec![self.ports[1] as u8, 0, 0, 0, id[0], id[1], 0, 1], 2)
            }
            _ => ([ports, vec![0; 8]].concat(), usize::MAX),
        };
        message.extend(&self.payload);
        if field != usize::MAX && !(self.protocol == UDP && self.without_sum) {
            let sum = if self.protocol == ICMP { checksum::of(&message) } else { self.l4_sum(&message) };
            let sum = if sum == 0 && self.protocol == UDP { 0xffff } else { sum };
            message[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        }
        message
    }

    /// The packet from its IP header on.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let l4 = self.l4();
        let (field, payload): (u16, &[u8]) = match self.part {
            Part::Whole => (0, &l4),
            Part::First => (1, &l4[..FIRST]),
            Part::Rest => (FIRST as u16, &l4[FIRST..]),
        };
        let [source, destination] = self.hosts;
        if self.is_inet6 {
            let fragment = [self.protocol, 0, (field >> 8) as u8, field as u8, 0, 0, 0, self.id as u8];
            let extension: &[u8] = if field == 0 { &[] } else { &fragment };
            let len = ((extension.len() + payload.len()) as u16).to_be_bytes();
            let next = if field == 0 { self.protocol } else { 44 };
            let fixed = [0x60, 0, 0, 0, len[0], len[1], next, self.ttl];
            return [&fixed, &inet6(source)[..], &inet6(destination), extension, payload].concat();
        }
        let flags = if field & 1 == 1 { 0x2000 } else { field / 8 };
        let mut header = vec![0x45, 0];
        header.extend((20 + payload.len() as u16).to_be_bytes());
        header.extend(self.id.to_be_bytes());
        header.extend(flags.to_be_bytes());
        header.extend([self.ttl, self.protocol, 0, 0]);
        header.extend(inet(source));
        header.extend(inet(destination));
        let sum = checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        [&header, payload].concat()
    }
}

/// A frame around an IP packet, with a VLAN tag in it or without.
pub(crate) fn ethernet(to: Mac, from: Mac, is_tagged: bool, packet: &[u8]) -> Vec<u8> {
    let tag: &[u8] = if is_tagged { &[0x81, 0, 0, 5] } else { &[] };
    let kind: [u8; 2] = if packet[0] >> 4 == 6 { [0x86, 0xdd] } else { [8, 0] };
    [&to.0[..], &from.0, tag, &kind, packet].concat()
}

/// A frame from a peer that carries `payload` behind a label, by UDP or GRE.
pub(crate) fn from_peer(source: [u8; 4], by_gre: bool, label: u32, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let label = (label << 12 | 0x100 | u32::from(ttl)).to_be_bytes();
    let shim = if by_gre {
        [&[0, 0, 0x88, 0x47], &label[..]].concat()
    } else {
        let len = (12 + payload.len() as u16).to_be_bytes();
        [&[0xd6, 0xd8, 0x19, 0xeb, len[0], len[1], 0, 0], &label[..]].concat()
    };
    let mut header = vec![0x45, 0];
    header.extend((20 + shim.len() as u16 + payload.len() as u16).to_be_bytes());
    header.extend([0, 1, 0, 0, 64, if by_gre { 47 } else { UDP }, 0, 0]);
    header.extend(source);
    header.extend(NODE);
    let sum = checksum::of(&header);
    header[10..12].copy_from_slice(&sum.to_be_bytes());
    [&ethernet(NODE_MAC, PEER_MAC, false, &header)[..], &shim, payload].concat()
}
