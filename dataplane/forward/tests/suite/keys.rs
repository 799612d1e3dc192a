//! Under which key a packet has its flow (forwarding.md 6.1).

use vr_frame::Offload;
use vr_tables::flow::FlowKey;
use vr_types::{DropReason, Mac, NexthopId};

use crate::entries::wire;
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, UDP};
use crate::world::{GUEST_ADDRESS, GUEST_MAC, GUESTS, REMOTE, ROUTED};

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const SCTP: u8 = 132;
const OSPF: u8 = 89;

const A: [u8; 4] = GUEST_ADDRESS[0];
const B: [u8; 4] = REMOTE[0];
const A6: [u8; 16] = [0xfd; 16];
const B6: [u8; 16] = [0xfc; 16];

/// What becomes of a guest's packet that has no flow yet: the key of the flow that is made, or why there is none.
fn key_of(ethertype: u16, packet: &[u8]) -> Result<FlowKey, DropReason> {
    let mut lab = Lab::new(true);
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], ethertype, packet);
    lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]);
    let key = lab.flows().first().and_then(|flow| lab.table().shared(*flow)?.key());
    let dropped = DropReason::ALL.iter().find(|reason| lab.drops(**reason) > 0);
    let found = match (key, dropped) {
        (Some(key), None) => Ok(key),
        (None, Some(reason)) => Err(*reason),
        other => panic!("{other:?}"),
    };
    lab.close();
    found
}

fn inet(protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    packet([A, B], protocol, fragment, payload)
}

fn packet(ends: [[u8; 4]; 2], protocol: u8, fragment: u16, payload: &[u8]) -> Vec<u8> {
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol,
        id: 1,
        fragment,
        ttl: 64,
        options: vec![1; 4],
        payload: payload.to_vec(),
    }
    .bytes()
}

fn key(protocol: u8, ports: [u8; 4]) -> FlowKey {
    FlowKey::inet(protocol, ports, NexthopId(ROUTED[0]), A, B)
}

fn inet6(ends: [[u8; 16]; 2], protocol: u8, payload: &[u8]) -> Vec<u8> {
    let [high, low] = (payload.len() as u16).to_be_bytes();
    [&[0x60, 0, 0, 0, high, low, protocol, 64][..], &ends[0], &ends[1], payload].concat()
}

fn key6(protocol: u8, ports: [u8; 4]) -> FlowKey {
    FlowKey::inet6(protocol, ports, NexthopId(ROUTED[0]), A6, B6)
}

/// A header of eight bytes that begins with these.
fn head(bytes: &[u8]) -> Vec<u8> {
    let mut head = bytes.to_vec();
    head.resize(8, 0);
    head
}

/// An error with what it quotes.
fn error(kind: u8, quoted: &[u8]) -> Vec<u8> {
    [&head(&[kind])[..], quoted].concat()
}

#[test]
fn keys_of_ipv4_packets() {
    let ports = wire([1000, 53]);
    let swapped = |protocol, payload: &[u8]| packet([B, A], protocol, 0, payload);
    let quoted = swapped(UDP, &head(&wire([53, 1000])));
    for (protocol, payload, wanted) in [
        (TCP, head(&ports), Ok(key(TCP, ports))),
        (UDP, head(&ports), Ok(key(UDP, ports))),
        (SCTP, head(&ports), Ok(key(SCTP, ports))),
        (OSPF, head(&ports), Ok(key(OSPF, [0; 4]))),
        (ICMP, head(&[8, 0, 0, 0, 7, 9]), Ok(key(ICMP, [7, 9, 0, 0]))),
        (ICMP, head(&[0, 0, 0, 0, 7, 9]), Ok(key(ICMP, [7, 9, 0, 0]))),
        (ICMP, head(&[13]), Ok(key(ICMP, [0, 0, 13, 0]))),
        (ICMP, error(3, &quoted), Ok(key(UDP, ports))),
        (ICMP, error(11, &quoted), Ok(key(UDP, ports))),
        (ICMP, error(3, &swapped(ICMP, &head(&[8, 0, 0, 0, 7, 9]))), Ok(key(ICMP, [7, 9, 0, 0]))),
        (ICMP, error(3, &swapped(OSPF, &head(&[]))), Ok(key(OSPF, [0; 4]))),
        (ICMP, error(3, &swapped(ICMP, &error(3, &quoted))), Err(DropReason::Misc)),
        (ICMP, error(3, &quoted[..26]), Err(DropReason::Misc)),
        (ICMP, error(3, &packet([B, A], UDP, 5, &head(&ports))), Err(DropReason::Misc)),
        (ICMP, error(3, &packet([B, A], OSPF, 5, &head(&ports))), Ok(key(OSPF, [0; 4]))),
        (UDP, vec![1, 2, 3], Err(DropReason::Misc)),
        (ICMP, Vec::new(), Err(DropReason::Misc)),
    ] {
        assert_eq!(key_of(0x0800, &inet(protocol, 0, &payload)), wanted, "{protocol} {payload:?}");
    }
    // Without ports nothing is in another fragment that the key needs, but no fragment but the first makes a flow.
    assert_eq!(key_of(0x0800, &inet(OSPF, 5, &head(&[]))), Err(DropReason::FlowUnusable));
}

#[test]
fn keys_of_ipv6_packets() {
    let ports = wire([1000, 53]);
    let swapped = |protocol, payload: &[u8]| inet6([B6, A6], protocol, payload);
    let quoted = swapped(UDP, &head(&wire([53, 1000])));
    let fragment = |protocol, offset: u16, payload: &[u8]| {
        [&head(&[protocol, 0, (offset >> 5) as u8, (offset << 3) as u8 | 1])[..], payload].concat()
    };
    let echo = [7, 9, 0, 129];
    for (protocol, payload, wanted) in [
        (TCP, head(&ports), Ok(key6(TCP, ports))),
        (UDP, head(&ports), Ok(key6(UDP, ports))),
        (SCTP, head(&ports), Ok(key6(SCTP, ports))),
        (OSPF, head(&ports), Ok(key6(OSPF, [0; 4]))),
        (ICMPV6, head(&[128, 0, 0, 0, 7, 9]), Ok(key6(ICMPV6, echo))),
        (ICMPV6, head(&[129, 0, 0, 0, 7, 9]), Ok(key6(ICMPV6, echo))),
        (ICMPV6, head(&[140]), Ok(key6(ICMPV6, [0, 0, 140, 0]))),
        (ICMPV6, error(2, &quoted), Ok(key6(UDP, ports))),
        (ICMPV6, error(3, &swapped(ICMPV6, &head(&[128, 0, 0, 0, 7, 9]))), Ok(key6(ICMPV6, echo))),
        (ICMPV6, error(1, &swapped(ICMPV6, &error(1, &quoted))), Err(DropReason::Misc)),
        (ICMPV6, error(2, &swapped(44, &fragment(UDP, 0, &head(&wire([53, 1000]))))), Ok(key6(UDP, ports))),
        (ICMPV6, error(2, &swapped(44, &fragment(UDP, 5, &head(&ports)))), Err(DropReason::Misc)),
        (44, fragment(UDP, 0, &head(&ports)), Ok(key6(UDP, ports))),
        (60, head(&[UDP]), Ok(key6(60, [0; 4]))),
        (UDP, vec![1, 2, 3], Err(DropReason::Misc)),
    ] {
        assert_eq!(key_of(0x86dd, &inet6([A6, B6], protocol, &payload)), wanted, "{protocol} {payload:?}");
    }
    assert_eq!(
        key_of(0x86dd, &inet6([A6, B6], 44, &fragment(OSPF, 5, &head(&[])))),
        Err(DropReason::FlowUnusable),
    );
}
