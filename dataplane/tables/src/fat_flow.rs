//! Aggregation of flows at an interface, in the form that packets need (forwarding.md 6.11).
//!
//! The flows of a fat interface have keys in which ports are zero and addresses are masked. Source and destination of
//! rules are those of packets that come *from* the interface.

mod ports;
mod prefixes;

use std::sync::Arc;

use ports::{Class, Ports};
use prefixes::{Mask, Prefix, PrefixRules};
use vr_types::Release;

use crate::flow::FlowKey;
use crate::vif::FatFlow;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;

/// An address that a rule leaves out of the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ignored {
    Nothing,
    Source,
    Destination,
}

/// One rule of the configuration, taken apart.
#[derive(Clone, Copy)]
struct Rule(u32);

impl Rule {
    const fn port(self) -> u16 {
        self.0 as u16
    }

    const fn protocol(self) -> u8 {
        (self.0 >> 16) as u8
    }

    const fn ignored(self) -> Ignored {
        match (self.0 >> 24) & 0xf {
            1 => Ignored::Source,
            2 => Ignored::Destination,
            _ => Ignored::Nothing,
        }
    }

    const fn aggregation(self) -> u32 {
        self.0 >> 28
    }
}

/// The rules of one interface.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FatRules {
    excluded: [Vec<Prefix>; 2],
    /// By class: what rules without prefixes say of a port; for protocols without ports, of the protocol.
    plain: Ports<Ignored>,
    prefixes: [PrefixRules; 2],
}

/// The addresses of a key, seen from the interface.
#[derive(Clone, Copy)]
struct Packet {
    inet6: bool,
    class: Class,
    ports: [u16; 2],
    source: u128,
    destination: u128,
}

impl FatRules {
    /// The rules of a configuration, as an agent of that release means them; `None` if there are none. R2.20 knows
    /// protocols and ports only.
    #[must_use]
    pub fn new(config: &FatFlow, release: Release) -> Option<Arc<Self>> {
        if config.rules.is_empty() {
            return None;
        }
        let mut rules = Self::default();
        for (number, rule) in config.rules.iter().enumerate() {
            if release == Release::R220 {
                rules.plain.set(Rule(rule & 0xff_ffff), Ignored::Nothing);
            } else {
                rules.add(Rule(*rule), config.source.get(number), config.destination.get(number));
            }
        }
        if release == Release::R220 {
            rules.plain.without_any_port();
        } else {
            rules.exclude(config);
        }
        Some(Arc::new(rules))
    }

    fn add(&mut self, rule: Rule, source: Option<&PrefixWords>, destination: Option<&PrefixWords>) {
        let aggregation = rule.aggregation();
        if aggregation == 0 {
            return self.plain.set(rule, rule.ignored());
        }
        // Three kinds for IPv6, then three for IPv4: by destination, by source, by both.
        let inet6 = aggregation <= 3;
        let prefix = |words: Option<&PrefixWords>| words.map(|words| aggregated(words, inet6));
        let rules = &mut self.prefixes[usize::from(inet6)];
        match (aggregation, prefix(source), prefix(destination)) {
            (1 | 4, _, Some(destination)) => rules.add_destination(rule, destination),
            (2 | 5, Some(source), _) => rules.add_source(rule, source),
            (3 | 6, Some(source), Some(destination)) => rules.add_both(rule, source, destination),
            _ => {}
        }
    }

    fn exclude(&mut self, config: &FatFlow) {
        let inet = config.exclude_ip.iter().map(|word| Prefix::inet(*word as u32, (word >> 32) as u32));
        let inet6 = config.exclude_ip6.iter();
        self.excluded = [
            inet.collect(),
            inet6.map(|(upper, lower, len)| Prefix::inet6(*upper, *lower, u32::from(*len))).collect(),
        ];
    }

    /// The key under which the flow of a packet with `key` is found; `to_interface` says that the packet goes to
    /// the interface, and does not come from it.
    #[must_use]
    pub fn mask(&self, key: &FlowKey, to_interface: bool) -> FlowKey {
        let packet = Packet::of(key, to_interface);
        let excluded = self.excluded[usize::from(packet.inet6)]
            .iter()
            .any(|prefix| prefix.contains(packet.source) || prefix.contains(packet.destination));
        if excluded {
            return *key;
        }
        let mask = self.plain.find(packet.class, packet.ports, |ignored| Some(*ignored));
        let mask = mask.map(|(ignored, ports)| Mask::ignoring(ignored, ports));
        let mask = mask.or_else(|| self.prefixes[usize::from(packet.inet6)].find(&packet));
        mask.map_or(*key, |mask| apply(key, mask, to_interface))
    }
}

/// A prefix of the configuration: first and last eight bytes, mask length, aggregate length.
type PrefixWords = (u64, u64, u8, u8);

/// The prefix, and how many bits of an address in it are kept.
fn aggregated((upper, lower, len, kept): &PrefixWords, inet6: bool) -> (Prefix, u8) {
    let prefix = if inet6 {
        Prefix::inet6(*upper, *lower, u32::from(*len))
    } else {
        Prefix::inet(*lower as u32, u32::from(*len))
    };
    (prefix, *kept)
}

impl Packet {
    fn of(key: &FlowKey, to_interface: bool) -> Self {
        let protocol = if key.protocol() == ICMPV6 { ICMP } else { key.protocol() };
        let (source, destination) =
            (prefixes::address_bits(key.source()), prefixes::address_bits(key.destination()));
        let (source, destination) = if to_interface { (destination, source) } else { (source, destination) };
        Self {
            inet6: key.is_inet6(),
            class: Class::of(protocol),
            ports: [key.source_port(), key.destination_port()].map(u16::from_be_bytes),
            source,
            destination,
        }
    }
}

fn apply(key: &FlowKey, mask: Mask, to_interface: bool) -> FlowKey {
    let mut words = *key.words();
    let [keeps_source_port, keeps_destination_port] = mask.ports.map(|masked| !masked);
    if !keeps_source_port {
        words[1] &= 0xffff_0000;
    }
    if !keeps_destination_port {
        words[1] &= 0x0000_ffff;
    }
    let (source, destination) =
        if to_interface { (mask.destination, mask.source) } else { (mask.source, mask.destination) };
    let len = if key.is_inet6() { 4 } else { 1 };
    for (first, kept) in [(3, source), (3 + len, destination)] {
        for (position, word) in words[first..first + len].iter_mut().enumerate() {
            let kept = u32::from(kept).saturating_sub(32 * position as u32).min(32);
            // The word holds bytes as on the wire.
            *word &= (!u32::MAX.checked_shr(kept).unwrap_or(0)).swap_bytes();
        }
    }
    FlowKey::from_words(words).unwrap_or(*key)
}

#[cfg(test)]
mod tests;
