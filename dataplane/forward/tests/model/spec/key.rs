//! Keys (forwarding.md 6.1).

use vr_tables::flow::FlowKey;
use vr_types::{DropReason, NexthopId};

use super::Packet;
use super::packet::guest_of;
use crate::world::{BRIDGED, FABRIC, ROUTED};

/// A key, or one whose ports have to come from the first fragment.
pub(super) enum Keyed {
    Key(FlowKey),
    Portless(FlowKey),
}

const fn has_ports(protocol: u8) -> bool {
    protocol == 6 || protocol == 17 || protocol == 132
}

/// Builds a key of either family from the bytes of its addresses.
fn build(protocol: u8, ports: [u8; 4], nexthop: u32, source: &[u8], destination: &[u8]) -> FlowKey {
    let nexthop = NexthopId(nexthop);
    match (source.try_into(), destination.try_into()) {
        (Ok(source), Ok(destination)) => FlowKey::inet6(protocol, ports, nexthop, source, destination),
        _ => FlowKey::inet(
            protocol,
            ports,
            nexthop,
            source.try_into().unwrap(),
            destination.try_into().unwrap(),
        ),
    }
}

/// Ports of ICMP that is no error, both families.
fn icmp_ports(is_inet6: bool, message: &[u8]) -> [u8; 4] {
    match (is_inet6, message[0]) {
        (false, 0 | 8) => [message[4], message[5], 0, 0],
        (true, 128 | 129) => [message[4], message[5], 0, 129],
        (_, kind) => [0, 0, kind, 0],
    }
}

/// The key of a packet.
pub(super) fn key(packet: &Packet) -> Result<Keyed, DropReason> {
    key_of(&packet.frame[packet.ip..], packet.transport(), key_nexthop(packet))
}

/// The key of a packet from its IP header on.
fn key_of(
    bytes: &[u8],
    (protocol, at, is_here): (u8, usize, bool),
    nexthop: u32,
) -> Result<Keyed, DropReason> {
    let is_inet6 = bytes[0] >> 4 == 6;
    let (source, destination) =
        if is_inet6 { (&bytes[8..24], &bytes[24..40]) } else { (&bytes[12..16], &bytes[16..20]) };
    let is_icmp = protocol == if is_inet6 { 58 } else { 1 };
    if !is_here {
        let portless = build(protocol, [0; 4], nexthop, source, destination);
        // A protocol without ports needs no first fragment.
        return Ok(if has_ports(protocol) || is_icmp {
            Keyed::Portless(portless)
        } else {
            Keyed::Key(portless)
        });
    }
    let message = &bytes[at..];
    if is_icmp && is_error(is_inet6, message[0]) {
        return key_of_quoted(is_inet6, &message[8..], nexthop);
    }
    let ports = match protocol {
        _ if has_ports(protocol) => *message.first_chunk().unwrap(),
        _ if is_icmp => icmp_ports(is_inet6, message),
        _ => [0; 4],
    };
    Ok(Keyed::Key(build(protocol, ports, nexthop, source, destination)))
}

const fn is_error(is_inet6: bool, kind: u8) -> bool {
    if is_inet6 { kind < 128 } else { kind == 3 || kind == 11 }
}

/// The quoted packet as it looks from the other side.
fn key_of_quoted(is_inet6: bool, quoted: &[u8], nexthop: u32) -> Result<Keyed, DropReason> {
    let (protocol, source, destination, message) = if is_inet6 {
        (quoted[6], &quoted[8..24], &quoted[24..40], &quoted[40..])
    } else {
        (quoted[9], &quoted[12..16], &quoted[16..20], &quoted[20..])
    };
    let is_icmp = protocol == if is_inet6 { 58 } else { 1 };
    if is_icmp && is_error(is_inet6, message[0]) {
        return Err(DropReason::Misc);
    }
    let ports = match protocol {
        _ if has_ports(protocol) => [message[2], message[3], message[0], message[1]],
        _ if is_icmp => icmp_ports(is_inet6, message),
        _ => [0; 4],
    };
    Ok(Keyed::Key(build(protocol, ports, nexthop, destination, source)))
}

/// The nexthop in the key of a packet.
pub(super) fn key_nexthop(packet: &Packet) -> u32 {
    match (packet.vif == FABRIC, packet.nexthop) {
        (true, Some(nexthop)) => {
            let device = BRIDGED.iter().position(|bridged| *bridged == nexthop);
            device.map_or(nexthop, |guest| ROUTED[guest])
        }
        _ => ROUTED[guest_of(packet).unwrap()],
    }
}
