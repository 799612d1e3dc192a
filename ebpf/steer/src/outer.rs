//! The outer headers, up to the one that says what the tunnel carries.

use crate::{cursor::Cursor, maps::ENDPOINTS};
use steer_abi::{Counter, EndpointKey, Tunnel, TunnelSet};

const ETHER_IPV4: u16 = 0x0800;
const ETHER_IPV6: u16 = 0x86dd;
const ETHER_VLAN: u16 = 0x8100;
const ETHER_SERVICE_VLAN: u16 = 0x88a8;

const PROTOCOL_UDP: u8 = 17;
const PROTOCOL_GRE: u8 = 47;
const PROTOCOL_IPV6_FRAGMENT: u8 = 44;

const GRE_CHECKSUM: u16 = 0x8000;
const GRE_KEY: u16 = 0x2000;
const GRE_MPLS: u16 = 0x8847;

/// A label that some switches push before the real one (forwarding.md 5.2).
const IGNORED_LABEL: u32 = 0xf_ffff;

/// What a packet turned out to be.
pub enum Outer {
    /// A tunnel packet to a local endpoint, and where its payload begins: behind the label or VXLAN header.
    Tunnel(Tunnel, Cursor),
    /// Anything else, and what to count it as.
    Other(Counter),
}

/// Looks at the outer headers of a packet: Ethernet, at most two VLAN tags, IPv4 or IPv6, UDP or GRE.
#[inline(always)]
pub fn parse(packet: Cursor) -> Outer {
    match ethernet(packet) {
        Ok((tunnel, payload)) => Outer::Tunnel(tunnel, payload),
        Err(counter) => Outer::Other(counter),
    }
}

type Found<T> = Result<T, Counter>;

#[inline(always)]
fn ethernet(packet: Cursor) -> Found<(Tunnel, Cursor)> {
    let mut ether_type = packet.read_u16_be(12).ok_or(Counter::PassedMalformed)?;
    let mut layer3 = packet.skip(14);
    // Two tags; not a loop, so that every pointer stays at a constant distance from the start.
    if is_vlan(ether_type) {
        ether_type = layer3.read_u16_be(2).ok_or(Counter::PassedMalformed)?;
        layer3 = layer3.skip(4);
        if is_vlan(ether_type) {
            ether_type = layer3.read_u16_be(2).ok_or(Counter::PassedMalformed)?;
            layer3 = layer3.skip(4);
        }
    }
    match ether_type {
        ETHER_IPV4 => ipv4(layer3),
        ETHER_IPV6 => ipv6(layer3),
        _ => Err(Counter::PassedOther),
    }
}

#[inline(always)]
fn is_vlan(ether_type: u16) -> bool {
    ether_type == ETHER_VLAN || ether_type == ETHER_SERVICE_VLAN
}

#[inline(always)]
fn ipv4(header: Cursor) -> Found<(Tunnel, Cursor)> {
    let destination: u32 = header.read(16).ok_or(Counter::PassedMalformed)?;
    let version_and_length: u8 = header.read(0).ok_or(Counter::PassedMalformed)?;
    let length = u64::from(version_and_length & 15) * 4;
    if version_and_length >> 4 != 4 || length < 20 {
        return Err(Counter::PassedMalformed);
    }
    let protocol: u8 = header.read(9).ok_or(Counter::PassedMalformed)?;
    if protocol != PROTOCOL_UDP && protocol != PROTOCOL_GRE {
        return Err(Counter::PassedOther);
    }
    if header.read_u16_be(6).ok_or(Counter::PassedMalformed)? & 0x3fff != 0 {
        return Err(Counter::PassedFragment);
    }
    transport(header.skip_variable(length), protocol, EndpointKey::from_v4_word(destination))
}

#[inline(always)]
fn ipv6(header: Cursor) -> Found<(Tunnel, Cursor)> {
    let low: u64 = header.read(32).ok_or(Counter::PassedMalformed)?;
    let high: u64 = header.read(24).ok_or(Counter::PassedMalformed)?;
    let version: u8 = header.read(0).ok_or(Counter::PassedMalformed)?;
    if version >> 4 != 6 {
        return Err(Counter::PassedMalformed);
    }
    match header.read(6).ok_or(Counter::PassedMalformed)? {
        protocol @ (PROTOCOL_UDP | PROTOCOL_GRE) => {
            transport(header.skip(40), protocol, EndpointKey::from_v6_words([high, low]))
        }
        PROTOCOL_IPV6_FRAGMENT => Err(Counter::PassedFragment),
        _ => Err(Counter::PassedOther),
    }
}

#[inline(always)]
fn transport(header: Cursor, protocol: u8, destination: EndpointKey) -> Found<(Tunnel, Cursor)> {
    let (tunnel, body) = if protocol == PROTOCOL_UDP { udp(header)? } else { gre(header)? };
    if !is_local(destination, tunnel) {
        return Err(Counter::PassedNotLocal);
    }
    let payload = match tunnel {
        Tunnel::Vxlan => body.skip(8),
        Tunnel::MplsUdp | Tunnel::MplsGre => behind_label(body),
    };
    Ok((tunnel, payload))
}

#[inline(always)]
fn udp(header: Cursor) -> Found<(Tunnel, Cursor)> {
    let checksum: Option<u16> = header.read(6);
    checksum.ok_or(Counter::PassedMalformed)?;
    let tunnel = match header.read_u16_be(2).ok_or(Counter::PassedMalformed)? {
        6635 | 51234 => Tunnel::MplsUdp,
        4789 => Tunnel::Vxlan,
        _ => return Err(Counter::PassedOther),
    };
    Ok((tunnel, header.skip(8)))
}

#[inline(always)]
fn gre(header: Cursor) -> Found<(Tunnel, Cursor)> {
    let protocol = header.read_u16_be(2).ok_or(Counter::PassedMalformed)?;
    let flags = header.read_u16_be(0).ok_or(Counter::PassedMalformed)?;
    if protocol != GRE_MPLS || flags & !(GRE_CHECKSUM | GRE_KEY) != 0 {
        return Err(Counter::PassedOther);
    }
    // Each of the two fields has four bytes.
    let fields = u64::from(flags >> 15) + u64::from(flags >> 13 & 1);
    Ok((Tunnel::MplsGre, header.skip_variable(4 + fields * 4)))
}

#[inline(always)]
fn is_local(destination: EndpointKey, tunnel: Tunnel) -> bool {
    // SAFETY: the value is one u32, read once; a concurrent update gives the old or the new one.
    let set = unsafe { ENDPOINTS.get(destination) };
    set.is_some_and(|&bits| TunnelSet::from_bits(bits).contains(tunnel))
}

/// What a label stack that may be cut short carries; the dataplane says what is wrong with it.
#[inline(always)]
fn behind_label(stack: Cursor) -> Cursor {
    match stack.read::<u32>(0).map(u32::from_be) {
        Some(word) if word >> 12 == IGNORED_LABEL && word & 0x100 == 0 => stack.skip(8),
        _ => stack.skip(4),
    }
}
