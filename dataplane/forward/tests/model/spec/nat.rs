//! Translation by the key of the reverse flow (forwarding.md 6.7).

use std::net::IpAddr;

use vr_tables::flow::{FlowFlags, FlowKey};
use vr_types::DropReason;

use super::forward::{lookup, vrf_of};
use super::{End, Entry, Model, Packet};
use crate::packets::{ICMP, ICMPV6, TCP, UDP};

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// A field to overwrite: where it begins behind the IP header, and its new bytes.
type Change = (usize, Vec<u8>);

/// Sum of the words of `bytes`.
fn words(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(2).map(|word| u64::from(word[0]) << 8 | u64::from(word[1])).sum()
}

impl Model {
    pub(super) fn translate(&mut self, packet: &mut Packet, entry: &Entry) -> Result<(), End> {
        let reverse = entry.reverse.and_then(|reverse| self.table.get(&reverse));
        let reverse = reverse.ok_or(DropReason::FlowNatNoRflow)?.key;
        if reverse.is_inet6() != packet.is_inet6() {
            // Its slot has a flow of the other family by now.
            return Err(DropReason::Misc.into());
        }
        let is_error = packet.is_icmp_error();
        if is_error {
            translate_quoted(packet, entry.flags, &reverse);
        }
        let addresses = addresses(packet, entry, &reverse);
        let (protocol, at, is_here) = packet.transport();
        let ports = if is_here && matches!(protocol, TCP | UDP) {
            ports(entry.flags, &reverse, at)
        } else {
            Vec::new()
        };
        let field = match protocol {
            TCP => Some(16),
            UDP => Some(6),
            ICMPV6 if !is_error => Some(2),
            _ => None,
        };
        let all = [&addresses[..], &ports].concat();
        if let Some(field) = field.map(|field| at + field).filter(|_| is_here) {
            update_sum(packet, field, protocol, &all);
        }
        for (at, bytes) in &all {
            packet.put(*at, bytes);
        }
        if !packet.is_inet6() {
            packet.sum_header();
        }
        if is_error {
            sum_error(packet);
        }
        self.translated += 1;
        Self::look_up_again(packet, entry);
        Ok(())
    }

    /// A packet that was already on its way to a nexthop of another VRF takes the route of its new one.
    fn look_up_again(packet: &mut Packet, entry: &Entry) {
        let Some(nexthop) = packet.nexthop else { return };
        if entry.flags.contains(FlowFlags::VRFT) && vrf_of(nexthop) != packet.vrf {
            let (nexthop, label) = lookup(packet.vrf, packet.destination());
            packet.nexthop = Some(nexthop);
            packet.label = label.or(packet.label);
        }
    }
}

fn addresses(packet: &Packet, entry: &Entry, reverse: &FlowKey) -> Vec<Change> {
    let (source, destination) = if packet.is_inet6() { (8, 24) } else { (12, 16) };
    let mut changes = Vec::new();
    let own = octets(entry.key.source());
    let at = packet.ip + source;
    // Errors of routers on the way keep their source.
    if entry.flags.contains(FlowFlags::SNAT) && packet.frame[at..at + own.len()] == own {
        changes.push((source, octets(reverse.destination())));
    }
    if entry.flags.contains(FlowFlags::DNAT) {
        changes.push((destination, octets(reverse.source())));
    }
    changes
}

fn ports(flags: FlowFlags, reverse: &FlowKey, at: usize) -> Vec<Change> {
    let mut changes = Vec::new();
    if flags.contains(FlowFlags::SPAT) {
        changes.push((at, reverse.destination_port().to_vec()));
    }
    if flags.contains(FlowFlags::DPAT) {
        changes.push((at + 2, reverse.source_port().to_vec()));
    }
    changes
}

/// Keeps the checksum in a field right through the changes, which are not made yet.
fn update_sum(packet: &mut Packet, field: usize, protocol: u8, changes: &[Change]) {
    let sum = packet.be16(field);
    if protocol != UDP || sum != 0 {
        let new = updated(packet, sum, changes);
        let new = if new == 0 && protocol == UDP { 0xffff } else { new };
        packet.put(field, &new.to_be_bytes());
    }
}

/// The checksum after the changes, which are not made yet: arithmetic modulo 65,535.
fn updated(packet: &Packet, sum: u16, changes: &[Change]) -> u16 {
    let mut total = u64::from(!sum);
    for (at, new) in changes {
        let old = &packet.frame[packet.ip + at..packet.ip + at + new.len()];
        total += words(new) + 0xffff * 64 - words(old);
    }
    match total % 0xffff {
        0 => 0,
        rest => !(rest as u16),
    }
}

/// The quoted packet went the other way: its destination is our source. Its checksums stay right.
fn translate_quoted(packet: &mut Packet, flags: FlowFlags, reverse: &FlowKey) {
    let at = packet.transport().1 + 8;
    let is_inet6 = packet.is_inet6();
    let (source, destination, header) = if is_inet6 { (8, 24, 40) } else { (12, 16, 20) };
    let protocol = packet.frame[packet.ip + at + if is_inet6 { 6 } else { 9 }];
    let has_ports = matches!(protocol, TCP | UDP);
    let (their_address, their_port) = (octets(reverse.source()), reverse.source_port().to_vec());
    let (our_address, our_port) = (octets(reverse.destination()), reverse.destination_port().to_vec());
    let changes: Vec<Change> = [
        (flags.contains(FlowFlags::SNAT), at + destination, our_address),
        (flags.contains(FlowFlags::DNAT), at + source, their_address),
        (flags.contains(FlowFlags::SPAT) && has_ports, at + header + 2, our_port),
        (flags.contains(FlowFlags::DPAT) && has_ports, at + header, their_port),
    ]
    .into_iter()
    .filter_map(|(is_due, at, bytes)| is_due.then_some((at, bytes)))
    .collect();
    let field = at
        + header
        + match protocol {
            TCP => 16,
            UDP => 6,
            ICMPV6 => 2,
            _ => usize::MAX / 2,
        };
    // Most errors quote less than a TCP header.
    if field + 2 <= packet.frame.len() - packet.ip {
        update_sum(packet, field, protocol, &changes);
    }
    for (at, bytes) in &changes {
        packet.put(*at, bytes);
    }
    if !is_inet6 {
        packet.put(at + 10, &[0, 0]);
        let quoted = packet.ip + at;
        let sum = vr_wire::checksum::of(&packet.frame[quoted..quoted + 20]);
        packet.put(at + 10, &sum.to_be_bytes());
    }
}

/// The checksum of an ICMP error, made anew.
fn sum_error(packet: &mut Packet) {
    let (protocol, at, _) = packet.transport();
    packet.put(at + 2, &[0, 0]);
    let ip = &packet.frame[packet.ip..];
    let sum = if protocol == ICMP {
        vr_wire::checksum::of(&ip[at..])
    } else {
        let (source, destination) = (ip[8..24].try_into().unwrap(), ip[24..40].try_into().unwrap());
        vr_wire::checksum::inet6_l4(source, destination, ICMPV6, &ip[at..])
    };
    packet.put(at + 2, &sum.to_be_bytes());
}
