//! Two workers on one table, while the control thread sets, removes and evicts flows.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use vr_forward::{Forwarder, Now, Output};
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_tables::control::{AttachError, Attached, Datapath, FlowSpec, Tables};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey, FlowTable};
use vr_tables::stats::Cores;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, TrapReason, VifId, VrfId, WorkerId};

use crate::frames::PacketSpec;
use crate::node::{shared, tables};
use crate::packets::UDP;
use crate::random::Random;
use crate::requests::{SetSpec, any_set, pair, plain};
use crate::talk::{Side, Talk};
use crate::world::{self, AGENT, FLOWS, GUEST_HOST, REMOTE};
use crate::{Entries, request};

const SIZES: PoolSizes = PoolSizes { packets: 512, supers: 4 };
const ROUNDS: u64 = 3000;
const RUNS: u64 = 10;
/// A conversation whose flows nobody changes.
const STABLE: Talk = Talk {
    is_inet6: false,
    protocol: UDP,
    guest: 1,
    far: REMOTE[1],
    alias: GUEST_HOST[1],
    ports: [7777, 80, 7777],
};

/// Tells both workers of flows that have changed.
struct Mailboxes([Sender<FlowIndex>; 2]);

impl Datapath for Mailboxes {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, flow: FlowIndex) {
        for mailbox in &self.0 {
            // A worker that has ended looks no more.
            let _ = mailbox.send(flow);
        }
    }

    fn settle(&mut self) {}
}

/// Where the packets of a worker have gone.
#[derive(Debug, Default)]
struct Tally {
    received: u64,
    sent: u64,
    /// Given to the agent instead of being forwarded.
    trapped: u64,
    /// Packets of the stable conversation, out and in.
    stable: [u64; 2],
}

struct Worker {
    forwarder: Forwarder,
    pool: FramePool,
    output: Output,
    mailbox: Receiver<FlowIndex>,
    now: Now,
    tally: Tally,
}

impl Worker {
    /// Sends random packets of these talks, and of the stable one.
    fn run(&mut self, talks: &[Talk], mut random: Random) {
        for round in 0..ROUNDS {
            self.now.0 += 1_000_000;
            let talk = random.of(talks);
            let is_inbound = random.once_in(2);
            let frames: Vec<_> = (0..=random.below(8))
                .map(|_| PacketSpec::random(&mut random, &talk, is_inbound).frame(&talk))
                .collect();
            self.receive(&frames);
            let side = random.below(2);
            let stable = PacketSpec::plain([Side::Out, Side::In][side]).frame(&STABLE);
            self.tally.stable[side] += self.receive(&[stable]);
            self.look_at_mail();
            if round % 50 == 0 {
                self.forwarder.tick(self.now, &mut self.pool, &mut self.output);
                self.take();
            }
        }
    }

    /// How many found a buffer.
    fn receive(&mut self, frames: &[(VifId, Vec<u8>)]) -> u64 {
        let mut batch = Batch::new();
        let mut received = 0;
        for (_, bytes) in frames {
            let Some(frame) = self.pool.copy_of(bytes) else { break };
            assert!(batch.push(Packet::plain(frame)).is_ok(), "too many for a batch");
            received += 1;
        }
        self.tally.received += received;
        self.forwarder.process(frames[0].0, &mut batch, self.now, &mut self.pool, &mut self.output);
        self.take();
        received
    }

    fn look_at_mail(&mut self) {
        while let Ok(flow) = self.mailbox.try_recv() {
            self.forwarder.release_held(flow, self.now, &mut self.pool, &mut self.output);
            self.take();
        }
    }

    fn take(&mut self) {
        for (vif, packet) in self.output.drain() {
            let bytes = packet.frame.bytes();
            let command = if vif == AGENT { u16::from_be_bytes([bytes[18], bytes[19]]) } else { 0 };
            // The agent is asked with a copy.
            let is_copy = [TrapReason::FlowMiss, TrapReason::FlowActionHold].map(|reason| reason as u16);
            if vif != AGENT {
                self.tally.sent += 1;
            } else if !is_copy.contains(&command) {
                self.tally.trapped += 1;
            }
            self.pool.free(packet.frame);
        }
    }

    /// Gives up what waits.
    fn end(mut self) -> (Tally, usize) {
        self.look_at_mail();
        self.now.0 += 60_000_000_000;
        for _ in 0..64 {
            self.forwarder.tick(self.now, &mut self.pool, &mut self.output);
            self.take();
        }
        self.forwarder.close(&mut self.pool);
        (self.tally, self.pool.available())
    }
}

impl Entries for FlowTable {
    fn find(&self, key: &FlowKey) -> Option<u32> {
        Self::find(self, key, key.hash()).map(|index| index.0)
    }

    fn generation(&self, index: u32) -> Option<u8> {
        Some(self.shared(FlowIndex(index))?.generation.load(Ordering::Acquire))
    }
}

/// Generations only go on.
fn check_generations(flows: &FlowTable, seen: &mut BTreeMap<u32, u8>) {
    for index in 0..FLOWS.total() as u32 {
        let now = flows.generation(index).unwrap();
        let before = seen.insert(index, now).unwrap_or(now);
        assert!(now.wrapping_sub(before) < 128, "generation of {index} went from {before} to {now}");
    }
}

/// The agent, until both workers are done.
fn control(
    tables: &mut Tables,
    mailboxes: &mut Mailboxes,
    talks: &[Talk],
    (done, mut random): (&AtomicUsize, Random),
) {
    let flows = Arc::clone(tables.flow_table());
    let mut folding = tables.flow_folding();
    let mut seen = BTreeMap::new();
    while done.load(Ordering::Acquire) < 2 {
        let talk = random.below(talks.len());
        let sets: Vec<SetSpec> = match random.below(4) {
            0 => pair(&mut random, &talks[talk], talk).to_vec(),
            1 => vec![SetSpec { force_evict: true, ..any_set(&mut random, talk) }],
            2 => vec![SetSpec { flags: FlowFlags::empty(), ..any_set(&mut random, talk) }],
            _ => vec![any_set(&mut random, talk)],
        };
        for set in sets {
            // A mirror would add packets.
            let set = SetSpec { flags: set.flags - FlowFlags::MIRROR, ..set };
            let spec = request(&*flows, talks, &set);
            let _ = tables.flow_set(&spec, mailboxes);
        }
        tables.publish();
        tables.housekeep();
        folding.run();
        check_generations(&flows, &mut seen);
        std::thread::yield_now();
    }
}

/// Sets the stable flows; gives their positions.
fn establish(tables: &mut Tables, mailboxes: &mut Mailboxes) -> [FlowIndex; 2] {
    [Side::Out, Side::In]
        .map(|side| tables.flow_set(&plain(STABLE.key(side), VrfId(1)), mailboxes).index.unwrap())
}

#[test]
fn two_workers_lose_no_packet_and_no_hit() {
    (0..RUNS).for_each(run);
}

fn run(seed: u64) {
    let mut tables = tables(2, false);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..2).map(|_| channel()).unzip();
    let mut mailboxes = Mailboxes(senders.try_into().unwrap());
    world::program(&mut tables, &mut mailboxes);
    let stable = establish(&mut tables, &mut mailboxes);
    tables.publish();
    let mut random = Random::new(seed);
    let talks: Vec<_> = (0..4).map(|_| Talk::random(&mut random)).collect();
    let pools = PoolSet::new(2, SIZES).unwrap().1;
    let mut workers: Vec<_> = pools
        .into_iter()
        .zip(receivers)
        .enumerate()
        .map(|(number, (pool, mailbox))| Worker {
            forwarder: Forwarder::new(shared(&tables, WorkerId(number as u8))),
            pool,
            output: Output::new(),
            mailbox,
            now: Now(1_000_000_000),
            tally: Tally::default(),
        })
        .collect();
    let done = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for (number, worker) in workers.iter_mut().enumerate() {
            let (talks, done) = (&talks, &done);
            scope.spawn(move || {
                worker.run(talks, Random::new(seed * 3 + 1 + number as u64));
                done.fetch_add(1, Ordering::Release);
            });
        }
        control(&mut tables, &mut mailboxes, &talks, (&done, Random::new(seed * 3)));
    });
    let ends: Vec<_> = workers.into_iter().map(Worker::end).collect();
    let total = |of: fn(&Tally) -> u64| ends.iter().map(|(tally, _)| of(tally)).sum::<u64>();
    let drops: u64 = tables.stats().drops(Cores::All).iter().sum();
    let ended = total(|tally| tally.sent) + total(|tally| tally.trapped) + drops;
    assert_eq!(total(|tally| tally.received), ended, "{ends:?}, {drops} dropped");
    assert!(ends.iter().all(|(_, frames)| *frames == SIZES.packets as usize), "frames are missing: {ends:?}");
    // What is on its way out has gone then.
    (0..3).for_each(|_| tables.housekeep());
    let flows = tables.flow_table();
    let hits = stable.map(|index| flows.counters(index).0);
    assert_eq!(
        hits,
        [total(|tally| tally.stable[0]), total(|tally| tally.stable[1])],
        "hits of flows that stay"
    );
    let held =
        flows.indexes().filter(|index| flows.hot(*index).unwrap().state().action() == FlowAction::Hold);
    assert_eq!(tables.holds().outstanding(), held.count() as u64, "flows that wait");
    check_empties(&mut tables, &mut mailboxes);
}

/// Without its flows the table is empty.
fn check_empties(tables: &mut Tables, mailboxes: &mut Mailboxes) {
    let flows = Arc::clone(tables.flow_table());
    for index in flows.indexes().collect::<Vec<_>>() {
        let key = flows.shared(index).and_then(vr_tables::flow::SharedFlow::key).unwrap();
        let generation = flows.generation(index.0).unwrap();
        let spec =
            FlowSpec { index: Some(index), generation, flags: FlowFlags::empty(), ..plain(key, VrfId(1)) };
        let reply = tables.flow_set(&spec, mailboxes);
        assert!(reply.deleted, "{index:?} {:?}", reply.result);
    }
    for _ in 0..3 {
        tables.housekeep();
    }
    assert_eq!((flows.used(), tables.holds().outstanding()), ((0, 0), 0));
}
