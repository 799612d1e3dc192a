//! The flow key of a packet (forwarding.md 6.1).

use vr_tables::flow::FlowKey;
use vr_tables::nexthop::NexthopAction;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, NexthopId};

use super::ip::inet_header_len;
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16};
use crate::verdict::Step;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT_HEADER: u8 = 44;

/// What building a key gives.
pub(super) enum Keyed {
    /// The key.
    Key(FlowKey),
    /// Packets of this kind have no flow.
    NoFlow,
    /// A fragment whose ports are in the first one: the key without them.
    LaterFragment(FlowKey),
}

/// Whether a protocol has ports.
pub(super) const fn has_ports(protocol: u8) -> bool {
    matches!(protocol, 6 | 17 | 132)
}

impl Full<'_> {
    /// The key nexthop: for packets from the fabric that of the interface they are for, else that of the
    /// interface they came from.
    pub(super) fn key_nexthop(&self, pkt: &Pkt) -> NexthopId {
        let Some(vif) = self.tables.vif(pkt.vif) else { return NexthopId::DISCARD };
        if vif.kind == VifKind::Physical
            && let Some(nexthop) = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot))
        {
            let device = match &nexthop.action {
                NexthopAction::Encap(encap) => Some(encap.vif),
                NexthopAction::Receive(vif) => Some(*vif),
                _ => None,
            };
            return match device.and_then(|device| self.tables.vif(device)) {
                Some(device) => device.nexthop,
                None => nexthop.id,
            };
        }
        if vif.flags.contains(VifFlags::SERVICE_IF)
            && let Some(vlan) = pkt.vlan
        {
            let entry = vif.details.service_vlans.get(usize::from(vlan)).copied().flatten();
            return entry.map_or(vif.nexthop, |entry| entry.nexthop);
        }
        vif.nexthop
    }

    /// The key of a packet, from its layer 3 header on.
    pub(super) fn key(&self, pkt: &Pkt) -> Step<Keyed> {
        let nexthop = self.key_nexthop(pkt);
        match pkt.kind {
            Kind::Inet => inet(pkt.l3(), nexthop),
            _ => inet6(pkt.l3(), nexthop),
        }
    }
}

const fn swap([a, b, c, d]: [u8; 4]) -> [u8; 4] {
    [c, d, a, b]
}

/// The key with other ports: source, then destination.
pub(super) fn with_ports(key: &FlowKey, ports: [u8; 4]) -> Option<FlowKey> {
    let mut words = *key.words();
    words[1] = u32::from_le_bytes(ports);
    FlowKey::from_words(words)
}

/// The key of an IPv4 packet.
pub(super) fn inet(bytes: &[u8], nexthop: NexthopId) -> Step<Keyed> {
    let header = inet_header_len(bytes)?;
    let (Some(source), Some(destination)) = (array(bytes, 12), array(bytes, 16)) else {
        return Err(DropReason::Pull.into());
    };
    let protocol = bytes[9];
    if be16(bytes, 6).unwrap_or(0) & 0x1fff != 0 {
        if !has_ports(protocol) && protocol != ICMP {
            return Ok(Keyed::Key(FlowKey::inet(protocol, [0; 4], nexthop, source, destination)));
        }
        return Ok(Keyed::LaterFragment(FlowKey::inet(protocol, [0; 4], nexthop, source, destination)));
    }
    let l4 = &bytes[header..];
    let ports = match protocol {
        _ if has_ports(protocol) => array(l4, 0).ok_or(DropReason::Misc)?,
        ICMP => match l4.first().ok_or(DropReason::Misc)? {
            0 | 8 => {
                let id: [u8; 2] = array(l4, 4).ok_or(DropReason::Misc)?;
                [id[0], id[1], 0, 0]
            }
            3 | 11 => return inet_quoted(l4.get(8..).unwrap_or_default(), nexthop),
            kind => [0, 0, *kind, 0],
        },
        _ => [0; 4],
    };
    Ok(Keyed::Key(FlowKey::inet(protocol, ports, nexthop, source, destination)))
}

/// The key of the packet that an ICMP error quotes, as seen in the other direction.
fn inet_quoted(quoted: &[u8], nexthop: NexthopId) -> Step<Keyed> {
    let header = inet_header_len(quoted).map_err(|_| DropReason::Misc)?;
    let (Some(source), Some(destination)) = (array(quoted, 12), array(quoted, 16)) else {
        return Err(DropReason::Misc.into());
    };
    let protocol = quoted[9];
    let l4 = &quoted[header..];
    let ports = match protocol {
        _ if has_ports(protocol) => swap(array(l4, 0).ok_or(DropReason::Misc)?),
        ICMP => match l4.first().ok_or(DropReason::Misc)? {
            0 | 8 => {
                let id: [u8; 2] = array(l4, 4).ok_or(DropReason::Misc)?;
                [id[0], id[1], 0, 0]
            }
            // An error about an error belongs to no flow.
            3 | 11 => return Err(DropReason::Misc.into()),
            kind => [0, 0, *kind, 0],
        },
        _ => [0; 4],
    };
    Ok(Keyed::Key(FlowKey::inet(protocol, ports, nexthop, destination, source)))
}

/// The key of an IPv6 packet. Extension headers other than a fragment header count as the protocol.
pub(super) fn inet6(bytes: &[u8], nexthop: NexthopId) -> Step<Keyed> {
    let (Some(source), Some(destination)) = (array(bytes, 8), array(bytes, 24)) else {
        return Err(DropReason::Pull.into());
    };
    let (mut protocol, mut at) = (bytes[6], 40);
    if protocol == FRAGMENT_HEADER {
        let fragment: [u8; 4] = array(bytes, at).ok_or(DropReason::Misc)?;
        protocol = fragment[0];
        if u16::from_be_bytes([fragment[2], fragment[3]]) >> 3 != 0 {
            return Ok(Keyed::LaterFragment(FlowKey::inet6(protocol, [0; 4], nexthop, source, destination)));
        }
        at += 8;
    }
    let l4 = bytes.get(at..).unwrap_or_default();
    let ports = match protocol {
        _ if has_ports(protocol) => array(l4, 0).ok_or(DropReason::Misc)?,
        ICMPV6 => match l4.first().ok_or(DropReason::Misc)? {
            135 | 136 => return Ok(Keyed::NoFlow),
            128 | 129 => {
                let id: [u8; 2] = array(l4, 4).ok_or(DropReason::Misc)?;
                [id[0], id[1], 0, 129]
            }
            0..=127 => return inet6_quoted(l4.get(8..).unwrap_or_default(), nexthop),
            kind => [0, 0, *kind, 0],
        },
        _ => [0; 4],
    };
    Ok(Keyed::Key(FlowKey::inet6(protocol, ports, nexthop, source, destination)))
}

fn inet6_quoted(quoted: &[u8], nexthop: NexthopId) -> Step<Keyed> {
    let (Some(source), Some(destination), Some(&protocol)) =
        (array(quoted, 8), array(quoted, 24), quoted.get(6))
    else {
        return Err(DropReason::Misc.into());
    };
    let l4 = quoted.get(40..).unwrap_or_default();
    let ports = match protocol {
        _ if has_ports(protocol) => swap(array(l4, 0).ok_or(DropReason::Misc)?),
        ICMPV6 => match l4.first().ok_or(DropReason::Misc)? {
            128 | 129 => {
                let id: [u8; 2] = array(l4, 4).ok_or(DropReason::Misc)?;
                [id[0], id[1], 0, 129]
            }
            0..=127 => return Err(DropReason::Misc.into()),
            kind => [0, 0, *kind, 0],
        },
        _ => [0; 4],
    };
    Ok(Keyed::Key(FlowKey::inet6(protocol, ports, nexthop, destination, source)))
}
