//! Address and port translation by the reverse flow's key (forwarding.md 6.7).

use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{FlowFlags, FlowKey, SharedFlow, Translation};
use vr_tables::nexthop::NexthopFlags;
use vr_types::{DropReason, FlowIndex};
use vr_wire::checksum;

use super::flow::Entry;
use super::transport::{Layout, layout};
use super::{Full, Kind, Pkt, quoted};
use crate::bytes::{array, be16, put};
use crate::verdict::Step;

pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

/// The new values of a packet's fields.
pub(super) struct Rewrite {
    pub(super) flags: FlowFlags,
    /// Protocol of the flow.
    pub(super) protocol: u8,
    key_source: IpAddr,
    pub(super) source: IpAddr,
    pub(super) destination: IpAddr,
    pub(super) source_port: [u8; 2],
    pub(super) destination_port: [u8; 2],
}

impl Rewrite {
    fn new(flags: FlowFlags, key: &FlowKey, reverse: &FlowKey) -> Self {
        Self {
            flags,
            protocol: key.protocol(),
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
        self.look_up_again(pkt, entry);
        let links_back = linked.is_some_and(|reverse| reverse.reverse.load(Relaxed) == index.0);
        Ok(if links_back { rewrite.compiled(&key) } else { None })
    }

    /// A packet from the fabric whose destination changed with its VRF takes the route of the new one.
    fn look_up_again(&self, pkt: &mut Pkt, entry: &Entry) {
        if !entry.flags.contains(FlowFlags::VRFT) {
            return;
        }
        let Some(nexthop) = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot)) else { return };
        if nexthop.vrf == pkt.vrf && !nexthop.flags.contains(NexthopFlags::ROUTE_LOOKUP) {
            return;
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
    }
}

/// Overwrites an address and returns its old bytes.
pub(super) fn set_address(bytes: &mut [u8], at: usize, len: usize, new: IpAddr) -> Option<[u8; 16]> {
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
    let error =
        if quoted::is_error(bytes, at) { Some(quoted::translate(bytes, at, inet, rewrite)?) } else { None };
    let source_is_flows =
        bytes.get(at.source..at.source + at.address).is_some_and(|source| match rewrite.key_source {
            IpAddr::V4(key) => source == key.octets(),
            IpAddr::V6(key) => source == key.octets(),
        });
    let mut addresses = Delta::default();
    if rewrite.flags.contains(FlowFlags::SNAT) && source_is_flows {
        let old = set_address(bytes, at.source, at.address, rewrite.source)?;
        addresses.replace(&old[..at.address], bytes.get(at.source..at.source + at.address)?);
    }
    if rewrite.flags.contains(FlowFlags::DNAT) {
        let old = set_address(bytes, at.destination, at.address, rewrite.destination)?;
        addresses.replace(&old[..at.address], bytes.get(at.destination..at.destination + at.address)?);
    }
    if inet {
        let check = be16(bytes, 10)?;
        put(bytes, 10, addresses.apply(check).to_be_bytes());
    }
    if !at.first_fragment {
        return Some(());
    }
    let ports = if error.is_none() { translate_ports(bytes, at, rewrite)? } else { Delta::default() };
    // What the checksum covers besides the payload: a pseudo header with the addresses, but for ICMP.
    let (field, pseudo) = match at.protocol {
        TCP => (at.header + 16, addresses),
        UDP => (at.header + 6, addresses),
        ICMPV6 => (at.header + 2, addresses),
        ICMP if error.is_some() => (at.header + 2, Delta::default()),
        _ => return Some(()),
    };
    let check = be16(bytes, field)?;
    if diagnostic || at.protocol == UDP && check == 0 {
        return Some(());
    }
    let check = if partial {
        pseudo.apply_to_pseudo_sum(check)
    } else {
        let mut all = pseudo;
        all.add(ports);
        all.add(error.unwrap_or_default());
        let check = all.apply(check);
        if at.protocol == UDP { checksum::for_udp(check) } else { check }
    };
    put(bytes, field, check.to_be_bytes());
    Some(())
}

/// Translates the ports of a packet whose transport header the flow's key was made of.
fn translate_ports(bytes: &mut [u8], at: Layout, rewrite: &Rewrite) -> Option<Delta> {
    let mut sum = Delta::default();
    if !matches!(at.protocol, TCP | UDP) || at.protocol != rewrite.protocol {
        return Some(sum);
    }
    for (flag, place, new) in [
        (FlowFlags::SPAT, at.header, rewrite.source_port),
        (FlowFlags::DPAT, at.header + 2, rewrite.destination_port),
    ] {
        if rewrite.flags.contains(flag) {
            let old: [u8; 2] = array(bytes, place)?;
            put(bytes, place, new);
            sum.replace(&old, &new);
        }
    }
    Some(sum)
}

/// Difference of a ones' complement sum.
#[derive(Clone, Copy, Default)]
pub(super) struct Delta(u32);

impl Delta {
    pub(super) fn add(&mut self, other: Self) {
        self.0 += u32::from(Self::fold(other.0));
    }

    pub(super) fn replace(&mut self, old: &[u8], new: &[u8]) {
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
    pub(super) fn apply(self, check: u16) -> u16 {
        !Self::fold(u32::from(!check) + u32::from(Self::fold(self.0)))
    }

    /// A checksum field that holds a pseudo header sum only.
    fn apply_to_pseudo_sum(self, sum: u16) -> u16 {
        Self::fold(u32::from(sum) + u32::from(Self::fold(self.0)))
    }
}
