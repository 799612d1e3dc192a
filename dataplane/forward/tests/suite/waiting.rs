//! Packets that wait for the agent while the tables change.

use vr_frame::Offload;
use vr_tables::flow::FlowAction;
use vr_types::{DropReason, Mac};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{
    AGENT, FABRIC, GUEST_MAC, GUESTS, LABELS, PEER, add_other_nexthop, add_routed_nexthop,
    remove_routed_nexthop,
};

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: false };

/// A node on which a packet from the fabric for the first guest waits.
fn waiting() -> Lab {
    let mut lab = Lab::new(true);
    assert_eq!(send(&mut lab), [AGENT]);
    lab
}

/// Sends a packet of the flow; where frames went.
fn send(lab: &mut Lab) -> Vec<vr_types::VifId> {
    let (ends, ports) = FLOW.ends();
    let inet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    };
    let bytes = from_peer(Wrap::Udp(LABELS[0][0]), PEER, 64, &inet.bytes());
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes, offload: Offload::NONE }]);
    sent.iter().map(|frame| frame.vif).collect()
}

/// The agent lets the flow pass; where its packet went.
fn release(lab: &mut Lab) -> Vec<vr_types::VifId> {
    let set = Change::SetFlow { flow: FLOW, action: FlowAction::Forward, ttl: 0, check_source: true };
    lab.command(|tables, datapath| set.apply(tables, datapath)).iter().map(|frame| frame.vif).collect()
}

#[test]
fn a_packet_goes_where_it_was_on_its_way_to() {
    let mut lab = waiting();
    assert_eq!(release(&mut lab), [GUESTS[0]]);
    lab.close();
}

/// The slot of the packet's nexthop has another nexthop by now.
#[test]
fn a_packet_never_takes_the_successor_of_its_nexthop() {
    let mut lab = waiting();
    lab.command(|tables, _| remove_routed_nexthop(tables));
    lab.command(|tables, _| add_other_nexthop(tables));
    assert_eq!(release(&mut lab), []);
    assert_eq!(lab.drops(DropReason::InvalidNh), 1);
    lab.close();
}

#[test]
fn a_packet_finds_its_nexthop_in_another_slot() {
    let mut lab = waiting();
    lab.command(|tables, _| remove_routed_nexthop(tables));
    lab.command(|tables, _| add_other_nexthop(tables));
    lab.command(|tables, _| add_routed_nexthop(tables));
    assert_eq!(release(&mut lab), [GUESTS[0]]);
    lab.close();
}

/// The agent does not answer.
#[test]
fn a_packet_does_not_wait_for_ever() {
    let mut lab = waiting();
    assert_eq!(lab.pass(6000), []);
    assert_eq!(lab.drops(DropReason::FlowUnusable), 1);
    assert_eq!(release(&mut lab), []);
    lab.close();
}

/// Super-frames are few, and a guest may not have them all by flows that nobody decides about.
#[test]
fn few_of_the_packets_that_wait_are_super_frames() {
    let mut lab = Lab::new(true);
    let send = |lab: &mut Lab, port, len| {
        let flow = Flow { port, outwards: true, ..FLOW };
        let (ends, ports) = flow.ends();
        let [source, destination] = ends;
        let inet = Inet {
            source,
            destination,
            protocol: UDP,
            id: 1,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
            payload: packets::udp(ends, ports, &vec![0; len]),
        };
        let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes());
        lab.receive(&[Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }]).len()
    };
    let asked: usize = (0..35).map(|number| send(&mut lab, 1000 + number, 4000)).sum();
    assert_eq!((asked, lab.drops(DropReason::TrapOriginal)), (35, 3), "the last ones only ask");
    assert_eq!(send(&mut lab, 1034, 4000), 0, "and only once");
    assert_eq!(lab.drops(DropReason::FlowNoMemory), 1);
    assert_eq!(send(&mut lab, 2000, 100), 1, "there is room for others");
    assert_eq!((lab.drops(DropReason::TrapOriginal), lab.drops(DropReason::FlowNoMemory)), (3, 1));
    lab.pass(6000);
    assert_eq!(send(&mut lab, 2001, 4000), 1, "the places are free again");
    lab.close();
}

/// The agent may not have got the first question.
#[test]
fn the_agent_is_asked_again_by_later_packets_of_the_flow() {
    let mut lab = waiting();
    assert_eq!(lab.pass(1500), []);
    for _ in 0..2 {
        assert_eq!(send(&mut lab), [], "it has time to answer");
    }
    assert_eq!(lab.pass(700), []);
    assert_eq!(send(&mut lab), [AGENT], "no packet finds room, and the agent hears of the flow");
    assert_eq!(lab.drops(DropReason::FlowQueueLimitExceeded), 1);
    assert_eq!(send(&mut lab), [], "it has time again");
    assert_eq!(release(&mut lab), [GUESTS[0]; 3]);
    lab.close();
}
