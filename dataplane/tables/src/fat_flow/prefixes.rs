//! Rules for addresses in prefixes: they keep some leading bits of the address.

use std::net::IpAddr;

use super::ports::{Masked, Ports};
use super::{Ignored, Packet, Rule};

/// What is taken out of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mask {
    /// Source and destination port.
    pub(super) ports: Masked,
    /// How many leading bits of the addresses stay.
    pub(super) source: u8,
    pub(super) destination: u8,
}

impl Mask {
    pub(super) const fn ignoring(ignored: Ignored, ports: Masked) -> Self {
        let (source, destination) = match ignored {
            Ignored::Nothing => (ALL, ALL),
            Ignored::Source => (0, ALL),
            Ignored::Destination => (ALL, 0),
        };
        Self { ports, source, destination }
    }
}

/// All bits of an address of either family.
const ALL: u8 = 128;

/// The bits of an address, the first one at the top; an IPv4 address has 32.
pub(super) fn address_bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u128::from(address.to_bits()) << 96,
        IpAddr::V6(address) => address.to_bits(),
    }
}

/// A prefix, its bits at the top.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Prefix {
    len: u8,
    bits: u128,
}

impl Prefix {
    fn new(bits: u128, len: u32) -> Self {
        let len = len.min(128) as u8;
        Self { len, bits: bits & mask(len) }
    }

    /// A prefix whose address is four bytes as in memory.
    pub(super) fn inet(raw: u32, len: u32) -> Self {
        Self::new(u128::from(u32::from_be_bytes(raw.to_ne_bytes())) << 96, len.min(32))
    }

    /// A prefix whose address is twice eight bytes as in memory.
    pub(super) fn inet6(upper: u64, lower: u64, len: u32) -> Self {
        let [upper, lower] = [upper, lower].map(|raw| u128::from(u64::from_be_bytes(raw.to_ne_bytes())));
        Self::new(upper << 64 | lower, len)
    }

    pub(super) fn contains(self, address: u128) -> bool {
        address & mask(self.len) == self.bits
    }
}

fn mask(len: u8) -> u128 {
    !u128::MAX.checked_shr(u32::from(len)).unwrap_or(0)
}

/// Values by prefix, sorted.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Longest<V>(Vec<(Prefix, V)>);

impl<V> Default for Longest<V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<V> Longest<V> {
    fn entry(&mut self, prefix: Prefix, fresh: impl FnOnce() -> V) -> &mut V {
        let place = self.0.binary_search_by_key(&prefix, |(prefix, _)| *prefix).unwrap_or_else(|place| {
            self.0.insert(place, (prefix, fresh()));
            place
        });
        &mut self.0[place].1
    }

    /// The value of the longest prefix that contains the address.
    fn find(&self, address: u128) -> Option<&V> {
        let mut end = self.0.len();
        while let Some((Prefix { len, .. }, _)) = self.0[..end].last() {
            // All prefixes of this length, which stand together.
            let start = self.0[..end].partition_point(|(prefix, _)| prefix.len < *len);
            let wanted = Prefix { len: *len, bits: address & mask(*len) };
            if let Ok(place) = self.0[start..end].binary_search_by_key(&wanted, |(prefix, _)| *prefix) {
                return Some(&self.0[start + place].1);
            }
            end = start;
        }
        None
    }
}

/// What one prefix says of one port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Leaf {
    /// How many bits of the address stay, and what else is left out.
    single: Option<(u8, Ignored)>,
    /// By prefix of the other address: how many bits of both stay.
    both: Longest<(u8, u8)>,
}

/// The rules of one family.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PrefixRules {
    sources: Longest<Ports<Leaf>>,
    destinations: Longest<Ports<Leaf>>,
}

/// A prefix and how many bits of an address in it stay.
type Aggregate = (Prefix, u8);

impl PrefixRules {
    pub(super) fn add_source(&mut self, rule: Rule, (prefix, kept): Aggregate) {
        let single = Some((kept, rule.ignored()));
        self.sources.entry(prefix, Ports::default).update(rule, Leaf::default, |leaf| leaf.single = single);
    }

    pub(super) fn add_destination(&mut self, rule: Rule, (prefix, kept): Aggregate) {
        let single = Some((kept, rule.ignored()));
        self.destinations
            .entry(prefix, Ports::default)
            .update(rule, Leaf::default, |leaf| leaf.single = single);
    }

    pub(super) fn add_both(&mut self, rule: Rule, source: Aggregate, destination: Aggregate) {
        let kept = (source.1, destination.1);
        self.sources.entry(source.0, Ports::default).update(rule, Leaf::default, |leaf| {
            *leaf.both.entry(destination.0, || kept) = kept;
        });
    }

    /// The mask for a packet: by its source, else by its destination, else by both.
    pub(super) fn find(&self, packet: &Packet) -> Option<Mask> {
        let single = |leaf: &Leaf| leaf.single;
        let source = self.sources.find(packet.source);
        let by_source = || {
            let ((kept, ignored), ports) = source?.find(packet.class, packet.ports, single)?;
            let mask = Mask::ignoring(ignored, ports);
            Some(Mask { source: mask.source.min(kept), ..mask })
        };
        let by_destination = || {
            let rules = self.destinations.find(packet.destination)?;
            let ((kept, ignored), ports) = rules.find(packet.class, packet.ports, single)?;
            let mask = Mask::ignoring(ignored, ports);
            Some(Mask { destination: mask.destination.min(kept), ..mask })
        };
        let by_both = || {
            let both = |leaf: &Leaf| leaf.both.find(packet.destination).copied();
            let ((source, destination), ports) = source?.find(packet.class, packet.ports, both)?;
            Some(Mask { ports, source, destination })
        };
        by_source().or_else(by_destination).or_else(by_both)
    }
}
