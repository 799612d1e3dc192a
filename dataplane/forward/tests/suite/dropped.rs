//! The log of dropped packets (forwarding.md 9.8).

use vr_frame::Offload;
use vr_tables::control::OptionsChange;
use vr_tables::drop_log::{DropLogging, Dropped};
use vr_tables::flow::FlowAction;
use vr_types::{DropReason, Mac, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{FABRIC, GUEST_MAC, GUESTS, LABELS, PEER};

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };

fn inet() -> Vec<u8> {
    let (ends, ports) = FLOW.ends();
    let packet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, &[7; 200]),
    };
    packet.bytes()
}

/// Packets that are dropped: by a flow, for want of a label, and one that has no IP header.
fn drop_three(lab: &mut Lab) -> [Vec<u8>; 3] {
    let set = Change::SetFlow { flow: FLOW, action: FlowAction::Drop, ttl: 0, check_source: true };
    lab.command(|tables, datapath| set.apply(tables, datapath));
    let frames = [
        packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet()),
        from_peer(Wrap::Udp(999), PEER, 64, &inet()),
        packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x9999, &[1, 2, 3]),
    ];
    for (vif, bytes) in [GUESTS[0], FABRIC, GUESTS[0]].into_iter().zip(&frames) {
        assert!(lab.receive(&[Traffic { vif, bytes: bytes.clone(), offload: Offload::NONE }]).is_empty());
    }
    frames
}

fn logging(lab: &mut Lab, logging: DropLogging) {
    let change = OptionsChange { drop_log: Some(logging), ..OptionsChange::default() };
    lab.command(|tables, _| tables.set_options(&change));
}

fn facts(dropped: &Dropped) -> (DropReason, u8, VifId, u16) {
    (dropped.reason, dropped.kind, dropped.vif, dropped.length)
}

#[test]
fn drops_are_logged_with_the_first_bytes_of_packets() {
    for minimal in [true, false] {
        let mut lab = Lab::new(true);
        logging(&mut lab, DropLogging { minimal, only: None });
        let frames = drop_three(&mut lab);
        let log = lab.drop_log();
        let lengths = frames.each_ref().map(|frame| frame.len() as u16);
        assert_eq!(
            log.iter().map(facts).collect::<Vec<_>>(),
            [
                (DropReason::FlowActionDrop, 2, GUESTS[0], lengths[0]),
                (DropReason::InvalidLabel, 2, FABRIC, lengths[1]),
                (DropReason::InvalidProtocol, 8, GUESTS[0], lengths[2]),
            ]
        );
        assert!(log.windows(2).all(|pair| pair[0].at < pair[1].at));
        // From the IP header on, if there is one.
        for (dropped, bytes) in log.iter().zip([&frames[0][14..], &frames[1][14..], &frames[2][..]]) {
            let length = if minimal { 0 } else { bytes.len().min(100) };
            assert_eq!(usize::from(dropped.head_len), length);
            // The TTL of the outer header and its checksum have changed on the way.
            let same = [0..length.min(8), length.min(12)..length];
            assert!(same.into_iter().all(|range| dropped.head[range.clone()] == bytes[range]));
            assert!(dropped.head[length..].iter().all(|byte| *byte == 0));
        }
        lab.close();
    }
}

#[test]
fn only_drops_of_the_chosen_reason_are_logged() {
    let mut lab = Lab::new(true);
    logging(&mut lab, DropLogging { minimal: true, only: Some(DropReason::InvalidLabel) });
    drop_three(&mut lab);
    let reasons: Vec<DropReason> = lab.drop_log().iter().map(|dropped| dropped.reason).collect();
    assert_eq!(reasons, [DropReason::InvalidLabel]);
    lab.close();
}

/// The TTL counts for labels that could lead somewhere (forwarding.md 5.2).
#[test]
fn the_ttl_of_a_label_is_looked_at_before_the_label_leads_nowhere() {
    use DropReason::{InvalidLabel, TtlExceeded};
    let beyond_the_table = 2048;
    for (label, ttl, reason) in [
        (LABELS[0][0], 1, TtlExceeded),
        (999, 1, TtlExceeded),
        (999, 2, InvalidLabel),
        (beyond_the_table, 1, InvalidLabel),
        (beyond_the_table, 2, InvalidLabel),
    ] {
        let mut lab = Lab::new(true);
        let bytes = from_peer(Wrap::Udp(label), PEER, ttl, &inet());
        assert!(lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]).is_empty());
        assert_eq!(lab.drops(reason), 1, "label {label}, TTL {ttl}");
        lab.close();
    }
}
