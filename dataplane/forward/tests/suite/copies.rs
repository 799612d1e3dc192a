//! Copies of frames: flooded and mirrored ones, super-frames among them.

use vr_frame::{GsoKind, Offload};
use vr_types::{DropReason, Mac};
use vr_wire::checksum;

use crate::changes::Change;
use crate::lab::{Lab, Traffic};
use crate::oversize::reassemble;
use crate::packets::{self, Inet, TCP, UDP, Wrap, from_peer, unwrap};
use crate::world::{
    ANALYZER, FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, NODE, OWN_TREE_LABEL, PEER, REMOTE_MAC, TREE_LABELS,
    UNDERLAY_MTU, VNI,
};

const GROUP: [u8; 4] = [239, 1, 2, 3];

fn inet(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: Vec<u8>) -> Vec<u8> {
    Inet { source, destination, protocol, id: 3, fragment: 0, ttl: 64, options: Vec::new(), payload }.bytes()
}

fn super_frame(gso: GsoKind, csum_offset: u16) -> Offload {
    Offload { needs_csum: true, csum_valid: false, gso, gso_size: 1000, csum_start: 34, csum_offset }
}

/// The frame behind the inner VXLAN packet that the multicast tree carries behind a control word.
fn behind_edge_headers(payload: &[u8]) -> Vec<u8> {
    assert_eq!(payload[..4], [0; 4], "control word");
    let stack = &payload[4..];
    assert!(checksum::is_valid(&stack[..20]));
    assert_eq!(usize::from(u16::from_be_bytes([stack[2], stack[3]])), stack.len(), "inner length");
    assert_eq!(stack[22..24], 4789u16.to_be_bytes());
    stack[36..].to_vec()
}

/// What reached the other guest, the tree by UDP and by GRE, and the peer that replicates.
fn sort(sent: &[Traffic]) -> [Vec<Vec<u8>>; 4] {
    let mut sorted: [Vec<Vec<u8>>; 4] = Default::default();
    for frame in sent {
        assert!(frame.offload.is_plain());
        if frame.vif == GUESTS[1] {
            sorted[0].push(frame.bytes.clone());
            continue;
        }
        assert_eq!(frame.vif, FABRIC);
        let unwrapped = unwrap(&frame.bytes);
        match unwrapped.wrap {
            Wrap::Udp(label) if label == TREE_LABELS[0] => {
                sorted[1].push(behind_edge_headers(&unwrapped.payload));
            }
            Wrap::Gre(label) if label == TREE_LABELS[1] => {
                sorted[2].push(behind_edge_headers(&unwrapped.payload));
            }
            Wrap::Vxlan(VNI) => sorted[3].push(unwrapped.payload),
            other => panic!("a copy went the wrong way: {other:?}"),
        }
    }
    sorted
}

#[test]
fn flooded_super_frames_reach_everybody_in_segments() {
    let mut lab = Lab::new(true);
    let data: Vec<u8> = (0..3500).map(|at| at as u8).collect();
    let packet = inet(GUEST_ADDRESS[0], GROUP, UDP, packets::udp([GUEST_ADDRESS[0], GROUP], [5, 6], &data));
    let bytes = packets::ethernet(Mac([1, 0, 0x5e, 1, 2, 3]), GUEST_MAC[0], 0x0800, &packet);
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: super_frame(GsoKind::UdpL4, 6) }]);
    let [guest, by_udp, by_gre, peer] = sort(&sent);
    assert_eq!(guest.len(), 4);
    for copies in [&by_udp, &by_gre, &peer] {
        assert_eq!(copies, &guest);
    }
    let mut received: Vec<u8> = Vec::new();
    for frame in guest {
        let message = &frame[34..];
        assert!(checksum::is_valid(&frame[14..34]));
        assert!(checksum::inet_l4_is_valid(&GUEST_ADDRESS[0], &GROUP, UDP, message));
        received.extend(&message[8..]);
    }
    assert_eq!(received, data);
    lab.close();
}

/// A frame that a neighbour in the tree floods.
fn from_tree(destination: Mac) -> (Traffic, Vec<u8>) {
    let ends = [[10, 0, 1, 7], GUEST_ADDRESS[1]];
    let packet = inet(ends[0], ends[1], UDP, packets::udp(ends, [1, 2], b"data"));
    let inner = packets::ethernet(destination, Mac([2, 10, 0, 0, 1, 7]), 0x0800, &packet);
    let vxlan = [vec![0xd0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0x13, 0x89, 0], inner.clone()].concat();
    let stack = [vec![0; 4], inet(PEER, NODE, UDP, vxlan)].concat();
    let bytes = from_peer(Wrap::Udp(OWN_TREE_LABEL), PEER, 64, &stack);
    (Traffic { vif: FABRIC, bytes, offload: Offload::NONE }, inner)
}

#[test]
fn frames_of_the_tree_reach_guests_or_the_one_that_they_are_for() {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| {
        for guest in 0..2 {
            Change::Policy { guest, on: false }.apply(tables, datapath);
        }
    });
    let frames =
        |sent: Vec<Traffic>| sent.into_iter().map(|frame| (frame.vif, frame.bytes)).collect::<Vec<_>>();
    let (frame, inner) = from_tree(Mac::BROADCAST);
    // The other neighbour has the address that the frame came from, so it gets none.
    assert_eq!(frames(lab.receive(&[frame])), [(GUESTS[0], inner.clone()), (GUESTS[1], inner)]);
    // Flooded by a node that does not know the guest's MAC.
    let (frame, inner) = from_tree(GUEST_MAC[1]);
    assert_eq!(frames(lab.receive(&[frame])), [(GUESTS[1], inner)]);
    lab.close();
}

#[test]
fn mirrored_super_frames_arrive_in_segments() {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| Change::Mirror { guest: 0, on: true }.apply(tables, datapath));
    let data: Vec<u8> = (0..2500).map(|at| at as u8).collect();
    let ends = [GUEST_ADDRESS[0], [10, 0, 0, 99]];
    let packet = inet(ends[0], ends[1], TCP, packets::tcp(ends, [5, 6], [1, 2], 0x10, &data));
    let bytes = packets::ethernet(Mac([2, 9, 9, 9, 9, 9]), GUEST_MAC[0], 0x0800, &packet);
    let offload = super_frame(GsoKind::TcpV4, 16);
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes: bytes.clone(), offload }]);
    // The packet itself waits for its flow.
    let copies: Vec<_> = sent.iter().filter(|frame| frame.vif == FABRIC).collect();
    assert_eq!(copies.len(), 3);
    let mut received: Vec<u8> = Vec::new();
    for copy in copies {
        assert!(copy.offload.is_plain());
        let outer = &copy.bytes[14..];
        assert_eq!(outer[16..20], ANALYZER);
        let len = usize::from(u16::from_be_bytes([outer[2], outer[3]]));
        assert_eq!(len, outer.len());
        assert!(checksum::inet_l4_is_valid(&NODE, &ANALYZER, UDP, &outer[20..]));
        let frame = &outer[28..];
        assert_eq!(frame[..14], bytes[..14]);
        assert!(checksum::inet_l4_is_valid(&ends[0], &ends[1], TCP, &frame[34..]));
        received.extend(&frame[54..]);
    }
    assert_eq!(received, data);
    lab.close();
}

#[test]
fn mirrored_frames_that_became_too_long_arrive_in_fragments() {
    let mut lab = Lab::new(true);
    lab.command(|tables, datapath| Change::Mirror { guest: 0, on: true }.apply(tables, datapath));
    let data: Vec<u8> = (0..1472).map(|at| at as u8).collect();
    let ends = [GUEST_ADDRESS[0], [10, 0, 0, 99]];
    let packet = inet(ends[0], ends[1], UDP, packets::udp(ends, [5, 6], &data));
    let bytes = packets::ethernet(Mac([2, 9, 9, 9, 9, 9]), GUEST_MAC[0], 0x0800, &packet);
    let sent = lab.receive(&[Traffic { vif: GUESTS[0], bytes: bytes.clone(), offload: Offload::NONE }]);
    let copies: Vec<_> = sent.iter().filter(|frame| frame.vif == FABRIC).collect();
    assert!(
        copies
            .iter()
            .all(|copy| copy.bytes.len() <= 14 + UNDERLAY_MTU && checksum::is_valid(&copy.bytes[14..34]))
    );
    let parts: Vec<_> = copies.iter().map(|copy| copy.bytes[14..].to_vec()).collect();
    assert_eq!(parts.len(), 2);
    let [datagram] = &reassemble(&parts)[..] else { panic!("one datagram") };
    assert!(checksum::inet_l4_is_valid(&NODE, &ANALYZER, UDP, datagram));
    assert_eq!(datagram[8..], bytes);
    lab.close();
}

/// Frames that no IPv4 header says how to fragment.
#[test]
fn what_is_too_long_for_the_underlay_and_cannot_be_fragmented_is_dropped_and_counted() {
    let mut lab = Lab::new(true);
    let frame = |mac, len| {
        let bytes = packets::ethernet(mac, GUEST_MAC[0], 0x9000, &vec![1; len]);
        Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }
    };
    // The longest in each tunnel, by the order of the remote guests.
    for (far, longest) in [1454, 1458, 1450].into_iter().enumerate() {
        assert_eq!(lab.receive(&[frame(REMOTE_MAC[far], longest)]).len(), 1);
        assert_eq!(lab.receive(&[frame(REMOTE_MAC[far], longest + 1)]), []);
        assert_eq!(lab.drops(DropReason::InterfaceDrop), far as u64 + 1);
    }
    // Flooded, the copies for the tree have the longest headers.
    let [guest, by_udp, by_gre, peer] = sort(&lab.receive(&[frame(Mac::BROADCAST, 1440)]));
    assert_eq!([guest.len(), by_udp.len(), by_gre.len(), peer.len()], [1, 0, 0, 1]);
    assert_eq!(lab.drops(DropReason::InterfaceDrop), 5);
    lab.close();
}
