//! Floods of new flows beside established ones.

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::{Offload, PoolSizes};
use vr_tables::control::FlowSpec;
use vr_tables::flow::{FlowAction, FlowFlags};
use vr_tables::geometry::Geometry;
use vr_tables::options::{FlowOptions, Options};
use vr_tables::stats::Cores;
use vr_types::{DropReason, FlowIndex, Mac};

use crate::changes::{Change, Flow, new_spec};
use crate::lab::{Lab, Traffic};
use crate::packets::{self, Inet, UDP, Wrap, from_peer};
use crate::world::{AGENT, FABRIC, GUEST_MAC, GUESTS, LABELS, PEER, REMOTE};

const GEOMETRY: Geometry = Geometry { entries: 16_384, overflow: 4096 };
const HOLD_LIMIT: i32 = 4096;
/// Pairs of established flows: ten thousand entries.
const PAIRS: u16 = 5000;
const BATCH: usize = 64;
/// Batches of random packets.
const BATCHES: usize = 5000;
/// After how many of these the daemon has its turn: ten milliseconds.
const TURN: usize = 10;
/// What the agent decides about in the time of a batch, a millisecond.
const DECIDED: usize = 8;

const FIRST: Flow = Flow { guest: 0, far: 0, protocol: UDP, port: 0, outwards: true };

struct Flood {
    lab: Lab,
    seed: u64,
    /// Random packets so far, and of these how often the agent was asked.
    sent: u64,
    asked: u64,
    /// Packets of established flows so far.
    steady: u64,
}

fn inet(ends: [[u8; 4]; 2], ports: [u16; 2]) -> Vec<u8> {
    Inet {
        source: ends[0],
        destination: ends[1],
        protocol: UDP,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: packets::udp(ends, ports, b"data"),
    }
    .bytes()
}

fn from_guest(inet: &[u8]) -> Traffic {
    let bytes = packets::ethernet(Mac::VIRTUAL_ROUTER, GUEST_MAC[0], 0x0800, inet);
    Traffic { vif: GUESTS[0], bytes, offload: Offload::NONE }
}

/// A packet of an established flow, and where it goes.
fn steady(flow: Flow) -> Traffic {
    let (ends, ports) = flow.ends();
    let inet = inet(ends, ports);
    if flow.outwards {
        return from_guest(&inet);
    }
    let bytes = from_peer(Wrap::Udp(LABELS[0][0]), PEER, 64, &inet);
    Traffic { vif: FABRIC, bytes, offload: Offload::NONE }
}

/// The entry that a trap is about.
fn asked_about(trap: &Traffic) -> FlowIndex {
    FlowIndex(u32::from_be_bytes(trap.bytes[20..24].try_into().unwrap()))
}

impl Flood {
    /// Ten thousand entries of which each has had a packet.
    fn new(protect: bool) -> Self {
        let flows = FlowOptions { protect, ..FlowOptions::default() };
        let options = Options { flow_hold_limit: HOLD_LIMIT, flows, ..Options::default() };
        let mut lab = Lab::of(options, GEOMETRY, PoolSizes { packets: 8192, supers: 16 }, true);
        lab.command(|tables, datapath| {
            for port in 0..PAIRS {
                for outwards in [true, false, true] {
                    let flow = Flow { port, outwards, ..FIRST };
                    Change::SetFlow { flow, action: FlowAction::Forward, ttl: 0, check_source: true }
                        .apply(tables, datapath);
                }
            }
        });
        assert_eq!(lab.flows().len(), 10_000);
        let mut flood = Self { lab, seed: 1, sent: 0, asked: 0, steady: 0 };
        (0..PAIRS).step_by(BATCH).for_each(|port| flood.established(port));
        flood
    }

    fn random(&mut self) -> u64 {
        self.seed = self.seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.seed >> 16
    }

    /// A batch of each direction of some established flows; all of it goes out.
    fn established(&mut self, first: u16) {
        let ports = first..PAIRS.min(first + BATCH as u16);
        for (outwards, target) in [(true, FABRIC), (false, GUESTS[0])] {
            let packets: Vec<Traffic> =
                ports.clone().map(|port| steady(Flow { port, outwards, ..FIRST })).collect();
            let sent = self.lab.receive(&packets);
            assert!(sent.iter().all(|sent| sent.vif == target));
            assert_eq!(sent.len(), packets.len(), "an established flow loses packets");
            self.steady += sent.len() as u64;
        }
    }

    /// A batch of packets of random flows; what the agent is asked.
    fn random_batch(&mut self) -> Vec<FlowIndex> {
        let packets: Vec<Traffic> = (0..BATCH)
            .map(|_| {
                let number = self.random();
                let [.., a, b, c, d, e, f] = number.to_be_bytes();
                // Ports that no established flow has.
                let ports = [u16::from_be_bytes([a, b]) | 0x8000, u16::from_be_bytes([c, d])];
                from_guest(&inet([[10, 9, e, f], REMOTE[0]], ports))
            })
            .collect();
        let sent = self.lab.receive(&packets);
        assert!(sent.iter().all(|sent| sent.vif == AGENT), "nobody has let it pass");
        self.sent += BATCH as u64;
        self.asked += sent.len() as u64;
        sent.iter().map(asked_about).collect()
    }

    /// The agent drops a flow, if it is still the one that it was asked about.
    fn decide(&mut self, index: FlowIndex) {
        self.lab.command(|tables, datapath| {
            let shared = tables.flow_table().shared(index).unwrap();
            let (key, generation) = (shared.key(), shared.generation.load(Relaxed));
            let base = new_spec(FIRST, FlowFlags::ACTIVE);
            let action = Some(FlowAction::Drop);
            // One that was evicted meanwhile is refused.
            let _ =
                tables.flow_set(&FlowSpec { index: Some(index), key, generation, action, ..base }, datapath);
        });
    }

    fn drops(&self) -> u64 {
        self.lab.tables().stats().drops(Cores::All).iter().sum()
    }

    /// Nothing waits any more.
    fn settle(&mut self) {
        self.lab.pass(6000);
        (0..HOLD_LIMIT / 64).for_each(|_| drop(self.lab.pass(10)));
    }
}

#[test]
fn established_flows_lose_nothing_in_a_flood() {
    for protect in [false, true] {
        let mut flood = Flood::new(protect);
        let memory = flood.lab.tables().flow_table().memory();
        for batch in 0..BATCHES {
            let asked = flood.random_batch();
            asked.into_iter().take(DECIDED).for_each(|index| flood.decide(index));
            if batch % TURN == 0 {
                flood.lab.relieve();
                flood.established((batch * BATCH / TURN % usize::from(PAIRS)) as u16);
            }
            let totals = flood.lab.tables().flow_totals();
            assert!(totals.holding <= HOLD_LIMIT as u64 + 1, "{totals:?}");
        }
        flood.settle();
        let totals = flood.lab.tables().flow_totals();
        assert_eq!(flood.asked, totals.created, "the agent hears of each flow once");
        assert_eq!(flood.drops(), flood.sent, "every packet of the flood is a drop with a reason");
        assert_eq!(flood.lab.tables().flow_table().memory(), memory);
        assert_eq!(protect, totals.evicted > 0, "{totals:?}");
        assert!(flood.steady > 10_000 + 50_000);
        // All of them are there.
        (0..PAIRS).step_by(BATCH).for_each(|port| flood.established(port));
        flood.lab.close();
    }
}

/// How many of a hundred flows get in at once, when the flood has ended.
fn newcomers(flood: &mut Flood) -> usize {
    let mut came = 0;
    for port in PAIRS..PAIRS + 100 {
        let sent = flood.lab.receive(&[steady(Flow { port, ..FIRST })]);
        came += sent.iter().filter(|sent| sent.vif == AGENT).count();
        sent.iter().map(asked_about).for_each(|index| flood.decide(index));
    }
    came
}

#[test]
fn flows_that_wait_in_vain_make_room() {
    for (protect, expected) in [(false, 0), (true, 100)] {
        let mut flood = Flood::new(protect);
        // The agent does not answer.
        (0..100).for_each(|_| drop(flood.random_batch()));
        assert_eq!(flood.lab.tables().flow_totals().holding, HOLD_LIMIT as u64 + 1);
        for _ in 0..3 {
            flood.lab.pass(1000);
            flood.lab.relieve();
        }
        assert_eq!(newcomers(&mut flood), expected);
        let evicted = flood.lab.drops(DropReason::FlowEvict);
        assert_eq!(evicted > 0, protect, "their packets are drops with a reason");
        flood.lab.close();
    }
}

/// The reverse flow that goes with another one may wait for the agent.
#[test]
fn what_waits_for_an_evicted_reverse_flow_is_dropped_at_once() {
    let flows = FlowOptions { protect: true, ..FlowOptions::default() };
    let options = Options { flow_hold_limit: 0, flows, ..Options::default() };
    let mut lab =
        Lab::of(options, Geometry { entries: 64, overflow: 0 }, PoolSizes { packets: 256, supers: 1 }, true);
    let set = |lab: &mut Lab, flow, action| {
        let set = Change::SetFlow { flow, action, ttl: 0, check_source: true };
        lab.command(|tables, datapath| set.apply(tables, datapath));
    };
    let flows: Vec<Flow> = (0..30).map(|port| Flow { port, ..FIRST }).collect();
    for flow in &flows {
        set(&mut lab, *flow, FlowAction::Forward);
    }
    lab.relieve();
    // These come too late to be looked at in the next round.
    for flow in &flows {
        set(&mut lab, flow.reversed(), FlowAction::Hold);
        set(&mut lab, *flow, FlowAction::Forward);
        lab.receive(&[steady(flow.reversed())]);
    }
    let waiting = lab.tables().flow_totals().holding;
    lab.pass(1000);
    lab.relieve();
    let evicted = waiting - lab.tables().flow_totals().holding;
    assert!(evicted > 0, "of {waiting}");
    assert_eq!(lab.drops(DropReason::FlowEvict), evicted);
    lab.close();
}

#[test]
fn one_way_flows_make_room_in_a_full_table() {
    for protect in [false, true] {
        let mut flood = Flood::new(protect);
        while flood.lab.drops(DropReason::FlowTableFull) < 100 {
            let asked = flood.random_batch();
            for index in asked {
                flood.decide(index);
            }
        }
        for _ in 0..3 {
            flood.lab.pass(1000);
            flood.lab.relieve();
        }
        let came = newcomers(&mut flood);
        assert!(if protect { came == 100 } else { came < 90 }, "{came} of 100, {protect}");
        (0..PAIRS).step_by(BATCH).for_each(|port| flood.established(port));
        flood.lab.close();
    }
}
