//! Fragments take the ports of the first one of their datagram, in whatever order they come.

use proptest::prelude::*;
use vr_tables::flow::FlowAction;
use vr_types::{DropReason, Mac};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::oversize::reassemble;
use crate::packets::{self, Inet, UDP, unwrap};
use crate::world::{AGENT, GUEST_MAC, GUESTS};

const FLOW: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 1000, outwards: true };
/// Fragments of one guest that may wait, and datagrams of one guest that are followed.
const WAITING: usize = 32;
const DATAGRAMS: usize = 512;
/// Super-frames that may wait, of all senders together.
const SUPERS: usize = 32;

fn set(lab: &mut Lab) -> Vec<Traffic> {
    let set = Change::SetFlow { flow: FLOW, action: FlowAction::Forward, ttl: 0, check_source: true };
    lab.command(|tables, datapath| set.apply(tables, datapath))
}

fn datagram(len: usize) -> Vec<u8> {
    let (ends, ports) = FLOW.ends();
    packets::udp(ends, ports, &(0..len).map(|at| at as u8).collect::<Vec<_>>())
}

/// A part of a datagram: `from` is a multiple of eight.
fn fragment(id: u16, datagram: &[u8], from: usize, to: usize) -> Traffic {
    let (ends, _) = FLOW.ends();
    let to = to.min(datagram.len());
    let more = if to < datagram.len() { 0x2000 } else { 0 };
    let inet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id,
        fragment: more | (from / 8) as u16,
        ttl: 64,
        options: Vec::new(),
        payload: datagram[from..to].to_vec(),
    };
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes());
    Traffic { vif: GUESTS[0], bytes, offload: vr_frame::Offload::NONE }
}

fn fragments(id: u16, datagram: &[u8], size: usize) -> Vec<Traffic> {
    (0..datagram.len()).step_by(size).map(|from| fragment(id, datagram, from, from + size)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fragments_pass_once_whatever_their_order(
        order in Just((0..3u16).flat_map(|id| fragments(id, &datagram(300), 80)).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let mut lab = Lab::new(true);
        set(&mut lab);
        let mut sent: Vec<_> = order.iter().flat_map(|frame| lab.receive(std::slice::from_ref(frame))).collect();
        let ports: Vec<_> = sent.iter().map(|frame| unwrap(&frame.bytes).source_port).collect();
        prop_assert!(ports.windows(2).all(|pair| pair[0] == pair[1]), "one flow, one source port");
        // By id, then by offset.
        sent.sort_by_key(|frame| (frame.bytes[50..52].to_vec(), frame.bytes[52] & 0x1f, frame.bytes[53]));
        let inner: Vec<_> = sent.iter().map(|frame| unwrap(&frame.bytes).payload).collect();
        prop_assert_eq!(reassemble(&inner), vec![datagram(300); 3]);
        lab.close();
    }
}

#[test]
fn fragments_of_a_new_flow_wait_for_the_agent_together() {
    let mut lab = Lab::new(true);
    let parts = fragments(1, &datagram(200), 80);
    let [first, rest @ ..] = &parts[..] else { panic!("no fragments") };
    let trapped = lab.receive(std::slice::from_ref(first));
    assert_eq!(trapped.iter().map(|frame| frame.vif).collect::<Vec<_>>(), [AGENT]);
    assert_eq!(lab.receive(rest), []);
    let inner: Vec<_> = set(&mut lab).iter().map(|frame| unwrap(&frame.bytes).payload).collect();
    assert_eq!(reassemble(&inner), [datagram(200)]);
    lab.close();
}

#[test]
fn what_waits_too_long_or_in_vain_is_dropped() {
    let mut lab = Lab::new(true);
    set(&mut lab);
    let data = datagram(200);
    for id in 0..WAITING as u16 + 2 {
        assert_eq!(lab.receive(&[fragment(id, &data, 80, 160)]), []);
    }
    assert_eq!(lab.drops(DropReason::FragmentQueueFail), 2);
    assert_eq!(lab.pass(3000), []);
    assert_eq!(lab.drops(DropReason::FragErr), WAITING as u64);
    // The place is free again.
    assert_eq!(lab.receive(&[fragment(7, &data, 80, 160)]), []);
    assert_eq!(lab.receive(&[fragment(7, &data, 0, 80)]).len(), 2);
    lab.close();
}

#[test]
fn datagrams_without_end_take_the_places_of_their_guest_only() {
    let mut lab = Lab::new(true);
    set(&mut lab);
    let data = datagram(200);
    let first = |id: usize| fragment(id as u16, &data, 0, 80);
    for ids in (0..DATAGRAMS).collect::<Vec<_>>().chunks(64) {
        assert_eq!(lab.receive(&ids.iter().map(|id| first(*id)).collect::<Vec<_>>()).len(), ids.len());
    }
    // One that cannot be remembered goes on, and what follows it waits in vain.
    assert_eq!(lab.receive(&[first(DATAGRAMS)]).len(), 1);
    assert_eq!(lab.receive(&[fragment(DATAGRAMS as u16, &data, 80, 160)]), []);
    // Another guest's datagrams are remembered: its first fragment is shown to the agent, and the second one waits
    // for the flow with it.
    let others = |from| Traffic { vif: GUESTS[1], ..fragment(1, &data, from, from + 80) };
    assert_eq!(lab.receive(&[others(0)]).iter().map(|frame| frame.vif).collect::<Vec<_>>(), [AGENT]);
    assert_eq!(lab.receive(&[others(80)]), []);
    lab.pass(3000);
    assert_eq!(lab.drops(DropReason::FragErr), 1);
    assert_eq!(lab.receive(&[first(DATAGRAMS)]).len(), 1);
    // Complete datagrams are forgotten at once.
    assert_eq!(lab.receive(&fragments(9, &data, 80)).len(), 3);
    assert_eq!(lab.receive(&[fragment(9, &data, 80, 160)]), []);
    lab.close();
}

#[test]
fn few_of_the_fragments_that_wait_are_super_frames() {
    let mut lab = Lab::new(true);
    let data = datagram(6000);
    for id in 0..SUPERS as u16 + 3 {
        let vif = GUESTS[usize::from(id % 2)];
        assert_eq!(lab.receive(&[Traffic { vif, ..fragment(id, &data, 80, 5000) }]), []);
    }
    assert_eq!(lab.drops(DropReason::FragmentQueueFail), 3);
    assert_eq!(lab.receive(&[fragment(100, &data, 80, 160)]), []);
    assert_eq!(lab.drops(DropReason::FragmentQueueFail), 3, "there is room for others");
    lab.close();
}

/// Another guest sends a first fragment in the name of the one whose fragment waits.
#[test]
fn no_guest_speaks_for_another() {
    let mut lab = Lab::new(true);
    set(&mut lab);
    let data = datagram(200);
    assert_eq!(lab.receive(&[fragment(1, &data, 80, 160)]), []);
    let spoofed = Traffic { vif: GUESTS[1], ..fragment(1, &data, 0, 80) };
    // Its own flow is unknown, so the agent sees it; nothing else happens.
    assert_eq!(lab.receive(&[spoofed]).iter().map(|frame| frame.vif).collect::<Vec<_>>(), [AGENT]);
    assert_eq!(lab.receive(&[fragment(1, &data, 0, 80)]).len(), 2);
    lab.close();
}
