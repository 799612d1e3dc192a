//! The hash of the inner headers; `steer_abi::inspect_payload` does the same in userspace.

use crate::cursor::Cursor;
use steer_abi::{InnerHash, Tunnel};

/// What was found behind the tunnel's headers.
pub struct Inner {
    /// The inner IP header, if one was found.
    pub layer3: Option<Cursor>,
    /// Hash of the inner headers; 0 when there were none to hash.
    pub hash: u32,
}

/// Looks at the payload of a tunnel packet.
#[inline(always)]
pub fn inspect(tunnel: Tunnel, payload: Cursor) -> Inner {
    if matches!(tunnel, Tunnel::Vxlan) {
        return ip_in_ethernet(payload).and_then(ip).unwrap_or_else(|| ethernet(payload));
    }
    if let Some(inner) = guess(payload) {
        return inner;
    }
    let control_word: Option<u32> = payload.read(0);
    if control_word != Some(0) {
        return ethernet(payload);
    }
    let behind = payload.skip(4);
    guess(behind).unwrap_or_else(|| ethernet(behind))
}

#[inline(always)]
fn guess(place: Cursor) -> Option<Inner> {
    ip(ip_in_ethernet(place).unwrap_or(place))
}

/// The IP header in an Ethernet frame, with one tag at most, whose `EtherType` and content agree on IP.
#[inline(always)]
fn ip_in_ethernet(frame: Cursor) -> Option<Cursor> {
    let mut ether_type = frame.read_u16_be(12)?;
    let mut layer3 = frame.skip(14);
    if ether_type == 0x8100 || ether_type == 0x88a8 {
        ether_type = frame.read_u16_be(16)?;
        layer3 = frame.skip(18);
    }
    let version = layer3.read::<u8>(0)? >> 4;
    match (ether_type, version) {
        (0x0800, 4) | (0x86dd, 6) => Some(layer3),
        _ => None,
    }
}

#[inline(always)]
fn ip(header: Cursor) -> Option<Inner> {
    let hash = match header.read::<u8>(0)? >> 4 {
        4 => ipv4(header)?,
        6 => ipv6(header)?,
        _ => return None,
    };
    Some(Inner { layer3: Some(header), hash })
}

#[inline(always)]
fn ipv4(header: Cursor) -> Option<u32> {
    let addresses: u64 = header.read(12)?;
    let length = u64::from(header.read::<u8>(0)? & 15) * 4;
    if length < 20 {
        return None;
    }
    let protocol: u8 = header.read(9)?;
    let fragment = header.read_u16_be(6)? & 0x3fff != 0;
    let ports = if fragment { 0 } else { ports(header.skip_variable(length), protocol) };
    Some(InnerHash::ipv4(addresses, ports, protocol))
}

#[inline(always)]
fn ipv6(header: Cursor) -> Option<u32> {
    let last: u64 = header.read(32)?;
    let addresses = [header.read(8)?, header.read(16)?, header.read(24)?, last];
    let protocol: u8 = header.read(6)?;
    Some(InnerHash::ipv6(addresses, ports(header.skip(40), protocol), protocol))
}

/// Both ports of TCP, UDP or SCTP as they lie on the wire; 0 when there are none.
#[inline(always)]
fn ports(transport: Cursor, protocol: u8) -> u32 {
    match protocol {
        6 | 17 | 132 => transport.read(0).unwrap_or(0),
        _ => 0,
    }
}

#[inline(always)]
fn ethernet(frame: Cursor) -> Inner {
    let fields = (frame.read::<u16>(12), frame.read::<u64>(0), frame.read::<u32>(8));
    let hash = match fields {
        (Some(ether_type), Some(first_eight), Some(next_four)) => {
            InnerHash::ethernet(first_eight, next_four, ether_type)
        }
        _ => 0,
    };
    Inner { layer3: None, hash }
}
