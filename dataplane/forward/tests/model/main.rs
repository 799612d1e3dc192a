//! Random sequences of packets and requests about flows, given to the pipeline and to a plain map that follows the
//! specification: the same frames, answers, counters and entries.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

/// Ends a function with an error where two values differ.
macro_rules! same {
    ($real:expr, $model:expr, $what:expr) => {
        let (real, model) = ($real, $model);
        if real != model {
            return Err(format!("{}:\n   is {:?}\nought {:?}", $what, real, model));
        }
    };
}

mod compiled;
mod frames;
mod node;
mod packets;
mod random;
mod recompiled;
mod requests;
mod spec;
mod steps;
mod talk;
mod workers;
mod world;

use std::collections::BTreeMap;

use vr_frame::FramePool;
use vr_tables::control::{FlowSpec, Reverse};
use vr_tables::flow::FlowKey;
use vr_types::{DropReason, FlowIndex, VrfId};

use node::{Node, Row};
use requests::{Name, SetSpec};
use spec::Model;
use steps::{Sequence, Step};
use talk::{Side, Talk};

/// For each of the two paths.
const SEQUENCES: u64 = 50_000;

/// Where entries are now.
trait Entries {
    fn find(&self, key: &FlowKey) -> Option<u32>;
    fn generation(&self, index: u32) -> Option<u8>;
}

impl Entries for Model {
    fn find(&self, key: &FlowKey) -> Option<u32> {
        Self::find(self, key)
    }

    fn generation(&self, index: u32) -> Option<u8> {
        self.generations.get(index as usize).copied()
    }
}

/// The request as it is made now.
fn request(entries: &impl Entries, talks: &[Talk], set: &SetSpec) -> FlowSpec {
    let key = |side: Side| talks[set.talk].key(side);
    let index = match set.name {
        Name::Fitting => entries.find(&key(set.side)),
        Name::ByKey => None,
        Name::ByPosition(index) => Some(index),
    };
    let generation = index.and_then(|index| entries.generation(index)).unwrap_or(0);
    let reverse = set.reverse.map_or(Reverse::Key(None), |(side, by_index)| match entries.find(&key(side)) {
        Some(index) if by_index => Reverse::Index(FlowIndex(index)),
        _ => Reverse::Key(Some(key(side))),
    });
    FlowSpec {
        index: index.map(FlowIndex),
        key: Some(key(set.key.unwrap_or(set.side))),
        generation: generation.wrapping_add(set.off),
        action: set.action,
        flags: set.flags,
        force_evict: set.force_evict,
        reverse,
        vrf: VrfId(set.vrfs[0]),
        dvrf: VrfId(set.vrfs[1]),
        mirrors: set.mirrors,
        ecmp_index: set.member,
        source_nexthop: set.source,
        ttl: set.ttl,
        ..requests::plain(key(set.side), VrfId(set.vrfs[0]))
    }
}

fn rows_of(model: &Model) -> Vec<Row> {
    let row = |(index, entry): (&u32, &spec::Entry)| Row {
        index: *index,
        key: entry.key,
        action: entry.action,
        flags: entry.flags.bits(),
        tcp: (entry.tcp.bits(), entry.seq, entry.ack),
        reverse: entry.reverse,
        vrfs: [entry.vrf, entry.dvrf],
        mirrors: entry.mirrors,
        ttl: entry.ttl,
        source_nexthop: entry.source_nexthop,
        member: entry.member,
        source: entry.source,
        counted: (entry.packets, entry.bytes),
    };
    model.table.iter().map(row).collect()
}

fn hex(frames: Vec<(vr_types::VifId, Vec<u8>)>) -> Vec<String> {
    frames.into_iter().map(|(vif, bytes)| format!("\n{vif:?} {bytes:02x?}")).collect()
}

fn step(node: &mut Node<'_>, model: &mut Model, talks: &[Talk], step: &Step) -> Result<(), String> {
    match step {
        Step::Packets { talk, packets } => {
            let frames: Vec<_> = packets.iter().map(|packet| packet.frame(&talks[*talk])).collect();
            // Fast lanes may let a packet pass another one of its flow within a batch.
            let together = if node.is_fast() { 1 } else { frames.len() };
            let real: Vec<_> = frames.chunks(together).flat_map(|frames| node.receive(frames)).collect();
            let ought: Vec<_> = frames.chunks(together).flat_map(|frames| model.receive(frames)).collect();
            if real != ought {
                same!(hex(real), hex(ought), format!("frames after {:?}", hex(frames)));
            }
        }
        Step::Set(set) => {
            let request = request(model, talks, set);
            let (real, ought) = (node.set(&request), model.set(&request));
            same!(real.0, ought.0, format!("answer to {request:?}"));
            if real.1 != ought.1 {
                same!(hex(real.1), hex(ought.1), format!("frames released by {request:?}"));
            }
        }
        Step::Pass(milliseconds) => {
            same!(node.pass(*milliseconds), model.pass(*milliseconds), "frames after a while");
        }
        Step::RefuseFlows(which, refuses) => {
            node.refuse_flows(*which, *refuses);
            model.refuses_flows[*which] = *refuses;
        }
        Step::HoldLimit(limit, burst) => {
            node.limit_holds(*limit, *burst);
            model.hold_limit = limit.unsigned_abs().into();
            model.burst = *burst;
        }
    }
    Ok(())
}

/// Everything that is counted, and the table.
fn compare(node: &Node<'_>, model: &Model) -> Result<(), String> {
    let (real, ought) = (node.rows(), rows_of(model));
    for (real, ought) in real.iter().zip(&ought) {
        same!(real, ought, "entries");
    }
    same!(real.len(), ought.len(), "number of entries");
    same!(node.generations(), model.generations.clone(), "generations");
    same!(node.totals(), model.totals, "flow counters");
    same!(
        node.drops(),
        model.drops.iter().map(|(which, count)| (*which, *count)).collect::<Vec<_>>(),
        "drops"
    );
    for (vif, ought) in model.traffic.iter().enumerate() {
        same!(node.traffic(vif as u16), *ought, format!("counters of interface {vif}"));
    }
    Ok(())
}

/// Runs a sequence; `closely` compares tables and counters after each step.
fn run(sequence: &Sequence, is_fast: bool, closely: bool, pool: &mut FramePool) -> Result<Model, String> {
    let has_policy = [0, 1, 2].map(|which| sequence.without_policy != Some(which));
    let mut node = Node::new(has_policy, sequence.closes_on_rst, is_fast, pool);
    let mut model = Model::new(has_policy, sequence.closes_on_rst);
    let mut result = Ok(());
    for (number, next) in sequence.steps.iter().enumerate() {
        result = step(&mut node, &mut model, &sequence.talks, next);
        if closely {
            result = result.and_then(|()| compare(&node, &model));
        }
        if result.is_err() {
            result = result.map_err(|error| format!("step {number}: {error}"));
            break;
        }
    }
    let result = result.and_then(|()| compare(&node, &model));
    if !node.close() && result.is_ok() {
        return Err("frames are missing".to_owned());
    }
    result.map(|()| model)
}

/// The shortest sequence that still shows a difference, and the difference.
fn shrink(mut sequence: Sequence, is_fast: bool) -> (Sequence, String) {
    let mut error = run(&sequence, is_fast, true, &mut node::buffers()).err().expect("it has failed before");
    let mut position = 0;
    while position < sequence.steps.len() {
        let mut shorter = sequence.clone();
        shorter.steps.remove(position);
        match run(&shorter, is_fast, true, &mut node::buffers()) {
            Ok(_) => position += 1,
            Err(now) => (sequence, error, position) = (shorter, now, 0),
        }
    }
    (sequence, error)
}

/// What happened in all sequences together.
#[derive(Default)]
struct Seen {
    drops: BTreeMap<u8, u64>,
    evicted: u64,
    translated: u64,
}

impl Seen {
    fn add(&mut self, model: &Model) {
        for ((_, reason), count) in &model.drops {
            *self.drops.entry(*reason).or_default() += count;
        }
        self.evicted += model.totals.evicted;
        self.translated += model.translated;
    }

    /// Sequences that do not get anywhere would prove nothing.
    fn check(&self) {
        use DropReason::{
            Discard, DropNewFlow, FlowActionDrop, FlowEvict, FlowNatNoRflow, FlowQueueLimitExceeded,
            FlowTableFull, FlowUnusable, FragErr, InvalidNh, InvalidSource, L2NoRoute, Misc, NoFragEntry,
            TtlExceeded,
        };
        for reason in [
            Discard,
            DropNewFlow,
            FlowActionDrop,
            FlowEvict,
            FlowNatNoRflow,
            FlowQueueLimitExceeded,
            FlowTableFull,
            FlowUnusable,
            FragErr,
            InvalidNh,
            InvalidSource,
            L2NoRoute,
            Misc,
            NoFragEntry,
            TtlExceeded,
        ] {
            assert!(self.drops.contains_key(&(reason as u8)), "no packet was dropped as {reason}");
        }
        assert!(self.evicted > SEQUENCES / 20, "{} flows were evicted", self.evicted);
        assert!(self.translated > SEQUENCES / 2, "{} packets were translated", self.translated);
    }
}

/// Sequences by one of the two paths.
fn check_all(is_fast: bool) {
    let mut pool = node::buffers();
    let mut seen = Seen::default();
    for seed in 0..SEQUENCES {
        let sequence = Sequence::random(seed * 2 + u64::from(is_fast));
        if let Ok(model) = run(&sequence, is_fast, false, &mut pool) {
            seen.add(&model);
        } else {
            let (shortest, error) = shrink(sequence, is_fast);
            panic!("sequence {seed}, which is\n{shortest:#?}\n{error}");
        }
    }
    seen.check();
}

#[test]
fn flows_on_the_full_path_are_as_the_specification_says() {
    check_all(false);
}

#[test]
fn flows_in_the_fast_lanes_are_as_the_specification_says() {
    check_all(true);
}
