//! Address and port translation of both families, whatever is translated: checksums are right afterwards, and an error
//! about a translated packet quotes the packet that its receiver has sent.

use std::net::IpAddr;

use proptest::prelude::*;
use vr_frame::Offload;
use vr_tables::control::{GivenMac, Prefix, RouteSpec};
use vr_tables::fib::RouteFlags;
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_types::{Mac, NexthopId, VifId};
use vr_wire::checksum;

use crate::entries::{set_pair, wire};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, TCP, UDP};
use crate::world::{GUEST_ADDRESS, GUEST_MAC, GUESTS, ROUTED, VRF};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;

/// Addresses by family: of both guests, of the service, that of the first guest towards others, and of a router.
fn address(inet6: bool, which: usize) -> IpAddr {
    let inet = [GUEST_ADDRESS[0], GUEST_ADDRESS[1], [10, 96, 0, 10], [10, 50, 255, 5], [10, 0, 77, 1]];
    if !inet6 {
        return IpAddr::from(inet[which]);
    }
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&[0xfd, 0x01]);
    bytes[12..].copy_from_slice(&inet[which]);
    IpAddr::from(bytes)
}

/// A packet that is translated, and an error about it.
#[derive(Clone, Debug)]
struct Case {
    inet6: bool,
    protocol: u8,
    /// What happens to packets of the first guest.
    flags: FlowFlags,
    data: Vec<u8>,
    /// Words of options, IPv4 only.
    options: usize,
    /// UDP without a checksum.
    unchecked: bool,
    /// Bytes behind the packet that belong to the frame only.
    padding: Vec<u8>,
    /// How much of the packet the error quotes, transport header counted.
    quoted: usize,
    by_router: bool,
}

type Ends = [(IpAddr, u16); 2];

impl Case {
    fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }

    fn is(&self, flag: FlowFlags) -> bool {
        self.flags.contains(flag)
    }

    /// Ends as the first guest knows them, and as the second one does.
    fn ends(&self) -> [Ends; 2] {
        let inside = |side: usize| (address(self.inet6, side), [40_000, 5353][side]);
        let translated = |side: usize, addresses, ports| {
            let (address_is, port_is) = inside(side);
            let other = [address(self.inet6, 3), address(self.inet6, 2)][side];
            (
                if self.is(addresses) { other } else { address_is },
                if self.is(ports) { [61_001, 53][side] } else { port_is },
            )
        };
        let source = translated(0, FlowFlags::SNAT, FlowFlags::SPAT);
        let service = translated(1, FlowFlags::DNAT, FlowFlags::DPAT);
        [[inside(0), service], [source, inside(1)]]
    }

    /// The packet between these ends.
    fn packet(&self, ends: Ends, ttl: u8) -> Vec<u8> {
        let message = self.message(ends);
        ip(self.inet6, ends.map(|end| end.0), self.protocol, ttl, self.options, &message)
    }

    fn message(&self, ends: Ends) -> Vec<u8> {
        let ports = wire(ends.map(|end| end.1));
        let mut bytes = match self.protocol {
            TCP => [&ports[..], &[0, 0, 0, 1, 0, 0, 0, 2, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0]].concat(),
            UDP => [&ports[..], &(8 + self.data.len() as u16).to_be_bytes(), &[0, 0]].concat(),
            ICMP => vec![8, 0, 0, 0, 0x12, 0x34, 0, 1],
            ICMPV6 => vec![128, 0, 0, 0, 0x12, 0x34, 0, 1],
            SCTP => [&wire([7, 8])[..], &[0; 8]].concat(),
            _ => vec![0; 8],
        };
        bytes.extend(&self.data);
        if let Some(at) = self.checksum().filter(|_| !self.unchecked) {
            let sum = l4_checksum(ends.map(|end| end.0), self.protocol, &bytes);
            let sum = if self.protocol == UDP { checksum::for_udp(sum) } else { sum };
            bytes[at..at + 2].copy_from_slice(&sum.to_be_bytes());
        }
        bytes
    }

    /// Where the transport header has its checksum.
    fn checksum(&self) -> Option<usize> {
        match self.protocol {
            TCP => Some(16),
            UDP => Some(6),
            ICMP | ICMPV6 => Some(2),
            _ => None,
        }
    }

    fn key(&self, which: usize) -> FlowKey {
        let [inside, outside] = self.ends();
        let ends = if which == 0 { inside } else { [outside[1], outside[0]] };
        let ports = match self.protocol {
            TCP | UDP => wire(ends.map(|end| end.1)),
            ICMP => [0x12, 0x34, 0, 0],
            ICMPV6 => [0x12, 0x34, 0, 129],
            SCTP => wire([[7, 8], [8, 7]][which]),
            _ => [0; 4],
        };
        let nexthop = NexthopId(ROUTED[which]);
        match ends.map(|end| end.0) {
            [IpAddr::V4(a), IpAddr::V4(b)] => {
                FlowKey::inet(self.protocol, ports, nexthop, a.octets(), b.octets())
            }
            [IpAddr::V6(a), IpAddr::V6(b)] => {
                FlowKey::inet6(self.protocol, ports, nexthop, a.octets(), b.octets())
            }
            _ => panic!("two families"),
        }
    }

    /// A node with the flows of the case.
    fn lab(&self) -> Lab {
        let mut lab = Lab::new(true);
        lab.command(|tables, _| {
            for (which, nexthop) in ROUTED.into_iter().enumerate() {
                let IpAddr::V6(guest) = address(true, which) else { panic!("not IPv6") };
                let route = RouteSpec {
                    vrf: VRF,
                    prefix: Prefix::Inet6(guest.octets(), 128),
                    nexthop: NexthopId(nexthop),
                    label: 0,
                    flags: RouteFlags::empty(),
                    mac: GivenMac::Absent,
                };
                tables.route_add(&route).unwrap();
            }
        });
        let swapped: FlowFlags = [
            (FlowFlags::SNAT, FlowFlags::DNAT),
            (FlowFlags::DNAT, FlowFlags::SNAT),
            (FlowFlags::SPAT, FlowFlags::DPAT),
            (FlowFlags::DPAT, FlowFlags::SPAT),
        ]
        .into_iter()
        .filter(|(flag, _)| self.is(*flag))
        .map(|(_, back)| back)
        .collect();
        set_pair(&mut lab, [self.key(0), self.key(1)], |which, spec| {
            spec.action = Some(FlowAction::Nat);
            spec.flags |= [self.flags, swapped][which];
        });
        lab
    }
}

fn l4_checksum(ends: [IpAddr; 2], protocol: u8, message: &[u8]) -> u16 {
    match ends {
        _ if protocol == ICMP => checksum::of(message),
        [IpAddr::V4(a), IpAddr::V4(b)] => checksum::inet_l4(&a.octets(), &b.octets(), protocol, message),
        [IpAddr::V6(a), IpAddr::V6(b)] => checksum::inet6_l4(&a.octets(), &b.octets(), protocol, message),
        _ => panic!("two families"),
    }
}

fn ip(inet6: bool, ends: [IpAddr; 2], protocol: u8, ttl: u8, options: usize, message: &[u8]) -> Vec<u8> {
    match ends {
        [IpAddr::V4(source), IpAddr::V4(destination)] if !inet6 => packets::Inet {
            source: source.octets(),
            destination: destination.octets(),
            protocol,
            id: 77,
            fragment: 0,
            ttl,
            options: vec![1; 4 * options],
            payload: message.to_vec(),
        }
        .bytes(),
        [IpAddr::V6(source), IpAddr::V6(destination)] => {
            let [high, low] = (message.len() as u16).to_be_bytes();
            let head = [0x60, 0, 0, 0, high, low, protocol, ttl];
            [&head[..], &source.octets(), &destination.octets(), message].concat()
        }
        _ => panic!("two families"),
    }
}

/// Takes a packet apart: ends, and where its transport header begins. Everything it says about itself is right.
fn check(inet6: bool, packet: &[u8]) -> ([IpAddr; 2], usize) {
    let (ends, header, total) = if inet6 {
        let end = |at: usize| IpAddr::from(*packet[at..].first_chunk::<16>().unwrap());
        ([end(8), end(24)], 40, 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]])))
    } else {
        let header = 4 * usize::from(packet[0] & 0xf);
        assert!(checksum::is_valid(&packet[..header]), "header checksum");
        let end = |at: usize| IpAddr::from(*packet[at..].first_chunk::<4>().unwrap());
        ([end(12), end(16)], header, usize::from(u16::from_be_bytes([packet[2], packet[3]])))
    };
    let (protocol, message) = (packet[if inet6 { 6 } else { 9 }], &packet[header..total]);
    let unchecked = protocol == UDP && message[6..8] == [0, 0];
    if matches!(protocol, TCP | UDP | ICMP | ICMPV6) && !unchecked {
        assert!(
            matches!(l4_checksum(ends, protocol, message), 0 | 0xffff),
            "checksum of protocol {protocol}"
        );
    }
    (ends, header)
}

fn from_guest(which: usize, inet6: bool, packet: &[u8]) -> Traffic {
    let ethertype = if inet6 { 0x86dd } else { 0x0800 };
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[which], ethertype, packet);
    Traffic { vif: GUESTS[which], bytes, offload: Offload::NONE }
}

/// Sends a frame; the IP packet that this guest gets.
fn through(lab: &mut Lab, frame: Traffic, to: VifId) -> Vec<u8> {
    let sent = lab.receive(&[frame]);
    let [out] = &sent[..] else { panic!("{} frames came out", sent.len()) };
    assert_eq!(out.vif, to);
    out.bytes[14..].to_vec()
}

/// The packet without what may be written in two ways, or changes on its way: TTL and checksums.
fn plain(case: &Case, packet: &[u8], header: usize) -> Vec<u8> {
    let mut bytes = packet.to_vec();
    if case.inet6 {
        bytes[7] = 0;
    } else {
        bytes[8] = 0;
        bytes[10..12].fill(0);
    }
    if let Some(at) = case.checksum() {
        bytes.iter_mut().skip(header + at).take(2).for_each(|byte| *byte = 0);
    }
    bytes
}

fn flags(protocol: u8) -> impl Strategy<Value = FlowFlags> {
    any::<[bool; 4]>().prop_map(move |[snat, dnat, spat, dpat]| {
        let ports = matches!(protocol, TCP | UDP);
        let mut flags = FlowFlags::empty();
        flags.set(FlowFlags::SNAT, snat);
        flags.set(FlowFlags::DNAT, dnat);
        flags.set(FlowFlags::SPAT, spat && ports);
        flags.set(FlowFlags::DPAT, dpat && ports);
        flags
    })
}

fn case() -> impl Strategy<Value = Case> {
    let kind = any::<bool>().prop_flat_map(|inet6| {
        let icmp = if inet6 { ICMPV6 } else { ICMP };
        let protocol =
            prop_oneof![3 => Just(TCP), 3 => Just(UDP), 2 => Just(icmp), 1 => Just(SCTP), 1 => Just(89)];
        protocol.prop_flat_map(move |protocol| (Just(inet6), Just(protocol), flags(protocol)))
    });
    let packet = (prop::collection::vec(any::<u8>(), 0..120), 0..11usize, any::<bool>());
    let error = (prop::collection::vec(any::<u8>(), 0..12), 8..200usize, any::<bool>());
    (kind, packet, error).prop_map(|((inet6, protocol, flags), (data, options, unchecked), error)| {
        let (padding, quoted, by_router) = error;
        let options = if inet6 { 0 } else { options };
        let unchecked = unchecked && protocol == UDP;
        Case { inet6, protocol, flags, data, options, unchecked, padding, quoted, by_router }
    })
}

/// An ICMP error with what it quotes.
fn error(inet6: bool, ends: [IpAddr; 2], quoted: &[u8]) -> Vec<u8> {
    let (protocol, kind, code) = if inet6 { (ICMPV6, 2, 0) } else { (ICMP, 3, 4) };
    let mut message = [&[kind, code, 0, 0, 0, 0, 5, 0][..], quoted].concat();
    let sum = l4_checksum(ends, protocol, &message);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    ip(inet6, ends, protocol, 64, 0, &message)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn translated_packets_and_errors_about_them_are_valid(case in case()) {
        let inet6 = case.inet6;
        let [inside, outside] = case.ends();
        let mut lab = case.lab();
        let original = case.packet(inside, 64);
        let padded = [&original[..], &case.padding].concat();
        let out = through(&mut lab, from_guest(0, inet6, &padded), GUESTS[1]);
        let (ends, header) = check(inet6, &out);
        prop_assert_eq!(ends, outside.map(|end| end.0));
        let wanted = [case.packet(outside, 63), case.padding.clone()].concat();
        prop_assert_eq!(plain(&case, &out, header), plain(&case, &wanted, header));
        if case.unchecked {
            prop_assert_eq!(&out[header + 6..header + 8], &[0, 0]);
        }

        // The way back.
        if case.has_ports() {
            let reply = case.packet([outside[1], outside[0]], 64);
            let back = through(&mut lab, from_guest(1, inet6, &reply), GUESTS[0]);
            let (ends, header) = check(inet6, &back);
            prop_assert_eq!(ends, [inside[1].0, inside[0].0]);
            let wanted = case.packet([inside[1], inside[0]], 63);
            prop_assert_eq!(plain(&case, &back, header), plain(&case, &wanted, header));
        }

        // An error about the packet, from where it went to or from a router on the way.
        let seen = &out[..out.len() - case.padding.len()];
        let seen = &seen[..seen.len().min(header + case.quoted)];
        let reporter = if case.by_router { address(inet6, 4) } else { outside[1].0 };
        let report = error(inet6, [reporter, outside[0].0], seen);
        let got = through(&mut lab, from_guest(1, inet6, &report), GUESTS[0]);
        let (ends, at) = check(inet6, &got);
        let shown = if case.by_router { reporter } else { inside[1].0 };
        prop_assert_eq!(ends, [shown, inside[0].0]);
        let quoted = &got[at + 8..];
        prop_assert_eq!(quoted.len(), seen.len());
        prop_assert_eq!(plain(&case, quoted, header), plain(&case, &original[..seen.len()], header));
        if !inet6 {
            prop_assert!(checksum::is_valid(&quoted[..header]), "header checksum of what is quoted");
        }
        if let Some(place) = case.checksum().map(|place| header + place).filter(|place| place + 2 <= seen.len()) {
            let sums = [&quoted[place..place + 2], &original[place..place + 2]];
            prop_assert!(sums[0] == sums[1] || sums.iter().all(|sum| matches!(sum, [0, 0] | [0xff, 0xff])));
        }
        lab.close();
    }

    /// A partial checksum covers the addresses of the pseudo header, and the ports when somebody completes it.
    #[test]
    fn partial_checksums_can_be_completed(case in case()) {
        let case = Case { unchecked: false, padding: Vec::new(), ..case };
        let (true, Some(field)) = (case.has_ports(), case.checksum()) else { return Ok(()) };
        let [inside, outside] = case.ends();
        let mut packet = case.packet(inside, 64);
        let header = check(case.inet6, &packet).1;
        let length = packet.len() - header;
        let pseudo = match inside.map(|end| end.0) {
            [IpAddr::V4(a), IpAddr::V4(b)] => {
                checksum::inet_pseudo(&a.octets(), &b.octets(), case.protocol, length)
            }
            [IpAddr::V6(a), IpAddr::V6(b)] => {
                checksum::inet6_pseudo(&a.octets(), &b.octets(), case.protocol, length)
            }
            _ => panic!("two families"),
        };
        packet[header + field..][..2].copy_from_slice(&checksum::fold(pseudo).to_be_bytes());
        let (csum_start, csum_offset) = (14 + header as u16, field as u16);
        let offload = Offload { needs_csum: true, csum_start, csum_offset, ..Offload::NONE };
        let mut lab = case.lab();
        let sent = lab.receive(&[Traffic { offload, ..from_guest(0, case.inet6, &packet) }]);
        prop_assert_eq!(sent.len(), 1);
        let Traffic { vif, mut bytes, offload } = sent[0].clone();
        prop_assert_eq!((vif, offload.needs_csum), (GUESTS[1], true));
        let start = usize::from(offload.csum_start);
        prop_assert!(checksum::complete(&mut bytes, start, usize::from(offload.csum_offset)));
        let (ends, _) = check(case.inet6, &bytes[14..]);
        prop_assert_eq!(ends, outside.map(|end| end.0));
        lab.close();
    }
}

/// Later fragments have no ports, but addresses; the first one has the checksum of them all.
#[test]
fn fragments_are_translated_together() {
    let data: Vec<u8> = (0..64).collect();
    let all = FlowFlags::SNAT | FlowFlags::DNAT | FlowFlags::SPAT | FlowFlags::DPAT;
    let case = Case {
        inet6: false,
        protocol: UDP,
        flags: all,
        data,
        options: 0,
        unchecked: false,
        padding: Vec::new(),
        quoted: 8,
        by_router: false,
    };
    let [inside, outside] = case.ends();
    let message = case.message(inside);
    let mut lab = case.lab();
    let IpAddr::V4(source) = inside[0].0 else { panic!("not IPv4") };
    let IpAddr::V4(destination) = inside[1].0 else { panic!("not IPv4") };
    let mut received = Vec::new();
    for (fragment, part) in [(0x2000, &message[..40]), (5, &message[40..])] {
        let packet = packets::Inet {
            source: source.octets(),
            destination: destination.octets(),
            protocol: UDP,
            id: 3,
            fragment,
            ttl: 64,
            options: Vec::new(),
            payload: part.to_vec(),
        };
        let out = through(&mut lab, from_guest(0, false, &packet.bytes()), GUESTS[1]);
        assert!(checksum::is_valid(&out[..20]));
        assert_eq!(out[12..20], case.packet(outside, 63)[12..20]);
        received.extend_from_slice(&out[20..]);
    }
    assert_eq!(received[..4], wire(outside.map(|end| end.1)));
    assert!(matches!(l4_checksum(outside.map(|end| end.0), UDP, &received), 0 | 0xffff));
    lab.close();
}
