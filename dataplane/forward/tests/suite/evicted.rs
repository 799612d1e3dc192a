//! TCP connections that are over make room (forwarding.md 6.9).

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::{Offload, PoolSizes};
use vr_tables::flow::{FlowAction, FlowFlags, TcpFlags};
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_types::{DropReason, FlowIndex, Mac, VifId};

use crate::changes::{Change, Flow};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, TCP, Wrap, from_peer, tcp};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, LABELS, PEER};

const OUT: Flow = Flow { guest: 0, far: 0, protocol: TCP, port: 1000, outwards: true };
const IN: Flow = Flow { outwards: false, ..OUT };
const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;

/// A segment of the connection: who sends it, its flags, sequence and acknowledgement number.
fn segment(flow: Flow, flags: u8, numbers: [u32; 2]) -> Traffic {
    let (ends, ports) = flow.ends();
    let inet = Inet {
        source: ends[0],
        destination: ends[1],
        protocol: TCP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: tcp(ends, ports, numbers, flags, &[]),
    };
    let (vif, bytes) = if flow.outwards {
        (GUESTS[0], packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, &inet.bytes()))
    } else {
        (FABRIC, from_peer(Wrap::Udp(LABELS[0][0]), PEER, 64, &inet.bytes()))
    };
    Traffic { vif, bytes, offload: Offload::NONE }
}

fn send(lab: &mut Lab, segments: &[Traffic]) -> Vec<VifId> {
    lab.receive(segments).iter().map(|sent| sent.vif).collect()
}

/// Both directions of the connection, linked to each other.
fn connected(any_reset: bool) -> (Lab, [FlowIndex; 2]) {
    let options = Options { close_flow_on_rst: any_reset, ..Options::default() };
    let sizes = PoolSizes { packets: 256, supers: 16 };
    let mut lab = Lab::of(options, Geometry { entries: 256, overflow: 64 }, sizes, true);
    for flow in [OUT, IN, OUT] {
        let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
        lab.command(|tables, datapath| set.apply(tables, datapath));
    }
    let table = lab.tables().flow_table();
    let indexes = [OUT, IN].map(|flow| table.find(&flow.key(), flow.key().hash()).unwrap());
    (lab, indexes)
}

fn flags(lab: &Lab, index: FlowIndex) -> FlowFlags {
    lab.tables().flow_table().shared(index).unwrap().flags()
}

#[test]
fn a_connection_that_was_closed_by_both_sides_is_evicted() {
    let (mut lab, [out, back]) = connected(false);
    for (flow, flags, numbers) in [
        (OUT, SYN, [100, 0]),
        (IN, SYN | ACK, [500, 101]),
        (OUT, ACK, [101, 501]),
        (OUT, FIN | ACK, [101, 501]),
        (IN, ACK, [501, 102]),
        (IN, FIN | ACK, [501, 102]),
    ] {
        assert_eq!(send(&mut lab, &[segment(flow, flags, numbers)]).len(), 1);
        assert!([out, back].iter().all(|index| lab.tables().flow_table().in_use(*index)));
    }
    assert_eq!(send(&mut lab, &[segment(OUT, ACK, [102, 502])]), [FABRIC], "the last one is forwarded");
    let table = lab.tables().flow_table();
    for index in [out, back] {
        let shared = table.shared(index).unwrap();
        assert!(!table.in_use(index) && shared.tcp_flags().contains(TcpFlags::DEAD));
        assert_eq!(flags(&lab, index), FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID | FlowFlags::EVICTED);
        assert_eq!(shared.generation.load(Relaxed), 1);
    }
    assert_eq!(table.shared(out).unwrap().counters(), (4, 4 * 54));
    assert_eq!(table.shared(back).unwrap().counters(), (3, 3 * 40));
    let totals = lab.tables().flow_totals();
    assert_eq!((table.used(), totals.evicted, totals.deleted), ((0, 0), 2, 0));
    lab.close();
}

#[test]
fn packets_behind_the_end_are_drops_until_the_slots_are_free() {
    let (mut lab, _) = connected(true);
    let ack = |flow| segment(flow, ACK, [7, 7]);
    // One batch, so that the grace period does not end in it.
    let sent = send(&mut lab, &[ack(OUT), ack(OUT), segment(OUT, RST, [9, 9]), ack(OUT), ack(OUT)]);
    assert_eq!((sent, lab.drops(DropReason::FlowEvict)), (vec![FABRIC; 3], 2));
    assert_eq!(send(&mut lab, &[ack(IN)]), [AGENT], "a new flow");
    lab.close();
}

#[test]
fn the_agent_hears_what_the_predecessor_has_left() {
    let (mut lab, [out, _]) = connected(true);
    send(&mut lab, &[segment(OUT, ACK, [7, 7]), segment(OUT, RST, [9, 9])]);
    let sent = lab.receive(&[segment(OUT, SYN, [5, 0])]);
    let header: Vec<u32> = sent[0].bytes[20..]
        .chunks_exact(4)
        .take(5)
        .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
        .collect();
    // Index, nexthop of the key, bytes, packets, overflow.
    assert_eq!((sent[0].vif, header[0], &header[2..]), (AGENT, out.0, &[2 * 54, 2, 0][..]));
    let table = lab.tables().flow_table();
    assert_eq!(table.shared(out).unwrap().generation.load(Relaxed), 2);
    assert_eq!(table.counters(out), (1, 54), "its own");
    assert_eq!(flags(&lab, out), FlowFlags::ACTIVE);
    // Once only: the next flow in the slot follows one that was deleted.
    lab.command(|tables, datapath| Change::RemoveFlow(OUT).apply(tables, datapath));
    let sent = lab.receive(&[segment(OUT, SYN, [5, 0])]);
    assert_eq!(sent[0].bytes[28..40], [0; 12]);
    lab.close();
}

#[test]
fn a_flow_that_waits_for_the_agent_is_not_evicted_by_a_reset() {
    let (mut lab, _) = connected(true);
    let flow = Flow { port: 2000, ..OUT };
    assert_eq!(send(&mut lab, &[segment(flow, RST, [0, 0])]), [AGENT]);
    assert_eq!(send(&mut lab, &[segment(flow, ACK, [0, 0])]), []);
    let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
    assert_eq!(lab.command(|tables, datapath| set.apply(tables, datapath)).len(), 2, "both waited");
    assert_eq!(lab.tables().flow_totals().evicted, 0);
    // The next one finds that the connection is over.
    assert_eq!(send(&mut lab, &[segment(flow, ACK, [0, 0])]), [FABRIC]);
    assert_eq!(lab.tables().flow_totals().evicted, 1);
    lab.close();
}

/// The agent learns of a connection by the segment that ends it.
#[test]
fn the_packets_that_waited_evict_when_the_agent_has_linked_both_directions() {
    let (mut lab, _) = connected(true);
    let flow = Flow { port: 2000, ..OUT };
    assert_eq!(send(&mut lab, &[segment(flow, RST, [0, 0])]), [AGENT]);
    // The other direction is set first, and inherits the end.
    for (flow, released) in [(flow.reversed(), 0), (flow, 1)] {
        let set = Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true };
        assert_eq!(lab.command(|tables, datapath| set.apply(tables, datapath)).len(), released);
    }
    assert_eq!(lab.tables().flow_totals().evicted, 2);
    lab.close();
}

#[test]
fn a_flow_whose_reverse_goes_on_stays() {
    let (mut lab, [out, back]) = connected(false);
    lab.tables().flow_table().set_tcp_flags(out, TcpFlags::DEAD);
    assert_eq!(send(&mut lab, &[segment(OUT, ACK, [1, 1])]), [FABRIC]);
    assert_eq!(lab.tables().flow_totals().evicted, 0);
    lab.tables().flow_table().set_tcp_flags(back, TcpFlags::DEAD);
    assert_eq!(send(&mut lab, &[segment(OUT, ACK, [1, 1])]), [FABRIC]);
    assert_eq!(lab.tables().flow_totals().evicted, 2);
    lab.close();
}
