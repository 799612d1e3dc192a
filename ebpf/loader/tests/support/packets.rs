//! Packets made by hand, byte by byte as the RFCs draw them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const LOCAL4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 2));
pub const LOCAL6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2));
pub const PEER4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1));
pub const PEER6: IpAddr = IpAddr::V6(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1));
pub const OTHER4: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 77));

/// The worked example of forwarding.md 4.13, `MPLSoGRE`.
pub const SPEC_GRE: &str = "
00 22 22 22 22 22 00 11 11 11 11 11 08 00 45 00 00 3c 12 34 00 00 40 2f 10 3c ac 10 00 01 ac 10
00 02 00 00 88 47 00 01 b1 3f 45 00 00 20 12 34 00 00 3f 11 54 8f 0a 00 00 04 0a 00 01 07 13 88
13 89 00 0c 3f 34 41 42 43 44";

/// The worked example of forwarding.md 4.13, `MPLSoUDP`.
pub const SPEC_MPLS_UDP: &str = "
00 22 22 22 22 22 00 11 11 11 11 11 08 00 45 00 00 40 12 34 00 00 40 11 10 56 ac 10 00 01 ac 10
00 02 d6 d8 19 eb 00 2c 00 00 00 01 b1 3f 45 00 00 20 12 34 00 00 3f 11 54 8f 0a 00 00 04 0a 00
01 07 13 88 13 89 00 0c 3f 34 41 42 43 44";

/// The worked example of forwarding.md 4.13, bridged over `VXLAN`.
pub const SPEC_VXLAN: &str = "
00 22 22 22 22 22 00 11 11 11 11 11 08 00 45 00 00 52 00 01 00 00 40 11 22 77 ac 10 00 01 ac 10
00 02 d6 d8 12 b5 00 3e 00 00 08 00 00 00 00 13 89 00 02 0a 00 00 01 07 02 0a 00 00 00 04 08 00
45 00 00 20 12 34 00 00 40 11 53 8f 0a 00 00 04 0a 00 01 07 13 88 13 89 00 0c 3f 34 41 42 43 44";

pub fn hex(text: &str) -> Vec<u8> {
    text.split_whitespace().map(|byte| u8::from_str_radix(byte, 16).unwrap()).collect()
}

/// An Ethernet frame with these tags, outermost first.
pub fn ethernet(tags: &[(u16, u16)], ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
    for (kind, tci) in tags {
        frame.extend(kind.to_be_bytes());
        frame.extend(tci.to_be_bytes());
    }
    frame.extend(ether_type.to_be_bytes());
    frame.extend(payload);
    frame
}

/// What an IPv4 header says besides the addresses.
#[derive(Default, Clone, Copy)]
pub struct V4 {
    pub option_words: usize,
    pub fragment_field: u16,
}

/// An IP packet, IPv4 or IPv6 as the addresses are.
pub fn ip(source: IpAddr, destination: IpAddr, protocol: u8, options: V4, payload: &[u8]) -> Vec<u8> {
    match (source, destination) {
        (IpAddr::V4(source), IpAddr::V4(destination)) => {
            let words = 5 + options.option_words;
            let mut packet = vec![0x40 | words as u8, 0];
            packet.extend(((words * 4 + payload.len()) as u16).to_be_bytes());
            packet.extend([0x12, 0x34]);
            packet.extend(options.fragment_field.to_be_bytes());
            packet.extend([64, protocol, 0, 0]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.resize(words * 4, 1);
            packet.extend(payload);
            packet
        }
        (IpAddr::V6(source), IpAddr::V6(destination)) => {
            let mut packet = vec![0x60, 0, 0, 0];
            packet.extend((payload.len() as u16).to_be_bytes());
            packet.extend([protocol, 64]);
            packet.extend(source.octets());
            packet.extend(destination.octets());
            packet.extend(payload);
            packet
        }
        _ => panic!("addresses of two families"),
    }
}

pub fn udp(source_port: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut datagram = Vec::new();
    datagram.extend(source_port.to_be_bytes());
    datagram.extend(port.to_be_bytes());
    datagram.extend((8 + payload.len() as u16).to_be_bytes());
    datagram.extend([0, 0]);
    datagram.extend(payload);
    datagram
}

pub fn gre(flags: u16, protocol: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = Vec::new();
    packet.extend(flags.to_be_bytes());
    packet.extend(protocol.to_be_bytes());
    packet.resize(4 + 4 * usize::from(flags >> 15) + 4 * usize::from(flags >> 13 & 1), 0xcc);
    packet.extend(payload);
    packet
}

pub fn mpls(label: u32, bottom: bool, payload: &[u8]) -> Vec<u8> {
    let mut packet = (label << 12 | u32::from(bottom) << 8 | 63).to_be_bytes().to_vec();
    packet.extend(payload);
    packet
}

pub fn vxlan(vni: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![8, 0, 0, 0];
    packet.extend((vni << 8).to_be_bytes());
    packet.extend(payload);
    packet
}

/// An inner UDP packet between two hosts of a flow that `number` tells apart.
pub fn inner(number: u16) -> Vec<u8> {
    let source = Ipv4Addr::new(10, 0, 0, 4).into();
    let destination = Ipv4Addr::new(10, 0, 1, 7).into();
    ip(source, destination, 17, V4::default(), &udp(20_000 + number, 5001, b"ABCD"))
}

/// A packet from the peer to `destination`, in a frame without tags.
pub fn outer(destination: IpAddr, protocol: u8, payload: &[u8]) -> Vec<u8> {
    let (source, ether_type) = if destination.is_ipv4() { (PEER4, 0x0800) } else { (PEER6, 0x86dd) };
    ethernet(&[], ether_type, &ip(source, destination, protocol, V4::default(), payload))
}

/// One packet of every kind that the program treats in its own way, with a name.
pub fn gallery() -> Vec<(&'static str, Vec<u8>)> {
    let mut packets = tunnels();
    packets.extend(inner_kinds());
    packets.extend(not_ours());
    packets
}

fn tunnels() -> Vec<(&'static str, Vec<u8>)> {
    let carried = mpls(27, true, &inner(1));
    let framed = vxlan(5001, &ethernet(&[], 0x0800, &inner(1)));
    let to4 = |options: V4| ip(PEER4, LOCAL4, 17, options, &udp(0xd6d8, 6635, &carried));
    vec![
        ("specification, MPLSoGRE", hex(SPEC_GRE)),
        ("specification, MPLSoUDP", hex(SPEC_MPLS_UDP)),
        ("specification, VXLAN", hex(SPEC_VXLAN)),
        ("MPLSoUDP, old port", outer(LOCAL4, 17, &udp(0xd6d8, 51234, &carried))),
        ("MPLSoUDP, IPv6", outer(LOCAL6, 17, &udp(0xd6d8, 6635, &carried))),
        ("MPLSoGRE, IPv6", outer(LOCAL6, 47, &gre(0, 0x8847, &carried))),
        ("VXLAN, IPv6", outer(LOCAL6, 17, &udp(0xd6d8, 4789, &framed))),
        ("MPLSoGRE, checksum", outer(LOCAL4, 47, &gre(0x8000, 0x8847, &carried))),
        ("MPLSoGRE, key", outer(LOCAL4, 47, &gre(0x2000, 0x8847, &carried))),
        ("MPLSoGRE, both", outer(LOCAL4, 47, &gre(0xa000, 0x8847, &carried))),
        ("one tag", ethernet(&[(0x8100, 5)], 0x0800, &to4(V4::default()))),
        ("two tags", ethernet(&[(0x88a8, 5), (0x8100, 6)], 0x0800, &to4(V4::default()))),
        ("two tags, IPv6", {
            let packet = ip(PEER6, LOCAL6, 17, V4::default(), &udp(1, 4789, &framed));
            ethernet(&[(0x8100, 5), (0x8100, 6)], 0x86dd, &packet)
        }),
        ("IPv4 options", ethernet(&[], 0x0800, &to4(V4 { option_words: 10, ..V4::default() }))),
        ("do not fragment", ethernet(&[], 0x0800, &to4(V4 { fragment_field: 0x4000, ..V4::default() }))),
        ("jumbo", outer(LOCAL4, 17, &udp(1, 6635, &[&carried[..], &[0x55; 3000]].concat()))),
    ]
}

fn inner_kinds() -> Vec<(&'static str, Vec<u8>)> {
    let over_udp = |payload: &[u8]| outer(LOCAL4, 17, &udp(0xd6d8, 6635, payload));
    let over_vxlan = |payload: &[u8]| outer(LOCAL4, 17, &udp(0xd6d8, 4789, &vxlan(7, payload)));
    let inner6 = ip(PEER6, LOCAL6, 6, V4::default(), &[0x11; 24]);
    let fragment = V4 { fragment_field: 0x20b9, option_words: 0 };
    vec![
        ("inner IPv6", over_udp(&mpls(27, true, &inner6))),
        ("inner ICMP", over_udp(&mpls(27, true, &ip(PEER4, OTHER4, 1, V4::default(), &[8; 16])))),
        ("inner fragment", over_udp(&mpls(27, true, &ip(PEER4, OTHER4, 17, fragment, &[7; 16])))),
        (
            "inner options",
            over_udp(&mpls(27, true, &{
                ip(PEER4, OTHER4, 6, V4 { option_words: 3, fragment_field: 0 }, &[9; 20])
            })),
        ),
        ("ignored label", over_udp(&mpls(0xf_ffff, false, &mpls(27, true, &inner(2))))),
        ("ignored label at the bottom", over_udp(&mpls(0xf_ffff, true, &inner(2)))),
        ("two labels", over_udp(&mpls(27, false, &mpls(28, true, &inner(2))))),
        ("bridged over MPLS", over_udp(&mpls(27, true, &ethernet(&[], 0x0800, &inner(3))))),
        ("bridged, control word", {
            let frame = ethernet(&[], 0x0800, &inner(3));
            over_udp(&mpls(1100, true, &[&[0; 4][..], &frame].concat()))
        }),
        ("bridged ARP, control word", {
            let frame = ethernet(&[], 0x0806, &[1; 28]);
            over_udp(&mpls(27, true, &[&[0; 4][..], &frame].concat()))
        }),
        ("control word and IP", over_udp(&mpls(27, true, &[&[0; 4][..], &inner(4)].concat()))),
        ("ARP in VXLAN", over_vxlan(&ethernet(&[], 0x0806, &[1; 28]))),
        ("tagged in VXLAN", over_vxlan(&ethernet(&[(0x8100, 9)], 0x86dd, &inner6))),
        ("two tags in VXLAN", over_vxlan(&ethernet(&[(0x8100, 9), (0x8100, 8)], 0x0800, &inner(5)))),
        ("IPv4 type, other content, in VXLAN", over_vxlan(&ethernet(&[], 0x0800, &[0x60; 40]))),
        ("IHL 4 in VXLAN", over_vxlan(&ethernet(&[], 0x0800, &[0x44; 40]))),
        ("nothing known", over_udp(&mpls(27, true, &[0x99; 40]))),
    ]
}

fn not_ours() -> Vec<(&'static str, Vec<u8>)> {
    let carried = mpls(27, true, &inner(1));
    let tunnel = udp(0xd6d8, 6635, &carried);
    let to4 = |field| ip(PEER4, LOCAL4, 17, V4 { fragment_field: field, option_words: 0 }, &tunnel);
    vec![
        ("to another address", outer(OTHER4, 17, &tunnel)),
        ("first fragment", ethernet(&[], 0x0800, &to4(0x2000))),
        ("last fragment", ethernet(&[], 0x0800, &to4(0x00b9))),
        ("IPv6 fragment", outer(LOCAL6, 44, &[&[17, 0, 0, 1, 0, 0, 0, 9][..], &tunnel].concat())),
        ("other UDP", outer(LOCAL4, 17, &udp(53, 5353, &[0; 30]))),
        ("TCP", outer(LOCAL4, 6, &[0; 30])),
        ("SCTP, IPv6", outer(LOCAL6, 132, &[0; 30])),
        ("GRE with a sequence number", outer(LOCAL4, 47, &gre(0x1000, 0x8847, &carried))),
        ("GRE version 1", outer(LOCAL4, 47, &gre(0x0001, 0x8847, &carried))),
        ("GRE with IPv4", outer(LOCAL4, 47, &gre(0, 0x0800, &inner(1)))),
        ("ARP", ethernet(&[], 0x0806, &[1; 28])),
        ("three tags", ethernet(&[(0x8100, 1), (0x8100, 2), (0x8100, 3)], 0x0800, &to4(0))),
        ("IPv4 header too short", ethernet(&[], 0x0800, &[&[0x44][..], &to4(0)[1..]].concat())),
        ("version 5 as IPv4", ethernet(&[], 0x0800, &[&[0x55][..], &to4(0)[1..]].concat())),
        ("version 4 as IPv6", ethernet(&[], 0x86dd, &[&[0x45][..], &[0; 60]].concat())),
    ]
}
