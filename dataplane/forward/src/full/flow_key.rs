//! The flow key of a packet (forwarding.md 6.1).

use vr_tables::flow::FlowKey;
use vr_tables::nexthop::{NexthopAction, NexthopFlags};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, NexthopId, VifId};

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

    /// The key under which the flow of a packet with `key` is found: interfaces may aggregate their flows.
    pub(super) fn aggregate(&self, pkt: &Pkt, key: &FlowKey) -> FlowKey {
        let rules = |id: VifId| self.tables.vif(id)?.details.fat_rules.as_ref();
        let Some(vif) = self.tables.vif(pkt.vif) else { return *key };
        if vif.kind.is_guest() {
            return vif.details.fat_rules.as_ref().map_or(*key, |rules| rules.mask(key, false));
        }
        let device = if vif.kind == VifKind::Physical { self.aggregating_device(pkt) } else { None };
        device.and_then(rules).map_or(*key, |rules| rules.mask(key, true))
    }

    /// The interface that a packet from the fabric goes to, of members that are all local the first one's.
    fn aggregating_device(&self, pkt: &Pkt) -> Option<VifId> {
        let nexthop = self.tables.nexthop(pkt.nexthop?)?;
        if !nexthop.flags.contains(NexthopFlags::VALID) {
            return None;
        }
        let NexthopAction::Composite(composite) = &nexthop.action else { return nexthop.vif() };
        if !nexthop.flags.contains(NexthopFlags::COMPOSITE_ECMP) {
            return None;
        }
        let mut devices = composite.members.iter().flatten().map(|member| {
            match &self.tables.nexthop(member.nexthop)?.action {
                NexthopAction::Encap(encap) => Some(encap.vif),
                _ => None,
            }
        });
        let first = devices.next()??;
        devices.all(|device| device.is_some()).then_some(first)
    }

    /// The key of a packet, from its layer 3 header on, as it would be without aggregation.
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
    if be16(quoted, 6).unwrap_or(0) & 0x1fff != 0 && (has_ports(protocol) || protocol == ICMP) {
        // What tells the flow is in another fragment, which is not quoted.
        return Err(DropReason::Misc.into());
    }
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
    let (protocol, at, later) = inet6_payload(bytes)?;
    if later {
        let portless = FlowKey::inet6(protocol, [0; 4], nexthop, source, destination);
        return Ok(if has_ports(protocol) || protocol == ICMPV6 {
            Keyed::LaterFragment(portless)
        } else {
            Keyed::Key(portless)
        });
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

/// Protocol and position of what an IPv6 packet carries, and whether that is the rest of a fragmented datagram.
fn inet6_payload(bytes: &[u8]) -> Step<(u8, usize, bool)> {
    let protocol = *bytes.get(6).ok_or(DropReason::Misc)?;
    if protocol != FRAGMENT_HEADER {
        return Ok((protocol, 40, false));
    }
    let [protocol, _, high, low] = array(bytes, 40).ok_or(DropReason::Misc)?;
    Ok((protocol, 48, u16::from_be_bytes([high, low]) >> 3 != 0))
}

fn inet6_quoted(quoted: &[u8], nexthop: NexthopId) -> Step<Keyed> {
    let (Some(source), Some(destination)) = (array(quoted, 8), array(quoted, 24)) else {
        return Err(DropReason::Misc.into());
    };
    let (protocol, at, later) = inet6_payload(quoted)?;
    if later && (has_ports(protocol) || protocol == ICMPV6) {
        return Err(DropReason::Misc.into());
    }
    let l4 = quoted.get(at..).unwrap_or_default();
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
