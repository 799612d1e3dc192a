//! Link-local services: a guest talks to the host, or from the host's address (forwarding.md 2.7, 11.8).

use vr_frame::Offload;
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_tables::nexthop::NexthopFlags;
use vr_tables::options::Options;
use vr_types::{FlowIndex, Mac, Release, VifId, VrfId};
use vr_wire::checksum;

use crate::entries::{key, set_pair, spec};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, UDP};
use crate::world::{
    FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, HOST, NODE, NODE_MAC, PEER, PEER_MAC, ROUTED, TO_HOST, VRF,
    to_host,
};

const ICMP: u8 = 1;
const GUEST: [u8; 4] = GUEST_ADDRESS[0];
const LINK_LOCAL: [u8; 4] = [169, 254, 169, 254];
/// The port of the host's address that stands for the guest, and the port of the service.
const BOUND: u16 = 33_000;
const SERVICE: u16 = 8080;

/// The guest's flow to a service on another node, and what comes back to the host's address.
fn keys(protocol: u8) -> [FlowKey; 2] {
    let ports = |ports| if protocol == ICMP { [BOUND, 0] } else { ports };
    [
        key(protocol, [GUEST, LINK_LOCAL], ports([40_000, 80]), ROUTED[0]),
        key(protocol, [PEER, NODE], ports([SERVICE, BOUND]), TO_HOST),
    ]
}

/// A node with these flows; packets to the host are looked at for services.
fn lab(options: Options, protocol: u8) -> (Lab, [FlowIndex; 2]) {
    let mut lab = Lab::with_options(options, true);
    lab.command(|tables, _| tables.nexthop_add(&to_host(NexthopFlags::RELAXED_POLICY)).unwrap());
    let flows = set_pair(&mut lab, keys(protocol), |which, spec| {
        spec.action = Some(FlowAction::Nat);
        spec.flags |= FlowFlags::SNAT | FlowFlags::DNAT | FlowFlags::VRFT | FlowFlags::LINK_LOCAL;
        if protocol != ICMP {
            spec.flags |= FlowFlags::SPAT | FlowFlags::DPAT;
        }
        (spec.vrf, spec.dvrf) = [(VRF, VrfId::FABRIC), (VrfId::FABRIC, VRF)][which];
    });
    (lab, flows)
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

fn message(ends: [[u8; 4]; 2], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
    match protocol {
        TCP => packets::tcp(ends, ports, [1, 2], 0x10, b"data"),
        UDP => packets::udp(ends, ports, b"data"),
        _ => {
            let [high, low] = BOUND.to_be_bytes();
            let mut echo = vec![8, 0, 0, 0, high, low, 0, 1];
            let sum = checksum::of(&echo);
            echo[2..4].copy_from_slice(&sum.to_be_bytes());
            echo
        }
    }
}

fn packet(ends: [[u8; 4]; 2], protocol: u8, ports: [u16; 2]) -> Vec<u8> {
    inet(ends, protocol, message(ends, protocol, ports)).bytes()
}

fn from_guest(lab: &mut Lab, packet: &[u8]) -> Vec<Traffic> {
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, packet);
    lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }])
}

fn from_fabric(lab: &mut Lab, packet: &[u8]) -> Vec<Traffic> {
    let bytes = packets::ethernet(NODE_MAC, PEER_MAC, 0x0800, packet);
    lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }])
}

/// Ends, ports and checksums of the only frame, which went there.
fn arrived(sent: &[Traffic], vif: VifId) -> ([[u8; 4]; 2], [u16; 2]) {
    let [frame] = sent else { panic!("{} frames", sent.len()) };
    assert_eq!(frame.vif, vif);
    let packet = &frame.bytes[14..];
    assert!(checksum::is_valid(&packet[..20]));
    let ends = [12, 16].map(|at| *packet[at..].first_chunk::<4>().unwrap());
    match packet[9] {
        ICMP => assert!(checksum::is_valid(&packet[20..])),
        protocol => assert!(checksum::inet_l4_is_valid(&ends[0], &ends[1], protocol, &packet[20..])),
    }
    (ends, [20, 22].map(|at| u16::from_be_bytes([packet[at], packet[at + 1]])))
}

#[test]
fn replies_to_the_host_reach_the_guest_that_asked() {
    for protocol in [TCP, UDP, ICMP] {
        let (mut lab, _) = lab(Options::default(), protocol);
        let out = from_guest(&mut lab, &packet([GUEST, LINK_LOCAL], protocol, [40_000, 80]));
        assert_eq!(out[0].bytes[..14], packets::ethernet(PEER_MAC, NODE_MAC, 0x0800, &[]));
        let (ends, ports) = arrived(&out, FABRIC);
        assert_eq!(ends, [NODE, PEER]);
        assert!(protocol == ICMP || ports == [BOUND, SERVICE]);
        let back = from_fabric(&mut lab, &packet([PEER, NODE], protocol, [SERVICE, BOUND]));
        let (ends, ports) = arrived(&back, GUESTS[0]);
        assert_eq!(ends, [LINK_LOCAL, GUEST]);
        assert!(protocol == ICMP || ports == [80, 40_000]);
        lab.close();
    }
}

/// A guest's BGP session with the node: its port on the host's address, and the TTL that a neighbour one hop away has.
#[test]
fn bgp_as_a_service() {
    let mut lab = Lab::new(true);
    lab.command(|tables, _| tables.nexthop_add(&to_host(NexthopFlags::RELAXED_POLICY)).unwrap());
    let gateway = [10, 0, 0, 1];
    let keys =
        [key(TCP, [GUEST, gateway], [40_000, 179], ROUTED[0]), key(TCP, [PEER, NODE], [179, BOUND], TO_HOST)];
    set_pair(&mut lab, keys, |which, spec| {
        spec.action = Some(FlowAction::Nat);
        let addresses = FlowFlags::SNAT | FlowFlags::DNAT | FlowFlags::VRFT | FlowFlags::BGP_SERVICE;
        spec.flags |= addresses | [FlowFlags::SPAT, FlowFlags::DPAT][which];
        (spec.vrf, spec.dvrf) = [(VRF, VrfId::FABRIC), (VrfId::FABRIC, VRF)][which];
        spec.ttl = 255;
    });
    let out = from_guest(&mut lab, &packet([GUEST, gateway], TCP, [40_000, 179]));
    assert_eq!(arrived(&out, FABRIC), ([NODE, PEER], [BOUND, 179]));
    assert_eq!(out[0].bytes[22], 254, "of the flow, less one for routing");
    let back = from_fabric(&mut lab, &packet([PEER, NODE], TCP, [179, BOUND]));
    assert_eq!(arrived(&back, GUESTS[0]), ([gateway, GUEST], [179, 40_000]));
    assert_eq!(back[0].bytes[22], 254);
    lab.close();
}

/// What is not for the guest goes to the host, and nothing asks the agent about it.
#[test]
fn the_rest_goes_to_the_host() {
    let (mut lab, _) = lab(Options::default(), UDP);
    for (ends, protocol, ports) in [
        ([PEER, NODE], UDP, [SERVICE, BOUND + 1]),
        ([PEER, NODE], TCP, [SERVICE, BOUND]),
        ([[172, 16, 0, 9], NODE], UDP, [SERVICE, BOUND]),
    ] {
        assert_eq!(arrived(&from_fabric(&mut lab, &packet(ends, protocol, ports)), HOST), (ends, ports));
    }
    assert_eq!(lab.flows().len(), 2, "no flow is made");
    // Only where the nexthop says so.
    lab.command(|tables, _| tables.nexthop_add(&to_host(NexthopFlags::empty())).unwrap());
    let reply = packet([PEER, NODE], UDP, [SERVICE, BOUND]);
    assert_eq!(arrived(&from_fabric(&mut lab, &reply), HOST).0, [PEER, NODE]);
    lab.close();
}

#[test]
fn a_port_is_the_hosts_again_when_its_flow_is_gone() {
    let (mut lab, flows) = lab(Options::default(), UDP);
    lab.command(|tables, datapath| {
        let generation = tables
            .flow_table()
            .shared(flows[1])
            .unwrap()
            .generation
            .load(std::sync::atomic::Ordering::Relaxed);
        let gone = vr_tables::control::FlowSpec {
            index: Some(flows[1]),
            generation,
            flags: FlowFlags::empty(),
            ..spec(keys(UDP)[1])
        };
        tables.flow_set(&gone, datapath).result.unwrap();
    });
    let reply = packet([PEER, NODE], UDP, [SERVICE, BOUND]);
    assert_eq!(arrived(&from_fabric(&mut lab, &reply), HOST).0, [PEER, NODE]);
    lab.close();
}

#[test]
fn fragments_of_a_reply_stay_together() {
    let (mut lab, _) = lab(Options::default(), UDP);
    let whole = packets::udp([PEER, NODE], [SERVICE, BOUND], &[3; 40]);
    let first = Inet { fragment: 0x2000, ..inet([PEER, NODE], UDP, whole[..24].to_vec()) };
    let later = Inet { fragment: 3, ..inet([PEER, NODE], UDP, whole[24..].to_vec()) };
    for fragment in [first, later] {
        let sent = from_fabric(&mut lab, &fragment.bytes());
        assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [GUESTS[0]]);
        assert_eq!(sent[0].bytes[14 + 12..14 + 20], [LINK_LOCAL, GUEST].concat());
        assert!(checksum::is_valid(&sent[0].bytes[14..34]));
    }
    lab.close();
}

/// The service's node says that the port is closed: the guest hears it about its own packet.
#[test]
fn errors_about_a_service_reach_the_guest() {
    let (mut lab, _) = lab(Options::default(), UDP);
    let out = from_guest(&mut lab, &packet([GUEST, LINK_LOCAL], UDP, [40_000, 80]));
    let mut error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &out[0].bytes[14..42]].concat();
    let sum = checksum::of(&error);
    error[2..4].copy_from_slice(&sum.to_be_bytes());
    let sent = from_fabric(&mut lab, &inet([PEER, NODE], ICMP, error).bytes());
    assert_eq!(arrived(&sent, GUESTS[0]).0, [LINK_LOCAL, GUEST]);
    let quoted = &sent[0].bytes[14 + 28..];
    assert!(checksum::is_valid(&quoted[..20]));
    assert_eq!(quoted[12..], packet([GUEST, LINK_LOCAL], UDP, [40_000, 80])[12..28]);
    lab.close();
}

#[test]
fn r220_knows_services_of_tcp_and_udp() {
    for (protocol, to) in [(TCP, GUESTS[0]), (UDP, GUESTS[0]), (ICMP, HOST)] {
        let old = Options { release: Release::R220, ..Options::default() };
        let (mut lab, _) = lab(old, protocol);
        let sent = from_fabric(&mut lab, &packet([PEER, NODE], protocol, [SERVICE, BOUND]));
        assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [to]);
        lab.close();
    }
}

/// The bytes of forwarding.md 6.7: metadata of this node, by an address that stands for the guest.
#[test]
fn metadata_of_this_node() {
    const METADATA: [u8; 4] = [169, 254, 0, 5];
    let mut lab = Lab::new(true);
    let keys = [
        key(TCP, [GUEST, LINK_LOCAL], [40_000, 80], ROUTED[0]),
        key(TCP, [NODE, METADATA], [8097, 40_000], ROUTED[0]),
    ];
    set_pair(&mut lab, keys, |which, spec| {
        spec.action = Some(FlowAction::Nat);
        spec.flags |= FlowFlags::SNAT | FlowFlags::DNAT | FlowFlags::VRFT | FlowFlags::LINK_LOCAL;
        spec.flags |= [FlowFlags::DPAT, FlowFlags::SPAT][which];
        (spec.vrf, spec.dvrf) = [(VRF, VrfId::FABRIC), (VrfId::FABRIC, VRF)][which];
    });
    let before = "45000028010100004006 1bcf0a000004a9fea9fe 9c400050000003e8000000005002 72103f590000";
    let after = "4500002801010000 3f06 24bba9fe0005ac100001 9c401fa1000003e8000000005002 721027f40000";
    let sent = from_guest(&mut lab, &hex(before));
    assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [HOST]);
    assert_eq!(sent[0].bytes[14..], hex(after));
    lab.close();
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}
