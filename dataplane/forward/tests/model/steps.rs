//! Random sequences of packets and requests.

use vr_tables::flow::FlowFlags;

use crate::frames::PacketSpec;
use crate::random::Random;
use crate::requests::{SetSpec, any_set, pair};
use crate::spec::Burst;
use crate::talk::Talk;

/// What happens.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Packets of one talk and direction come in together.
    Packets {
        talk: usize,
        packets: Vec<PacketSpec>,
    },
    Set(SetSpec),
    /// Milliseconds go by.
    Pass(u64),
    /// A guest's interface refuses new flows, or does not.
    RefuseFlows(usize, bool),
    /// How many flows may wait, 0 for any number, and how many beyond that.
    HoldLimit(i32, Burst),
}

/// A sequence with what it starts from.
#[derive(Clone, Debug)]
pub(crate) struct Sequence {
    pub(crate) talks: Vec<Talk>,
    pub(crate) without_policy: Option<usize>,
    pub(crate) closes_on_rst: bool,
    pub(crate) steps: Vec<Step>,
}

impl Sequence {
    pub(crate) fn random(seed: u64) -> Self {
        let mut random = Random::new(seed);
        let random = &mut random;
        let talks: Vec<_> = (0..=random.below(3)).map(|_| Talk::random(random)).collect();
        let mut steps = Vec::new();
        for _ in 0..4 + random.below(16) {
            add(random, &talks, &mut steps);
        }
        Self {
            without_policy: random.once_in(6).then(|| random.below(3)),
            closes_on_rst: random.once_in(4),
            talks,
            steps,
        }
    }
}

fn add(random: &mut Random, talks: &[Talk], steps: &mut Vec<Step>) {
    let talk = random.below(talks.len());
    steps.push(match random.below(40) {
        0..22 => {
            let is_inbound = random.once_in(2);
            let count = 1 + if random.once_in(3) { random.below(4) } else { 0 };
            let packets = (0..count).map(|_| PacketSpec::random(random, &talks[talk], is_inbound));
            Step::Packets { talk, packets: packets.collect() }
        }
        22..28 => return steps.extend(pair(random, &talks[talk], talk).map(Step::Set)),
        28..34 => Step::Set(any_set(random, talk)),
        34..36 => Step::Set(SetSpec { flags: FlowFlags::empty(), ..any_set(random, talk) }),
        36 => Step::Pass(random.of(&[100, 900, 1900, 2100, 4000])),
        37 => Step::RefuseFlows(random.below(3), random.once_in(2)),
        38 => {
            let (tokens, interval) = (random.of(&[0, 1, 2]), random.of(&[0, 1000]));
            Step::HoldLimit(random.of(&[0, 1, 1, 2]), Burst { tokens, interval, step: 1 })
        }
        _ => Step::Set(SetSpec { force_evict: true, ..any_set(random, talk) }),
    });
}
