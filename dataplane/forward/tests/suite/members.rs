//! Members of composites, and links of the underlay, as flows say (forwarding.md 4.11, 4.12, 6.6).

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::Offload;
use vr_tables::control::FlowSpec;
use vr_tables::flow::FlowAction;
use vr_tables::stats::VrfCounter;
use vr_types::{DropReason, FlowIndex, Mac, VifId};

use crate::ecmp_world::{
    LOCAL_SERVICE, LOCAL_SERVICE_LABEL, NO_MEMBER, SECOND_PEER, SERVICE, SERVICE_MEMBERS, add_local_service,
    add_service, add_underlay_links, lead_to_service_by, renew_local_service,
};
use crate::entries::{key, set, set_pair, spec};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer, unwrap};
use crate::world::{FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, LABELS, PEER, PEER_MAC, REMOTE, ROUTED, VRF};

const GUEST: [u8; 4] = GUEST_ADDRESS[0];

fn packet(ends: [[u8; 4]; 2], ports: [u16; 2]) -> Vec<u8> {
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 5,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    }
    .bytes()
}

/// A service with a member behind each of two peers, and a flow of the first guest to it.
fn lab(change: impl Fn(usize, &mut FlowSpec)) -> (Lab, [FlowIndex; 2]) {
    let mut lab = Lab::new(true);
    lab.command(|tables, _| add_service(tables));
    let keys = [
        key(UDP, [GUEST, SERVICE], [1000, 53], ROUTED[0]),
        key(UDP, [SERVICE, GUEST], [53, 1000], ROUTED[0]),
    ];
    let flows = set_pair(&mut lab, keys, |which, spec| {
        spec.source_nexthop = [ROUTED[0], SERVICE_MEMBERS][which];
        change(which, spec);
    });
    (lab, flows)
}

fn from_guest(lab: &mut Lab) -> Vec<Traffic> {
    let packet = packet([GUEST, SERVICE], [1000, 53]);
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &packet);
    lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }])
}

/// To which peer the guest's packet goes, and with which label.
fn chosen(lab: &mut Lab) -> ([u8; 4], u32) {
    let sent = from_guest(lab);
    let [frame] = &sent[..] else { panic!("{} frames", sent.len()) };
    let mut bytes = frame.bytes.clone();
    assert_eq!((frame.vif, &bytes[..6]), (FABRIC, &PEER_MAC.0[..]));
    let peer = *bytes[30..].first_chunk().unwrap();
    // Headers are checked as if they were for the first peer.
    bytes[30..34].copy_from_slice(&PEER);
    let sum = vr_wire::checksum::of(&[&bytes[14..24], &[0, 0], &bytes[26..34]].concat());
    bytes[24..26].copy_from_slice(&sum.to_be_bytes());
    let Wrap::Udp(label) = unwrap(&bytes).wrap else { panic!("not MPLS over UDP") };
    (peer, label)
}

fn reply(lab: &mut Lab, peer: [u8; 4]) -> usize {
    let packet = packet([SERVICE, GUEST], [53, 1000]);
    let bytes = from_peer(Wrap::Udp(LABELS[0][0]), peer, 64, &packet);
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]);
    assert!(sent.iter().all(|frame| frame.vif == GUESTS[0]));
    sent.len()
}

fn member(lab: &Lab, flow: FlowIndex) -> i8 {
    lab.table().shared(flow).unwrap().ecmp_index.load(Relaxed)
}

#[test]
fn a_flow_goes_to_the_member_that_the_agent_chose() {
    for (index, wanted) in [(0, (PEER, 50)), (1, (SECOND_PEER, 51))] {
        let (mut lab, _) = lab(|which, spec| spec.ecmp_index = [index, -1][which]);
        for _ in 0..3 {
            assert_eq!(chosen(&mut lab), wanted);
        }
        lab.close();
    }
}

/// A service moves: its packets come from the other member, and those of the guest follow.
#[test]
fn packets_follow_a_source_that_moves() {
    let (mut lab, flows) = lab(|which, spec| spec.ecmp_index = [0, -1][which]);
    assert_eq!((reply(&mut lab, PEER), chosen(&mut lab).0), (1, PEER));
    assert_eq!((reply(&mut lab, SECOND_PEER), member(&lab, flows[0])), (1, 1));
    assert_eq!(chosen(&mut lab), (SECOND_PEER, 51));
    assert_eq!((reply(&mut lab, PEER), chosen(&mut lab)), (1, (PEER, 50)));
    assert_eq!((reply(&mut lab, [172, 16, 0, 77]), lab.drops(DropReason::InvalidSource)), (0, 1));
    lab.close();
}

/// Whoever has no member yet goes to where the packets of the reverse flow come from.
#[test]
fn without_a_member_the_source_of_the_reverse_flow_decides() {
    for (peer, wanted) in [(PEER, 0), (SECOND_PEER, 1)] {
        // Any source is right, so that only the stickiness can choose.
        let (mut lab, flows) = lab(|_, spec| spec.source_nexthop = 0);
        assert_eq!((reply(&mut lab, peer), member(&lab, flows[0])), (1, -1));
        assert_eq!((chosen(&mut lab).0, member(&lab, flows[0])), (peer, wanted));
        lab.close();
    }
}

/// Whether the next packet of a flow passes without a look at the entry that clients map, which says DROP meanwhile.
fn is_fast(lab: &mut Lab, flow: FlowIndex, send: impl FnOnce(&mut Lab) -> usize) -> bool {
    let action = |lab: &Lab, action: FlowAction| {
        lab.table().shared(flow).unwrap().action.store(action as u16, Relaxed);
    };
    action(lab, FlowAction::Drop);
    let passes = send(lab) == 1;
    action(lab, FlowAction::Forward);
    passes
}

#[test]
fn the_fast_lanes_know_the_member_of_a_flow() {
    for index in [0, 1, -1] {
        let (mut lab, flows) = lab(|which, spec| spec.ecmp_index = [index, -1][which]);
        let first = chosen(&mut lab);
        assert!(
            is_fast(&mut lab, flows[0], |lab| from_guest(lab).len()),
            "the second packet, member {index}"
        );
        assert_eq!(chosen(&mut lab), first);
        // Each of the three passed a composite.
        assert_eq!(lab.tables().stats().vrf(VRF)[VrfCounter::EcmpComposites as usize], 3);
        lab.close();
    }
}

/// To which guests a packet for the service goes that both have.
fn served(lab: &mut Lab) -> Vec<VifId> {
    let packet = packet([REMOTE[0], SERVICE], [1000, 53]);
    let bytes = from_peer(Wrap::Udp(LOCAL_SERVICE_LABEL), PEER, 64, &packet);
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]);
    sent.iter().map(|frame| frame.vif).collect()
}

#[test]
fn the_fast_lanes_know_the_guest_that_serves_a_flow() {
    for index in [0, 1] {
        let mut lab = Lab::new(true);
        lab.command(|tables, _| add_local_service(tables));
        let key = key(UDP, [REMOTE[0], SERVICE], [1000, 53], LOCAL_SERVICE);
        lab.command(|tables, datapath| {
            set(tables, datapath, &FlowSpec { ecmp_index: index, ..spec(key) });
        });
        let flow = lab.table().find(&key, key.hash()).unwrap();
        let (guest, other) = (GUESTS[index as usize], GUESTS[1 - index as usize]);
        assert_eq!(served(&mut lab), [guest]);
        assert!(is_fast(&mut lab, flow, |lab| served(lab).len()), "the second packet, member {index}");
        assert_eq!(served(&mut lab), [guest]);
        lab.command(|tables, _| renew_local_service(tables));
        assert_eq!([served(&mut lab), served(&mut lab)], [[other], [other]]);
        assert_eq!(lab.tables().stats().vrf(VRF)[VrfCounter::EcmpComposites as usize], 5);
        lab.close();
    }
}

/// The source check of the other direction compares with the member, whichever that is now.
#[test]
fn a_source_check_does_not_outlast_the_member_that_it_saw() {
    let (mut lab, flows) = lab(|_, _| ());
    lab.command(|tables, _| lead_to_service_by(tables, NO_MEMBER));
    for _ in 0..3 {
        // What is at that position where packets go is not what is there where they come from.
        assert_eq!(([0; 2].map(|_| reply(&mut lab, PEER)), member(&lab, flows[0])), ([1; 2], 0));
        assert_eq!((chosen(&mut lab), member(&lab, flows[0])), ((SECOND_PEER, 61), 1));
    }
    lab.close();
}

#[test]
fn composites_within_composites_are_passed_one_by_one() {
    for index in [0, 1] {
        let (mut lab, _) = lab(|which, spec| spec.ecmp_index = [index, -1][which]);
        lab.command(|tables, _| lead_to_service_by(tables, SERVICE_MEMBERS));
        for _ in 0..3 {
            assert_eq!(chosen(&mut lab), [(PEER, 50), (SECOND_PEER, 61)][index as usize]);
        }
        let passed = lab.tables().stats().vrf(VRF)[VrfCounter::EcmpComposites as usize];
        assert_eq!(passed, [6, 3][index as usize]);
        lab.close();
    }
}

#[test]
fn a_member_that_is_empty_is_replaced() {
    let (mut lab, flows) = lab(|which, spec| spec.ecmp_index = [2, -1][which]);
    let (peer, _) = chosen(&mut lab);
    assert_eq!(
        usize::try_from(member(&lab, flows[0])).ok(),
        [PEER, SECOND_PEER].iter().position(|p| *p == peer)
    );
    lab.close();
}

#[test]
fn a_flow_may_name_its_underlay_link() {
    for (link, passes) in [(-1, true), (0, true), (1, false), (77, false)] {
        let (mut lab, _) = lab(|which, spec| {
            spec.ecmp_index = [0, -1][which];
            spec.underlay_index = link;
        });
        lab.command(|tables, _| add_underlay_links(tables));
        let sent = from_guest(&mut lab).len();
        let refused = lab.drops(DropReason::InvalidUnderlayEcmp);
        assert_eq!((sent, refused), if passes { (1, 0) } else { (0, 1) }, "link {link}");
        lab.close();
    }
}
