//! What the program should do with a packet, written once more for slices and as plainly as possible.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use steer_abi::{Counter, Tunnel, inspect_payload};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// A tunnel packet to a local endpoint and its metadata.
    Tunnel { tunnel: Tunnel, payload: u16, layer3: u16, hash: u32 },
    /// Anything else.
    Other(Counter),
}

/// What `packet` is, with all tunnels to the addresses in `local` ending here.
pub fn classify(packet: &[u8], local: &[IpAddr]) -> Expected {
    parse(packet, local).unwrap_or(Expected::Other(Counter::PassedMalformed))
}

/// `None` for headers that are cut short or contradict themselves.
fn parse(packet: &[u8], local: &[IpAddr]) -> Option<Expected> {
    let mut offset = 12;
    for _ in 0..2 {
        if matches!(be16(packet, offset)?, 0x8100 | 0x88a8) {
            offset += 4;
        }
    }
    let (protocol, destination, transport) = match be16(packet, offset)? {
        0x0800 => ipv4(packet, offset + 2)?,
        0x86dd => ipv6(packet, offset + 2)?,
        _ => return Some(Expected::Other(Counter::PassedOther)),
    };
    let (tunnel, body) = match protocol {
        Protocol::Udp => udp(packet, transport)?,
        Protocol::Gre => gre(packet, transport)?,
        Protocol::Fragment => return Some(Expected::Other(Counter::PassedFragment)),
        Protocol::Other => return Some(Expected::Other(Counter::PassedOther)),
    };
    let Some(tunnel) = tunnel else {
        return Some(Expected::Other(Counter::PassedOther));
    };
    if !local.contains(&destination) {
        return Some(Expected::Other(Counter::PassedNotLocal));
    }
    let ignored = packet.get(body..body + 4).is_some_and(|word| {
        tunnel != Tunnel::Vxlan && word[..2] == [0xff, 0xff] && word[2] >> 4 == 0xf && word[2] & 1 == 0
    });
    let payload = body + if tunnel == Tunnel::Vxlan || ignored { 8 } else { 4 };
    let found = inspect_payload(tunnel, packet.get(payload..).unwrap_or(&[]));
    let layer3 = found.l3_offset.map_or(0, |offset| offset + payload as u16);
    Some(Expected::Tunnel { tunnel, payload: payload as u16, layer3, hash: found.hash })
}

enum Protocol {
    Udp,
    Gre,
    Fragment,
    Other,
}

fn ipv4(packet: &[u8], at: usize) -> Option<(Protocol, IpAddr, usize)> {
    let header = packet.get(at..at + 20)?;
    let length = usize::from(header[0] % 16) * 4;
    if header[0] / 16 != 4 || length < 20 {
        return None;
    }
    let fragment = header[6] & 0x3f != 0 || header[7] != 0;
    let protocol = match header[9] {
        17 | 47 if fragment => Protocol::Fragment,
        17 => Protocol::Udp,
        47 => Protocol::Gre,
        _ => Protocol::Other,
    };
    let destination = Ipv4Addr::new(header[16], header[17], header[18], header[19]);
    Some((protocol, destination.into(), at + length))
}

fn ipv6(packet: &[u8], at: usize) -> Option<(Protocol, IpAddr, usize)> {
    let header = packet.get(at..at + 40)?;
    if header[0] / 16 != 6 {
        return None;
    }
    let protocol = match header[6] {
        17 => Protocol::Udp,
        44 => Protocol::Fragment,
        47 => Protocol::Gre,
        _ => Protocol::Other,
    };
    let destination: [u8; 16] = header[24..].try_into().unwrap();
    Some((protocol, Ipv6Addr::from(destination).into(), at + 40))
}

fn udp(packet: &[u8], at: usize) -> Option<(Option<Tunnel>, usize)> {
    packet.get(at..at + 8)?;
    let tunnel = match be16(packet, at + 2)? {
        6635 | 51234 => Some(Tunnel::MplsUdp),
        4789 => Some(Tunnel::Vxlan),
        _ => None,
    };
    Some((tunnel, at + 8))
}

fn gre(packet: &[u8], at: usize) -> Option<(Option<Tunnel>, usize)> {
    let ours = be16(packet, at + 2)? == 0x8847;
    let length = match be16(packet, at)? {
        0 => 4,
        0x8000 | 0x2000 => 8,
        0xa000 => 12,
        _ => return Some((None, at)),
    };
    Some((ours.then_some(Tunnel::MplsGre), at + length))
}

fn be16(packet: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]))
}
