use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;
use vr_types::{NexthopId, Release};

use super::FatRules;
use crate::flow::FlowKey;
use crate::vif::FatFlow;

const TCP: u8 = 6;
const UDP: u8 = 17;

/// Aggregation of rules.
const BY_DESTINATION6: u32 = 1 << 28;
const BY_SOURCE: u32 = 5 << 28;
const BY_DESTINATION: u32 = 4 << 28;
const BY_BOTH: u32 = 6 << 28;
const IGNORE_SOURCE: u32 = 1 << 24;
const IGNORE_DESTINATION: u32 = 2 << 24;

fn rule(protocol: u8, port: u16) -> u32 {
    u32::from(protocol) << 16 | u32::from(port)
}

type Ends = ([u8; 4], u16, [u8; 4], u16);

fn key(protocol: u8, (source, sport, destination, dport): Ends) -> FlowKey {
    let ([a, b], [c, d]) = (sport.to_be_bytes(), dport.to_be_bytes());
    FlowKey::inet(protocol, [a, b, c, d], NexthopId(9), source, destination)
}

fn words((address, len, kept): ([u8; 4], u8, u8)) -> (u64, u64, u8, u8) {
    (0, u64::from(u32::from_ne_bytes(address)), len, kept)
}

fn words6((address, len, kept): (&str, u8, u8)) -> (u64, u64, u8, u8) {
    let bytes = address.parse::<Ipv6Addr>().unwrap().octets();
    let [upper, lower] = [0, 8].map(|at| u64::from_ne_bytes(*bytes[at..].first_chunk().unwrap()));
    (upper, lower, len, kept)
}

const NO_PREFIX: (u64, u64, u8, u8) = (0, 0, 0, 0);

fn rules(config: &FatFlow) -> FatRules {
    FatRules::new(config, Release::Current).unwrap().as_ref().clone()
}

/// Rules without prefixes.
fn ports(rules: &[u32]) -> FatFlow {
    FatFlow { rules: rules.to_vec(), ..FatFlow::default() }
}

/// From the interface: the key of the aggregate.
fn outwards(config: &FatFlow, protocol: u8, ends: Ends) -> Ends {
    fields(&rules(config).mask(&key(protocol, ends), false))
}

fn fields(key: &FlowKey) -> Ends {
    let (IpAddr::V4(source), IpAddr::V4(destination)) = (key.source(), key.destination()) else {
        panic!("not IPv4");
    };
    let [sport, dport] = [key.source_port(), key.destination_port()].map(u16::from_be_bytes);
    (source.octets(), sport, destination.octets(), dport)
}

const A: [u8; 4] = [10, 1, 2, 3];
const B: [u8; 4] = [20, 4, 5, 6];

#[test]
fn nothing_is_masked_without_a_rule_for_the_protocol() {
    assert!(FatRules::new(&FatFlow::default(), Release::Current).is_none());
    assert_eq!(outwards(&ports(&[rule(UDP, 53)]), TCP, (A, 5000, B, 53)), (A, 5000, B, 53));
    assert_eq!(outwards(&ports(&[rule(UDP, 53)]), UDP, (A, 5000, B, 54)), (A, 5000, B, 54));
}

#[test]
fn a_rule_for_one_port_masks_the_other() {
    let config = ports(&[rule(UDP, 53), rule(UDP, 80)]);
    assert_eq!(outwards(&config, UDP, (A, 5000, B, 53)), (A, 0, B, 53));
    assert_eq!(outwards(&config, UDP, (A, 53, B, 5000)), (A, 53, B, 0));
    assert_eq!(outwards(&config, UDP, (A, 80, B, 53)), (A, 0, B, 53), "the smaller one goes first");
    assert_eq!(outwards(&config, UDP, (A, 53, B, 80)), (A, 53, B, 0), "the smaller one goes first");
    assert_eq!(outwards(&config, UDP, (A, 53, B, 53)), (A, 0, B, 53), "the destination of two equal ones");
}

#[test]
fn a_rule_for_port_zero_masks_both_ports_of_those_without_a_rule_of_their_own() {
    let config = ports(&[rule(TCP, 0), rule(TCP, 22)]);
    assert_eq!(outwards(&config, TCP, (A, 5000, B, 80)), (A, 0, B, 0));
    assert_eq!(outwards(&config, TCP, (A, 5000, B, 22)), (A, 0, B, 22));
}

#[test]
fn addresses_are_ignored_as_seen_from_the_interface() {
    let zero = [0; 4];
    for (ignored, from, to) in [
        (IGNORE_SOURCE, (zero, 0, B, 53), (B, 53, zero, 0)),
        (IGNORE_DESTINATION, (A, 0, zero, 53), (zero, 53, A, 0)),
        (3 << 24, (A, 0, B, 53), (B, 53, A, 0)),
    ] {
        let rules = rules(&ports(&[rule(UDP, 53) | ignored]));
        assert_eq!(fields(&rules.mask(&key(UDP, (A, 5000, B, 53)), false)), from);
        assert_eq!(fields(&rules.mask(&key(UDP, (B, 53, A, 5000)), true)), to);
    }
}

#[test]
fn protocols_without_ports_have_rules_by_protocol() {
    let config = ports(&[rule(1, 0) | IGNORE_DESTINATION]);
    assert_eq!(outwards(&config, 1, (A, 0x1234, B, 0)), (A, 0, [0; 4], 0));
    assert_eq!(outwards(&config, 47, (A, 0, B, 0)), (A, 0, B, 0));
    let echo = FlowKey::inet6(58, [1, 2, 0, 129], NexthopId(9), [1; 16], [2; 16]);
    let masked = rules(&config).mask(&echo, false);
    assert_eq!((masked.source_port(), masked.destination_port()), ([0; 2], [0; 2]), "ICMPv6 counts as ICMP");
    assert!(masked.destination().is_unspecified() && masked.protocol() == 58);
}

#[test]
fn excluded_prefixes_have_ordinary_flows() {
    let link_local = u64::from(u32::from_ne_bytes([169, 254, 0, 0])) | 16 << 32;
    let own = words6(("fe80::", 10, 0));
    let config = FatFlow {
        exclude_ip: vec![link_local],
        exclude_ip6: vec![(own.0, own.1, 10)],
        ..ports(&[rule(UDP, 0)])
    };
    for ends in [([169, 254, 1, 1], 1, B, 2), (A, 1, [169, 254, 169, 254], 2)] {
        assert_eq!(outwards(&config, UDP, ends), ends);
    }
    assert_eq!(outwards(&config, UDP, (A, 1, B, 2)), (A, 0, B, 0));
    let key6 = |last: &str| {
        let [a, b] = ["2001:db8::1", last].map(|address| address.parse::<Ipv6Addr>().unwrap().octets());
        FlowKey::inet6(UDP, [0, 1, 0, 2], NexthopId(9), a, b)
    };
    let rules = rules(&config);
    assert_eq!(rules.mask(&key6("fe80::1"), false), key6("fe80::1"));
    assert_ne!(rules.mask(&key6("2001:db8::2"), false), key6("2001:db8::2"));
}

#[test]
fn source_prefixes_keep_some_bits() {
    let config = FatFlow {
        rules: vec![rule(UDP, 53) | IGNORE_DESTINATION | BY_SOURCE],
        source: vec![words(([10, 0, 0, 0], 8, 28))],
        destination: vec![NO_PREFIX],
        ..FatFlow::default()
    };
    assert_eq!(outwards(&config, UDP, ([10, 0, 0, 17], 5000, B, 53)), ([10, 0, 0, 16], 0, [0; 4], 53));
    assert_eq!(outwards(&config, UDP, ([11, 0, 0, 17], 5000, B, 53)), ([11, 0, 0, 17], 5000, B, 53));
    let reply = key(UDP, (B, 53, [10, 0, 0, 31], 5000));
    assert_eq!(fields(&rules(&config).mask(&reply, true)), ([0; 4], 53, [10, 0, 0, 16], 0));
}

#[test]
fn both_prefixes_have_to_match_and_single_ones_go_first() {
    let config = FatFlow {
        rules: vec![rule(TCP, 0) | BY_BOTH, rule(TCP, 22) | BY_DESTINATION],
        source: vec![words(([10, 0, 0, 0], 8, 28)), NO_PREFIX],
        destination: vec![words(([20, 0, 0, 0], 8, 24)), words(([20, 9, 0, 0], 16, 16))],
        ..FatFlow::default()
    };
    let from = [10, 0, 0, 31];
    assert_eq!(outwards(&config, TCP, (from, 9, [20, 1, 2, 3], 80)), ([10, 0, 0, 16], 0, [20, 1, 2, 0], 0));
    assert_eq!(outwards(&config, TCP, (from, 9, [21, 1, 2, 3], 80)), (from, 9, [21, 1, 2, 3], 80));
    assert_eq!(outwards(&config, TCP, (from, 9, [20, 9, 2, 3], 22)), (from, 0, [20, 9, 0, 0], 22));
}

#[test]
fn rules_for_ports_go_before_prefixes_and_the_longest_prefix_counts_alone() {
    let config = FatFlow {
        rules: vec![rule(UDP, 53), rule(UDP, 0) | BY_SOURCE, rule(UDP, 99) | BY_SOURCE],
        source: vec![NO_PREFIX, words(([10, 0, 0, 0], 8, 8)), words(([10, 1, 0, 0], 16, 16))],
        destination: vec![NO_PREFIX; 3],
        ..FatFlow::default()
    };
    assert_eq!(outwards(&config, UDP, (A, 7, B, 53)), (A, 0, B, 53));
    assert_eq!(outwards(&config, UDP, ([10, 2, 0, 1], 7, B, 8)), ([10, 0, 0, 0], 0, B, 0));
    assert_eq!(outwards(&config, UDP, (A, 7, B, 8)), (A, 7, B, 8), "the longest one has no rule for this");
    assert_eq!(outwards(&config, UDP, (A, 7, B, 99)), ([10, 1, 0, 0], 0, B, 99));
}

#[test]
fn inet6_prefixes_cross_words() {
    let config = FatFlow {
        rules: vec![rule(TCP, 443) | BY_DESTINATION6],
        source: vec![NO_PREFIX],
        destination: vec![words6(("2001:db8::", 32, 68))],
        ..FatFlow::default()
    };
    let bytes = |address: &str| address.parse::<Ipv6Addr>().unwrap().octets();
    let key = |destination: &str| {
        FlowKey::inet6(TCP, [0x13, 0x88, 1, 0xbb], NexthopId(9), bytes("fd00::1"), bytes(destination))
    };
    let masked = rules(&config).mask(&key("2001:db8:1:2:ffff:ffff:ffff:1"), false);
    assert_eq!(masked.destination().to_string(), "2001:db8:1:2:f000::");
    assert_eq!((masked.source_port(), masked.source().to_string()), ([0; 2], "fd00::1".to_owned()));
}

#[test]
fn r220_knows_protocols_and_ports() {
    let config = FatFlow {
        rules: vec![rule(UDP, 53) | IGNORE_SOURCE | BY_SOURCE, rule(TCP, 0)],
        exclude_ip: vec![0],
        ..FatFlow::default()
    };
    let rules = FatRules::new(&config, Release::R220).unwrap();
    let mask = |protocol, ends| fields(&rules.mask(&key(protocol, ends), false));
    assert_eq!(mask(UDP, (A, 5000, B, 53)), (A, 0, B, 53));
    assert_eq!(mask(TCP, (A, 5000, B, 80)), (A, 5000, B, 80), "port zero is one port");
}

fn any_rule() -> impl Strategy<Value = u32> {
    let protocol = prop_oneof![Just(TCP), Just(UDP), Just(132), Just(1), Just(47), Just(0)];
    (0..8u32, 0..4u32, protocol, 0..4u16)
        .prop_map(|(kind, ignored, protocol, port)| kind << 28 | ignored << 24 | rule(protocol, port))
}

proptest! {
    /// Whatever the rules: both directions of a conversation have keys that mirror each other, and fields stay or lose
    /// bits.
    #[test]
    fn both_directions_meet(
        list in prop::collection::vec((any_rule(), 0..34u8, 0..34u8, 0..34u8, 0..34u8), 1..8),
        protocol in prop_oneof![Just(TCP), Just(UDP), Just(1), Just(47)],
        ends in (any::<[bool; 8]>(), 0..4u16, any::<[bool; 8]>(), 0..4u16),
    ) {
        let address = |bits: [bool; 8]| u32::to_be_bytes(bits.iter().enumerate()
            .fold(0, |all, (i, bit)| all | u32::from(*bit) << (31 - 4 * i)));
        let prefix = |len, kept| words(([0x80, 0, 0, 0], len, kept));
        let config = FatFlow {
            rules: list.iter().map(|rule| rule.0).collect(),
            source: list.iter().map(|rule| prefix(rule.1, rule.2)).collect(),
            destination: list.iter().map(|rule| prefix(rule.3, rule.4)).collect(),
            ..FatFlow::default()
        };
        let rules = rules(&config);
        let (source, sport, destination, dport) = (address(ends.0), ends.1, address(ends.2), ends.3);
        let from = fields(&rules.mask(&key(protocol, (source, sport, destination, dport)), false));
        let to = fields(&rules.mask(&key(protocol, (destination, dport, source, sport)), true));
        if sport != dport {
            prop_assert_eq!(from, (to.2, to.3, to.0, to.1));
        }
        prop_assert!(from.1 == sport || from.1 == 0);
        prop_assert!(from.3 == dport || from.3 == 0);
        for (masked, whole) in [(from.0, source), (from.2, destination)] {
            prop_assert_eq!(Ipv4Addr::from(masked).to_bits() & !Ipv4Addr::from(whole).to_bits(), 0);
        }
    }
}
