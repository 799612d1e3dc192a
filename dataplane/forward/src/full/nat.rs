//! Address and port translation by the reverse flow's key (forwarding.md 6.7).

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{FlowFlags, FlowKey, SharedFlow, Translation};
use vr_tables::nexthop::NexthopFlags;
use vr_types::{DropReason, FlowIndex};
use vr_wire::checksum;

use super::flow::Entry;
use super::ip::inet_header_len;
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16, put};
use crate::verdict::Step;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// Where the addresses and the payload of an IP header are.
#[derive(Clone, Copy)]
struct Layout {
    header: usize,
    source: usize,
    destination: usize,
    address: usize,
    protocol: u8,
    /// The transport header is in this packet.
    first_fragment: bool,
}

fn layout(bytes: &[u8], inet: bool) -> Option<Layout> {
    if inet {
        let header = inet_header_len(bytes).ok()?;
        let first_fragment = be16(bytes, 6)? & 0x1fff == 0;
        Some(Layout { header, source: 12, destination: 16, address: 4, protocol: bytes[9], first_fragment })
    } else {
        let (mut header, mut protocol, mut first_fragment) = (40, *bytes.get(6)?, true);
        if protocol == 44 {
            protocol = *bytes.get(40)?;
            first_fragment = be16(bytes, 42)? >> 3 == 0;
            header = 48;
        }
        (bytes.len() >= 40).then_some(Layout {
            header,
            source: 8,
            destination: 24,
            address: 16,
            protocol,
            first_fragment,
        })
    }
}

/// The new values of a packet's fields.
struct Rewrite {
    flags: FlowFlags,
    key_source: IpAddr,
    source: IpAddr,
    destination: IpAddr,
    source_port: [u8; 2],
    destination_port: [u8; 2],
}

impl Rewrite {
    fn new(flags: FlowFlags, key: &FlowKey, reverse: &FlowKey) -> Self {
        Self {
            flags,
            key_source: key.source(),
            source: reverse.destination(),
            destination: reverse.source(),
            source_port: reverse.destination_port(),
            destination_port: reverse.source_port(),
        }
    }

    /// The same for packets with exactly these addresses and ports; `None` for IPv6.
    fn compiled(&self, key: &FlowKey) -> Option<Translation> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (key.source(), key.destination()) else {
            return None;
        };
        let choose = |flag, new, old| if self.flags.contains(flag) { new } else { old };
        let new_source = choose(FlowFlags::SNAT, self.source, key.source());
        let new_destination = choose(FlowFlags::DNAT, self.destination, key.destination());
        let (IpAddr::V4(new_source), IpAddr::V4(new_destination)) = (new_source, new_destination) else {
            return None;
        };
        let join = |a: [u8; 4], b: [u8; 4]| [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3]];
        let addresses = join(new_source.octets(), new_destination.octets());
        let mut sum = Delta::default();
        for (flag, old, new) in
            [(FlowFlags::SNAT, source, new_source), (FlowFlags::DNAT, destination, new_destination)]
        {
            if self.flags.contains(flag) {
                sum.replace(&old.octets(), &new.octets());
            }
        }
        let address_delta = Delta::fold(sum.0);
        let old = [key.source_port(), key.destination_port()];
        let mut new = old;
        for (side, flag, port) in
            [(0, FlowFlags::SPAT, self.source_port), (1, FlowFlags::DPAT, self.destination_port)]
        {
            if self.flags.contains(flag) {
                sum.replace(&old[side], &port);
                new[side] = port;
            }
        }
        let [[a, b], [c, d]] = new;
        Some(Translation { addresses, ports: [a, b, c, d], address_delta, delta: Delta::fold(sum.0) })
    }
}

impl Full<'_> {
    /// Rewrites the packet as its entry says. Gives what was written, if that may be compiled: the entry and its
    /// reverse have to be linked to each other, so that the one is told when the other goes.
    pub(super) fn nat(
        &mut self,
        pkt: &mut Pkt,
        index: FlowIndex,
        entry: &Entry,
    ) -> Step<Option<Translation>> {
        let linked = self.flows.shared(entry.reverse);
        let key = self.flows.shared(index).and_then(SharedFlow::key);
        let (Some(key), Some(reverse)) = (key, linked.and_then(SharedFlow::key)) else {
            return Err(DropReason::FlowNatNoRflow.into());
        };
        let rewrite = Rewrite::new(entry.flags, &key, &reverse);
        let inet = pkt.kind == Kind::Inet;
        let (partial, diagnostic) = (pkt.offload.needs_csum, pkt.diagnostic);
        translate(pkt.l3_mut(), inet, &rewrite, partial, diagnostic).ok_or(DropReason::Misc)?;
        let moved = self.look_up_again(pkt, entry);
        let links_back = linked.is_some_and(|reverse| reverse.reverse.load(Relaxed) == index.0);
        Ok(if links_back && !moved { rewrite.compiled(&key) } else { None })
    }

    /// A packet from the fabric whose destination changed with its VRF takes the route of the new one. Says whether it
    /// is such a packet.
    fn look_up_again(&self, pkt: &mut Pkt, entry: &Entry) -> bool {
        if !entry.flags.contains(FlowFlags::VRFT) {
            return false;
        }
        let Some(nexthop) = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot)) else { return false };
        if nexthop.vrf == pkt.vrf && !nexthop.flags.contains(NexthopFlags::ROUTE_LOOKUP) {
            return false;
        }
        let bytes = pkt.l3();
        let route = match pkt.kind {
            Kind::Inet => array(bytes, 16).map(|address| self.tables.route(pkt.vrf, address)),
            _ => array(bytes, 24).map(|address| self.tables.route6(pkt.vrf, address)),
        };
        if let Some(route) = route {
            pkt.nexthop = Some(route.nexthop);
            if let Some(label) = route.label() {
                pkt.label = Some(label);
                pkt.label_is_vni = false;
            }
        }
        true
    }
}

/// Overwrites an address and returns its old bytes.
fn set_address(bytes: &mut [u8], at: usize, len: usize, new: IpAddr) -> Option<[u8; 16]> {
    let place = bytes.get_mut(at..at + len)?;
    let mut old = [0; 16];
    old[..len].copy_from_slice(place);
    match new {
        IpAddr::V4(new) if len == 4 => place.copy_from_slice(&new.octets()),
        IpAddr::V6(new) if len == 16 => place.copy_from_slice(&new.octets()),
        _ => return None,
    }
    Some(old)
}

fn translate(bytes: &mut [u8], inet: bool, rewrite: &Rewrite, partial: bool, diagnostic: bool) -> Option<()> {
    let at = layout(bytes, inet)?;
    let is_error = at.first_fragment
        && match at.protocol {
            ICMP => matches!(bytes.get(at.header), Some(3 | 11)),
            ICMPV6 => bytes.get(at.header).is_some_and(|kind| *kind < 128),
            _ => false,
        };
    if is_error {
        translate_quoted(bytes, at, inet, rewrite)?;
    }
    let source_is_flows =
        bytes.get(at.source..at.source + at.address).is_some_and(|source| match rewrite.key_source {
            IpAddr::V4(key) => source == key.octets(),
            IpAddr::V6(key) => source == key.octets(),
        });
    let mut sum = Delta::default();
    if rewrite.flags.contains(FlowFlags::SNAT) && source_is_flows {
        let old = set_address(bytes, at.source, at.address, rewrite.source)?;
        sum.replace(&old[..at.address], bytes.get(at.source..at.source + at.address)?);
    }
    if rewrite.flags.contains(FlowFlags::DNAT) {
        let old = set_address(bytes, at.destination, at.address, rewrite.destination)?;
        sum.replace(&old[..at.address], bytes.get(at.destination..at.destination + at.address)?);
    }
    if inet {
        let check = be16(bytes, 10)?;
        put(bytes, 10, sum.apply(check).to_be_bytes());
    }
    if !at.first_fragment {
        return Some(());
    }
    let addresses_only = sum;
    if matches!(at.protocol, TCP | UDP) {
        if rewrite.flags.contains(FlowFlags::SPAT) {
            let old: [u8; 2] = array(bytes, at.header)?;
            put(bytes, at.header, rewrite.source_port);
            sum.replace(&old, &rewrite.source_port);
        }
        if rewrite.flags.contains(FlowFlags::DPAT) {
            let old: [u8; 2] = array(bytes, at.header + 2)?;
            put(bytes, at.header + 2, rewrite.destination_port);
            sum.replace(&old, &rewrite.destination_port);
        }
    }
    let field = match at.protocol {
        TCP => at.header + 16,
        UDP => at.header + 6,
        ICMPV6 if !is_error => at.header + 2,
        _ => return Some(()),
    };
    let check = be16(bytes, field)?;
    if diagnostic || at.protocol == UDP && check == 0 {
        return Some(());
    }
    let check = if partial {
        addresses_only.apply_to_pseudo_sum(check)
    } else {
        match sum.apply(check) {
            0 if at.protocol == UDP => 0xffff,
            check => check,
        }
    };
    put(bytes, field, check.to_be_bytes());
    Some(())
}

/// Translates the packet that an ICMP error quotes, in the opposite sense, and the error's checksum.
fn translate_quoted(bytes: &mut [u8], outer: Layout, inet: bool, rewrite: &Rewrite) -> Option<()> {
    let start = outer.header + 8;
    let quoted = bytes.get_mut(start..)?;
    let at = layout(quoted, inet)?;
    if rewrite.flags.contains(FlowFlags::SNAT) {
        set_address(quoted, at.destination, at.address, rewrite.source)?;
    }
    if rewrite.flags.contains(FlowFlags::DNAT) {
        set_address(quoted, at.source, at.address, rewrite.destination)?;
    }
    if inet {
        put(quoted, 10, [0, 0]);
        let check = checksum::of(quoted.get(..at.header)?);
        put(quoted, 10, check.to_be_bytes());
    }
    if matches!(at.protocol, TCP | UDP) && at.first_fragment {
        if rewrite.flags.contains(FlowFlags::SPAT) {
            put(quoted, at.header + 2, rewrite.source_port);
        }
        if rewrite.flags.contains(FlowFlags::DPAT) {
            put(quoted, at.header, rewrite.destination_port);
        }
    }
    let message = bytes.get_mut(outer.header..)?;
    put(message, 2, [0, 0]);
    let check = if inet {
        checksum::of(message)
    } else {
        // The addresses of the error itself change too; its sum is made with the new ones.
        let (source, destination) = match (rewrite.source, rewrite.destination) {
            (IpAddr::V6(source), IpAddr::V6(destination)) => (source.octets(), destination.octets()),
            _ => return None,
        };
        let current: ([u8; 16], [u8; 16]) = (array(bytes, 8)?, array(bytes, 24)?);
        let keeps_source =
            !rewrite.flags.contains(FlowFlags::SNAT) || IpAddr::from(current.0) != rewrite.key_source;
        let source = if keeps_source { current.0 } else { source };
        let destination = if rewrite.flags.contains(FlowFlags::DNAT) { destination } else { current.1 };
        checksum::inet6_l4(&source, &destination, ICMPV6, bytes.get(outer.header..)?)
    };
    put(bytes, outer.header + 2, check.to_be_bytes());
    Some(())
}

/// Difference of a ones' complement sum.
#[derive(Clone, Copy, Default)]
struct Delta(u32);

impl Delta {
    fn replace(&mut self, old: &[u8], new: &[u8]) {
        for (old, new) in old.as_chunks::<2>().0.iter().zip(new.as_chunks::<2>().0) {
            self.0 += u32::from(!u16::from_be_bytes(*old)) + u32::from(u16::from_be_bytes(*new));
        }
    }

    fn fold(mut sum: u32) -> u16 {
        while sum > 0xffff {
            sum = (sum & 0xffff) + (sum >> 16);
        }
        sum as u16
    }

    /// RFC 1624: a complete checksum.
    fn apply(self, check: u16) -> u16 {
        !Self::fold(u32::from(!check) + Self::fold(self.0) as u32)
    }

    /// A checksum field that holds a pseudo header sum only.
    fn apply_to_pseudo_sum(self, sum: u16) -> u16 {
        Self::fold(u32::from(sum) + u32::from(Self::fold(self.0)))
    }
}
