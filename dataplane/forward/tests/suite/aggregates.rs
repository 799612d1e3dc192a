//! Flows of interfaces that aggregate them (forwarding.md 6.11).

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::Offload;
use vr_tables::control::VifSpec;
use vr_tables::flow::{FlowKey, TcpFlags};
use vr_tables::vif::{FatFlow, VifFlags};
use vr_types::{FlowIndex, Mac, NexthopId, VifId};

use crate::ecmp_world::{LOCAL_SERVICE_LABEL, add_local_service};
use crate::entries::{key, set_pair, wire};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, UDP, Wrap, from_peer};
use crate::world::{AGENT, FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, LABELS, PEER, REMOTE, ROUTED, guest};

const IGNORE_SOURCE: u32 = 1 << 24;
const GUEST: [u8; 4] = GUEST_ADDRESS[0];

/// Aggregates the flows of the first guest by these rules.
fn aggregate(lab: &mut Lab, rules: &[u32]) {
    lab.command(|tables, datapath| {
        let fat_flow = Some(FatFlow { rules: rules.to_vec(), ..FatFlow::default() });
        tables.vif_add(&VifSpec { fat_flow, ..guest(0, VifFlags::POLICY) }, datapath).unwrap();
    });
}

fn rule(protocol: u8, port: u32) -> u32 {
    u32::from(protocol) << 16 | port
}

fn inet(ends: [[u8; 4]; 2], protocol: u8, payload: Vec<u8>) -> Inet {
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol,
        id: 5,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload,
    }
}

fn udp(ends: [[u8; 4]; 2], ports: [u16; 2]) -> Vec<u8> {
    inet(ends, UDP, packets::udp(ends, ports, b"data")).bytes()
}

fn from_guest(lab: &mut Lab, packet: &[u8]) -> Vec<VifId> {
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, packet);
    where_to(&lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]))
}

fn from_fabric(lab: &mut Lab, packet: &[u8]) -> Vec<VifId> {
    by_label(lab, LABELS[0][0], packet)
}

fn by_label(lab: &mut Lab, label: u32, packet: &[u8]) -> Vec<VifId> {
    let bytes = from_peer(Wrap::Udp(label), PEER, 64, packet);
    where_to(&lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]))
}

fn where_to(sent: &[Traffic]) -> Vec<VifId> {
    sent.iter().map(|frame| frame.vif).collect()
}

/// The keys of an aggregate of UDP flows to port 53, with these addresses.
fn keys(source: [u8; 4], destination: [u8; 4]) -> [FlowKey; 2] {
    [key(UDP, [source, destination], [0, 53], ROUTED[0]), key(UDP, [destination, source], [53, 0], ROUTED[0])]
}

fn packets_of(lab: &Lab, flow: FlowIndex) -> u64 {
    lab.table().counters(flow).0
}

#[test]
fn many_ports_have_one_flow_each_way() {
    for fast in [true, false] {
        let mut lab = Lab::new(fast);
        aggregate(&mut lab, &[rule(UDP, 53)]);
        assert_eq!(from_guest(&mut lab, &udp([GUEST, REMOTE[0]], [1000, 53])), [AGENT]);
        let [held] = lab.flows()[..] else { panic!("one flow") };
        assert_eq!(lab.table().shared(held).unwrap().key(), Some(keys(GUEST, REMOTE[0])[0]));

        let mut lab = Lab::new(fast);
        aggregate(&mut lab, &[rule(UDP, 53)]);
        let flows = set_pair(&mut lab, keys(GUEST, REMOTE[0]), |_, _| {});
        for port in 1000..1020 {
            assert_eq!(from_guest(&mut lab, &udp([GUEST, REMOTE[0]], [port, 53])), [FABRIC]);
            assert_eq!(from_fabric(&mut lab, &udp([REMOTE[0], GUEST], [53, port])), [GUESTS[0]]);
        }
        assert_eq!((packets_of(&lab, flows[0]), packets_of(&lab, flows[1])), (20, 20));
        assert_eq!(from_guest(&mut lab, &udp([GUEST, REMOTE[0]], [1000, 54])), [AGENT], "no rule");
        lab.close();
    }
}

#[test]
fn addresses_are_left_out_as_the_interface_sees_them() {
    let mut lab = Lab::new(true);
    aggregate(&mut lab, &[rule(UDP, 53) | IGNORE_SOURCE]);
    let flows = set_pair(&mut lab, keys([0; 4], REMOTE[0]), |_, _| {});
    assert_eq!(from_guest(&mut lab, &udp([GUEST, REMOTE[0]], [1000, 53])), [FABRIC]);
    assert_eq!(from_guest(&mut lab, &udp([[10, 0, 0, 99], REMOTE[0]], [1000, 53])), [FABRIC]);
    assert_eq!(from_fabric(&mut lab, &udp([REMOTE[0], GUEST], [53, 7])), [GUESTS[0]]);
    assert_eq!((packets_of(&lab, flows[0]), packets_of(&lab, flows[1])), (2, 1));
    lab.close();
}

/// What the fast lanes know of flows with all their ports ends with the first rule, and counts again after the last.
#[test]
fn the_fast_lanes_leave_fat_interfaces_alone() {
    let mut lab = Lab::new(true);
    let exact = [
        key(UDP, [GUEST, REMOTE[0]], [1000, 53], ROUTED[0]),
        key(UDP, [REMOTE[0], GUEST], [53, 1000], ROUTED[0]),
    ];
    let flows = set_pair(&mut lab, exact, |_, _| {});
    let (out, back) = (udp([GUEST, REMOTE[0]], [1000, 53]), udp([REMOTE[0], GUEST], [53, 1000]));
    let pass = |lab: &mut Lab| {
        for _ in 0..3 {
            assert_eq!(from_guest(lab, &out), [FABRIC]);
            assert_eq!(from_fabric(lab, &back), [GUESTS[0]]);
        }
    };
    pass(&mut lab);
    aggregate(&mut lab, &[rule(UDP, 53)]);
    assert_eq!((from_guest(&mut lab, &out), from_fabric(&mut lab, &back)), (vec![AGENT], vec![AGENT]));
    assert_eq!((packets_of(&lab, flows[0]), packets_of(&lab, flows[1])), (3, 3), "other flows");
    aggregate(&mut lab, &[]);
    pass(&mut lab);
    assert_eq!((packets_of(&lab, flows[0]), packets_of(&lab, flows[1])), (6, 6));
    lab.close();
}

/// The packet that an error quotes has an aggregate, its own header has none.
#[test]
fn errors_belong_to_the_aggregate_of_what_they_quote() {
    let mut lab = Lab::new(true);
    aggregate(&mut lab, &[rule(UDP, 53) | IGNORE_SOURCE, rule(1, 0)]);
    let flows = set_pair(&mut lab, keys([0; 4], REMOTE[0]), |_, _| {});
    let quoted = udp([GUEST, REMOTE[0]], [1000, 53]);
    let error = [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted[..28]].concat();
    let report = inet([[10, 0, 1, 1], GUEST], 1, error).bytes();
    assert_eq!(from_fabric(&mut lab, &report), [GUESTS[0]]);
    assert_eq!(packets_of(&lab, flows[1]), 1);
    lab.close();
}

#[test]
fn connections_in_an_aggregate_are_not_followed() {
    let mut lab = Lab::new(true);
    aggregate(&mut lab, &[rule(TCP, 80)]);
    let keys =
        [key(TCP, [GUEST, REMOTE[0]], [0, 80], ROUTED[0]), key(TCP, [REMOTE[0], GUEST], [80, 0], ROUTED[0])];
    let flows = set_pair(&mut lab, keys, |_, _| {});
    let ends = [GUEST, REMOTE[0]];
    for flags in [0x02, 0x10, 0x14, 0x11] {
        let segment = inet(ends, TCP, packets::tcp(ends, [1000, 80], [1, 2], flags, b"")).bytes();
        assert_eq!(from_guest(&mut lab, &segment), [FABRIC]);
    }
    for flow in flows {
        let shared = lab.table().shared(flow).unwrap();
        let numbers = (shared.tcp_seq.load(Relaxed), shared.tcp_ack.load(Relaxed));
        assert_eq!((shared.tcp_flags(), numbers), (TcpFlags::empty(), (0, 0)));
    }
    lab.close();
}

/// A later fragment has the ports of its datagram, then the key of the aggregate; address masks included.
#[test]
fn fragments_find_the_aggregate() {
    let mut lab = Lab::new(true);
    aggregate(&mut lab, &[rule(UDP, 53) | IGNORE_SOURCE]);
    let flows = set_pair(&mut lab, keys([0; 4], REMOTE[0]), |_, _| {});
    let ends = [GUEST, REMOTE[0]];
    let whole = packets::udp(ends, [1000, 53], &[7; 40]);
    let first = Inet { fragment: 0x2000, ..inet(ends, UDP, whole[..24].to_vec()) };
    let later = Inet { fragment: 3, ..inet(ends, UDP, whole[24..].to_vec()) };
    assert_eq!(from_guest(&mut lab, &first.bytes()), [FABRIC]);
    assert_eq!(from_guest(&mut lab, &later.bytes()), [FABRIC]);
    assert_eq!((packets_of(&lab, flows[0]), lab.flows().len()), (2, 2));
    lab.close();
}

/// Packets for members that are all local: the rules of the first one.
#[test]
fn local_members_have_the_rules_of_the_first() {
    for rules in [&[rule(UDP, 53)][..], &[]] {
        let mut lab = Lab::new(true);
        lab.command(|tables, _| add_local_service(tables));
        aggregate(&mut lab, rules);
        let packet = udp([REMOTE[0], [10, 96, 0, 10]], [53, 1000]);
        assert_eq!(by_label(&mut lab, LOCAL_SERVICE_LABEL, &packet), [AGENT]);
        let [held] = lab.flows()[..] else { panic!("one flow") };
        let port = if rules.is_empty() { 1000 } else { 0 };
        assert_eq!(
            lab.table().shared(held).unwrap().key().unwrap().destination_port(),
            u16::to_be_bytes(port)
        );
        lab.close();
    }
}

#[test]
fn inet6_flows_are_aggregated() {
    let mut lab = Lab::new(true);
    aggregate(&mut lab, &[rule(UDP, 53) | IGNORE_SOURCE]);
    let [a, b] = [[0xfd; 16], [0xfe; 16]];
    let datagram = [&wire([1000, 53])[..], &[0, 8, 0, 0]].concat();
    let packet = [&[0x60, 0, 0, 0, 0, 8, UDP, 64][..], &a, &b, &datagram].concat();
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x86dd, &packet);
    assert_eq!(where_to(&lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }])), [AGENT]);
    let [held] = lab.flows()[..] else { panic!("one flow") };
    let wanted = FlowKey::inet6(UDP, wire([0, 53]), NexthopId(ROUTED[0]), [0; 16], b);
    assert_eq!(lab.table().shared(held).unwrap().key(), Some(wanted));
    lab.close();
}
