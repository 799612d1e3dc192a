//! Copies of packets because their flow is mirrored (forwarding.md 9.1).

use vr_frame::Offload;
use vr_tables::control::{FlowSpec, VifSpec};
use vr_tables::flow::{FlowAction, FlowFlags};
use vr_tables::nexthop::NexthopFlags;
use vr_tables::snapshot::Mirror;
use vr_tables::vif::VifFlags;
use vr_types::{DropReason, FlowIndex, Mac, MirrorId, NexthopId, VifId};
use vr_wire::checksum;

use crate::entries::{key, set_pair};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{
    ANALYZER, ANALYZER_TUNNEL, FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, LABELS, NODE, PEER, REMOTE, ROUTED,
    TUNNEL, VNI, add_inet6_analyzer, analyzer, guest,
};

/// Mirrors by id: with metadata, with a VNI, and by IPv6.
const WITH_METADATA: u16 = 1;
const BY_VNI: u16 = 2;
const BY_INET6: u16 = 3;
const DYNAMIC: u32 = 1;
const METADATA: &[u8] = b"\x03\x04left\x04\x05right\xff\0";

const ENDS: [[u8; 4]; 2] = [GUEST_ADDRESS[0], REMOTE[0]];

/// A node with a flow of the first guest to a remote one, both directions mirrored to these.
fn lab(mirrors: [u16; 2], change: impl Fn(usize, &mut FlowSpec)) -> (Lab, [FlowIndex; 2]) {
    let mut lab = Lab::new(true);
    lab.command(|tables, _| {
        let by_udp = Mirror { nexthop: NexthopId(ANALYZER_TUNNEL), flags: DYNAMIC, vni: -1, vlan: -1 };
        tables.mirror_add(MirrorId(WITH_METADATA as u8), by_udp).unwrap();
        let by_vni = Mirror { nexthop: NexthopId(TUNNEL[2]), flags: 0, vni: 77, vlan: -1 };
        tables.mirror_add(MirrorId(BY_VNI as u8), by_vni).unwrap();
        let by_inet6 = Mirror { nexthop: add_inet6_analyzer(tables), ..by_udp };
        tables.mirror_add(MirrorId(BY_INET6 as u8), by_inet6).unwrap();
    });
    let keys = [key(UDP, ENDS, [1000, 53], ROUTED[0]), key(UDP, [ENDS[1], ENDS[0]], [53, 1000], ROUTED[0])];
    let flows = set_pair(&mut lab, keys, |which, spec| {
        spec.flags |= FlowFlags::MIRROR;
        spec.mirrors = mirrors;
        change(which, spec);
    });
    (lab, flows)
}

fn set_metadata(lab: &mut Lab, flow: FlowIndex, metadata: &[u8]) {
    let generation = lab.table().shared(flow).unwrap().generation.load(std::sync::atomic::Ordering::Relaxed);
    lab.command(|tables, _| tables.flow_metadata(flow, generation, metadata));
}

fn packet(outwards: bool) -> Vec<u8> {
    let (ends, ports) = if outwards { (ENDS, [1000, 53]) } else { ([ENDS[1], ENDS[0]], [53, 1000]) };
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 9,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    }
    .bytes()
}

fn frame() -> Vec<u8> {
    packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &packet(true))
}

fn send(lab: &mut Lab) -> Vec<Traffic> {
    lab.receive(&[Traffic { vif: GUESTS[0], bytes: frame(), offload: Offload::NONE }])
}

/// The payload of what goes to the analyzer by UDP.
fn to_analyzer(traffic: &Traffic) -> Vec<u8> {
    let outer = &traffic.bytes[14..];
    assert_eq!((traffic.vif, &outer[12..16], &outer[16..20]), (FABRIC, &NODE[..], &ANALYZER[..]));
    assert!(checksum::is_valid(&outer[..20]) && outer[8] == 63);
    assert!(checksum::inet_l4_is_valid(&NODE, &ANALYZER, UDP, &outer[20..]));
    assert_eq!(outer[22..24], 8099u16.to_be_bytes());
    assert!(u16::from_be_bytes([outer[20], outer[21]]) >= 49152, "the port tells flows apart");
    outer[28..].to_vec()
}

#[test]
fn a_mirrored_flow_is_copied_with_its_metadata() {
    let (mut lab, flows) = lab([WITH_METADATA, 255], |_, _| {});
    let sent = send(&mut lab);
    assert_eq!(sent.len(), 2);
    assert_eq!(
        to_analyzer(&sent[0]),
        [&[0xff, 0][..], &frame()].concat(),
        "without metadata there is an end"
    );
    assert_eq!(packets::unwrap(&sent[1].bytes).payload[20..], packet(true)[20..]);

    set_metadata(&mut lab, flows[0], METADATA);
    assert_eq!(to_analyzer(&send(&mut lab)[0]), [METADATA, &frame()].concat());
    set_metadata(&mut lab, flows[0], b"other");
    assert_eq!(to_analyzer(&send(&mut lab)[0]), [b"other", &frame()[..]].concat());
    set_metadata(&mut lab, flows[0], b"");
    assert_eq!(to_analyzer(&send(&mut lab)[0]), [&[0xff, 0][..], &frame()].concat());
    lab.close();
}

#[test]
fn metadata_of_another_generation_is_not_taken() {
    let (mut lab, flows) = lab([WITH_METADATA, 255], |_, _| {});
    let generation =
        lab.table().shared(flows[0]).unwrap().generation.load(std::sync::atomic::Ordering::Relaxed);
    lab.command(|tables, _| tables.flow_metadata(flows[0], generation + 1, METADATA));
    assert_eq!(to_analyzer(&send(&mut lab)[0]), [&[0xff, 0][..], &frame()].concat());
    lab.close();
}

#[test]
fn a_flow_may_have_two_mirrors() {
    let (mut lab, flows) = lab([WITH_METADATA, BY_VNI], |_, _| {});
    set_metadata(&mut lab, flows[0], METADATA);
    let sent = send(&mut lab);
    assert_eq!(sent.len(), 3);
    assert_eq!(to_analyzer(&sent[0]), [METADATA, &frame()].concat());
    let by_vni = packets::unwrap(&sent[1].bytes);
    assert!(matches!(by_vni.wrap, Wrap::Vxlan(77)) && VNI != 77);
    assert_eq!(by_vni.payload, frame(), "no metadata with a VNI");
    lab.close();
}

/// The analyzer sees the packet before it is translated or dropped.
#[test]
fn copies_are_made_before_the_action() {
    let (mut lab, _) = lab([WITH_METADATA, 255], |which, spec| {
        if which == 0 {
            spec.action = Some(FlowAction::Drop);
        }
    });
    let sent = send(&mut lab);
    assert_eq!((sent.len(), lab.drops(DropReason::FlowActionDrop)), (1, 1));
    assert_eq!(to_analyzer(&sent[0])[2..], frame());
    lab.close();

    let (mut lab, _) = self::lab([WITH_METADATA, 255], |_, spec| {
        spec.action = Some(FlowAction::Nat);
        spec.flags |= FlowFlags::SPAT;
    });
    let sent = send(&mut lab);
    assert_eq!(to_analyzer(&sent[0])[2..], frame());
    lab.close();
}

/// What came in a tunnel is shown with the Ethernet header that the guest sees, without the tunnel.
#[test]
fn packets_from_the_fabric_are_shown_as_the_guest_gets_them() {
    let (mut lab, _) = lab([WITH_METADATA, 255], |_, _| {});
    let from_remote = from_peer(Wrap::Udp(LABELS[0][0]), PEER, 64, &packet(false));
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes: from_remote, offload: Offload::NONE }]);
    let [copy, delivered] = &sent[..] else { panic!("{} frames", sent.len()) };
    assert_eq!(delivered.vif, GUESTS[0]);
    assert_eq!(to_analyzer(copy)[2..], delivered.bytes);

    let bridged = packets::ethernet(GUEST_MAC[0], Mac([2, 10, 0, 0, 1, 7]), 0x0800, &packet(false));
    let bytes = from_peer(Wrap::Vxlan(VNI), PEER, 64, &bridged);
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]);
    assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<VifId>>(), [FABRIC, GUESTS[0]]);
    assert_eq!((&to_analyzer(&sent[0])[2..], &sent[1].bytes), (&bridged[..], &bridged));
    lab.close();
}

#[test]
fn a_copy_is_not_copied_again_and_unknown_mirrors_copy_nothing() {
    let (mut lab, _) = lab([WITH_METADATA, 77], |_, _| {});
    lab.command(|tables, datapath| {
        let mirrored = VifFlags::POLICY | VifFlags::MIRROR_RX;
        tables.vif_add(&VifSpec { mirror: MirrorId(0), ..guest(0, mirrored) }, datapath).unwrap();
    });
    // One of the interface, one of the flow, and the packet.
    assert_eq!(send(&mut lab).len(), 3);
    lab.close();
}

#[test]
fn analyzers_behind_ipv6_get_whole_checksums() {
    let (mut lab, flows) = lab([BY_INET6, 255], |_, _| {});
    set_metadata(&mut lab, flows[0], METADATA);
    let sent = send(&mut lab);
    let outer = &sent[0].bytes[14..];
    assert_eq!((sent[0].vif, outer[0], outer[6], outer[7]), (FABRIC, 0x60, UDP, 64));
    let ends: [[u8; 16]; 2] = [8, 24].map(|at| *outer[at..].first_chunk().unwrap());
    assert!(checksum::inet6_l4_is_valid(&ends[0], &ends[1], UDP, &outer[40..]));
    assert_eq!(usize::from(u16::from_be_bytes([outer[4], outer[5]])), outer.len() - 40);
    assert_eq!(outer[48..], [METADATA, &frame()].concat());
    lab.close();
}

/// With the flag for it, copies come from the address of the mirrored interface.
#[test]
fn copies_may_have_the_address_of_their_interface() {
    let (mut lab, _) = lab([WITH_METADATA, 255], |_, _| {});
    lab.command(|tables, datapath| {
        let own = VifSpec { ip: GUEST_ADDRESS[0].into(), ..guest(0, VifFlags::POLICY) };
        tables.vif_add(&own, datapath).unwrap();
        tables.nexthop_add(&analyzer(NexthopFlags::TUNNEL_SIP_COPY)).unwrap();
    });
    let copy = send(&mut lab).remove(0);
    let outer = &copy.bytes[14..];
    assert_eq!((&outer[12..16], &outer[16..20]), (&GUEST_ADDRESS[0][..], &ANALYZER[..]));
    assert!(checksum::inet_l4_is_valid(&GUEST_ADDRESS[0], &ANALYZER, UDP, &outer[20..]));
    lab.close();
}
