//! Packets while an agent restarts, and after it.

use std::time::Instant;

use vr_frame::Offload;
use vr_tables::control::VifSpec;
use vr_tables::flow::FlowAction;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{DropReason, Mac, NexthopId, TrapReason, VifId, VrfId};
use vr_wire::agent_header::Form;

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{
    self, AGENT, FABRIC, GUEST_ADDRESS, GUEST_MAC, GUESTS, HOST, LABELS, NODE, NODE_MAC, PEER, PEER_MAC,
    ROUTED, TO_HOST, VRF,
};

const INWARDS: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: false };
const OUTWARDS: Flow = Flow { outwards: true, ..INWARDS };
const FLOW_MISS: u16 = TrapReason::FlowMiss as u16;

fn frame(flow: Flow, ttl: u8) -> Traffic {
    let (ends, ports) = flow.ends();
    let inet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    };
    let (vif, bytes) = if flow.outwards {
        let mac = Mac::VIRTUAL_ROUTER;
        (GUESTS[flow.guest], packets::ethernet(mac, GUEST_MAC[flow.guest], 0x0800, &inet.bytes()))
    } else {
        (FABRIC, from_peer(Wrap::Udp(LABELS[flow.guest][0]), PEER, 64, &inet.bytes()))
    };
    Traffic { vif, bytes, offload: Offload::NONE }
}

fn send(lab: &mut Lab, flow: Flow) -> Vec<VifId> {
    lab.receive(&[frame(flow, 64)]).iter().map(|frame| frame.vif).collect()
}

/// A node with an established flow in both directions, which the fast lanes know if there are some.
fn established(fast: bool) -> Lab {
    let mut lab = Lab::new(fast);
    for flow in [OUTWARDS, INWARDS, OUTWARDS] {
        let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
        lab.command(|tables, datapath| set.apply(tables, datapath));
    }
    both_pass(&mut lab);
    lab
}

#[track_caller]
fn both_pass(lab: &mut Lab) {
    for _ in 0..3 {
        assert_eq!(send(lab, OUTWARDS), [FABRIC]);
        assert_eq!(send(lab, INWARDS), [GUESTS[0]]);
    }
}

fn finish(lab: &mut Lab) {
    lab.command(|tables, datapath| {
        tables.finish_restart(Instant::now(), datapath).unwrap();
    });
}

#[test]
fn established_flows_go_on_and_nothing_else_of_guests() {
    for fast in [true, false] {
        let mut lab = established(fast);
        lab.command(|tables, datapath| tables.reset(datapath));
        both_pass(&mut lab);
        lab.command(|tables, datapath| world::program_devices(tables, datapath, ["vif4", "vif3"]));
        both_pass(&mut lab);
        for other in [Flow { port: 2000, ..OUTWARDS }, Flow { port: 2000, ..INWARDS }] {
            assert_eq!(send(&mut lab, other), []);
        }
        assert_eq!(lab.drops(DropReason::DropNewFlow), 2);
        assert_eq!(lab.flows().len(), 2);
        assert_eq!(lab.receive(&[frame(OUTWARDS, 1)]), [], "the agent would take it for another guest's");
        assert_eq!(lab.drops(DropReason::TrapNoIf), 1);
        lab.close();
    }
}

#[test]
fn the_agent_hears_of_the_underlay_and_sends_there_only() {
    let mut lab = established(true);
    lab.command(|tables, datapath| tables.reset(datapath));
    let reply = [&[0, 1, 8, 0, 6, 4, 0, 2], &PEER_MAC.0[..], &PEER, &NODE_MAC.0, &NODE].concat();
    let bytes = packets::ethernet(NODE_MAC, PEER_MAC, 0x0806, &reply);
    let sent = lab.receive(&[Traffic { vif: FABRIC, bytes: bytes.clone(), offload: Offload::NONE }]);
    assert!(sent.iter().any(|frame| frame.vif == AGENT));
    let mut inject = |vif: VifId, vrf: VrfId, command: u16| {
        let mut header = vec![0; Form::Current.len()];
        for (place, word) in [vif.0, vrf.0, command].into_iter().enumerate() {
            header[2 * place..2 * place + 2].copy_from_slice(&word.to_be_bytes());
        }
        let injected = packets::ethernet(NODE_MAC, NODE_MAC, 0x0800, &[&header[..], &bytes].concat());
        let sent = lab.receive(&[Traffic { vif: AGENT, bytes: injected, offload: Offload::NONE }]);
        sent.iter().map(|frame| frame.vif).collect::<Vec<_>>()
    };
    let (switch, route) = (0, 1);
    assert_eq!(inject(FABRIC, VrfId::FABRIC, switch), [FABRIC]);
    assert_eq!(inject(GUESTS[0], VrfId::FABRIC, switch), []);
    assert_eq!(inject(GUESTS[0], VRF, route), []);
    assert_eq!(inject(HOST, VRF, route), []);
    assert_eq!(lab.drops(DropReason::InvalidIf), 3);
    lab.close();
}

#[test]
fn the_host_passes_without_new_flows_but_not_to_guests() {
    let mut lab = Lab::new(true);
    let from_host = |destination: [u8; 4]| {
        let ends = [NODE, destination];
        let inet = Inet {
            source: NODE,
            destination,
            protocol: UDP,
            id: 1,
            fragment: 0,
            ttl: 64,
            options: Vec::new(),
            payload: packets::udp(ends, [1, 2], b"data"),
        };
        let bytes = packets::ethernet(NODE_MAC, NODE_MAC, 0x0800, &inet.bytes());
        Traffic { vif: HOST, bytes, offload: Offload::NONE }
    };
    lab.command(|tables, datapath| {
        let host = VifSpec {
            flags: VifFlags::POLICY | VifFlags::L3 | VifFlags::L2,
            nexthop: NexthopId(TO_HOST),
            ..VifSpec::new(HOST, VifKind::Host, "vif1")
        };
        tables.vif_add(&host, datapath).unwrap();
        tables.route_add(&world::route(VrfId::FABRIC, GUEST_ADDRESS[0], ROUTED[0], None)).unwrap();
    });
    let send =
        |lab: &mut Lab, to| lab.receive(&[from_host(to)]).iter().map(|frame| frame.vif).collect::<Vec<_>>();
    assert_eq!(send(&mut lab, PEER), [AGENT], "there is a policy");
    lab.command(|tables, datapath| tables.reset(datapath));
    assert_eq!(send(&mut lab, PEER), [FABRIC]);
    assert_eq!(send(&mut lab, GUEST_ADDRESS[0]), []);
    assert_eq!(lab.drops(DropReason::DropNewFlow), 1);
    lab.close();
}

#[test]
fn flows_that_stay_are_shown_to_the_agent_once_and_pass() {
    for fast in [true, false] {
        let mut lab = established(fast);
        lab.command(|tables, datapath| tables.reset(datapath));
        lab.command(|tables, datapath| world::program(tables, datapath));
        both_pass(&mut lab);
        finish(&mut lab);
        for (flow, to, from) in [(OUTWARDS, FABRIC, GUESTS[0]), (INWARDS, GUESTS[0], FABRIC)] {
            let sent = lab.receive(&[frame(flow, 64)]);
            let places: Vec<VifId> = sent.iter().map(|frame| frame.vif).collect();
            assert_eq!(places, [AGENT, to]);
            let word = |at: usize| u16::from_be_bytes([sent[0].bytes[14 + at], sent[0].bytes[15 + at]]);
            assert_eq!([word(0), word(2), word(4)], [from.0, VRF.0, FLOW_MISS]);
        }
        both_pass(&mut lab);
        for flow in [INWARDS, OUTWARDS] {
            let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
            lab.command(|tables, datapath| set.apply(tables, datapath));
        }
        both_pass(&mut lab);
        lab.close();
    }
}

/// The devices of the guests have changed numbers, addresses and all.
#[test]
fn flows_whose_numbers_are_those_of_another_guest_are_none() {
    for fast in [true, false] {
        let mut lab = established(fast);
        lab.command(|tables, datapath| tables.reset(datapath));
        lab.command(|tables, datapath| world::program_devices(tables, datapath, ["vif4", "vif3"]));
        finish(&mut lab);
        lab.command(|_, _| ());
        assert!(lab.flows().is_empty());
        assert_eq!(send(&mut lab, OUTWARDS), [AGENT]);
        assert_eq!(send(&mut lab, INWARDS), [AGENT]);
        lab.close();
    }
}

/// A later fragment that waits for its first one is given up: its datagram may be another guest's by now.
#[test]
fn fragments_do_not_wait_beyond_the_switch() {
    let mut lab = established(true);
    let (ends, ports) = OUTWARDS.ends();
    let whole = packets::udp(ends, ports, &[7; 64]);
    let fragment = |offset: usize| {
        let (fragment, payload) = if offset == 0 { (0x2000, &whole[..32]) } else { (4, &whole[32..]) };
        let inet = Inet {
            source: ends[0],
            destination: ends[1],
            protocol: UDP,
            id: 9,
            fragment,
            ttl: 64,
            options: Vec::new(),
            payload: payload.to_vec(),
        };
        Traffic {
            bytes: packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes()),
            ..frame(OUTWARDS, 64)
        }
    };
    assert_eq!(lab.receive(&[fragment(32)]), []);
    lab.command(|tables, datapath| tables.reset(datapath));
    lab.command(|tables, datapath| world::program(tables, datapath));
    finish(&mut lab);
    let sent = lab.receive(&[fragment(0)]);
    assert_eq!(sent.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [AGENT, FABRIC]);
    assert_eq!(lab.drops(DropReason::FragErr), 1);
    lab.close();
}
