//! The fast lanes: plain unicast IPv4 packets, TCP or UDP, of flows that the agent lets pass, from guests
//! into tunnels or to other guests, and out of tunnels to guests.
//!
//! Everything here only looks until the last stage: a packet that does not fit a lane leaves it untouched and
//! uncounted, and the full path takes it from the start. What a lane does to a packet that it keeps is what
//! the full path would do, to the byte and to the counter.

mod egress;
mod flow;
mod guest;
mod meta;
mod tally;
mod translate;
mod underlay;

use meta::PktMeta;
use tally::Tally;
use vr_frame::{BATCH, Batch, Packet};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::VifId;

use crate::full::Full;

/// Positions of packets in a batch.
type Lane = u64;

/// Packets that a stage takes at a time.
///
/// While one group is at a stage, what the groups behind it will need at theirs is on its way from memory. A
/// processor has some twenty reads under way at most, and the headers of more frames than these would push
/// each other out of the first level cache, because they all begin at the same place of a page.
const GROUP: usize = 8;
/// Stages that wait for one another.
const STAGES: usize = 7;

/// What the stages hand to one another, kept between batches for its place in the cache.
pub(crate) struct Stages {
    meta: [PktMeta; BATCH],
    underlay: underlay::LocalAddress,
}

impl Default for Stages {
    fn default() -> Self {
        Self { meta: [PktMeta::default(); BATCH], underlay: underlay::LocalAddress::default() }
    }
}

/// Interfaces with these flags have rules that only the full path knows.
const SPECIAL: VifFlags = VifFlags::XCONNECT
    .union(VifFlags::SERVICE_IF)
    .union(VifFlags::MIRROR_RX)
    .union(VifFlags::MAC_LEARN)
    .union(VifFlags::MAC_IP_LEARNING)
    .union(VifFlags::HBS_LEFT)
    .union(VifFlags::HBS_RIGHT)
    .union(VifFlags::MONITORED);

fn is_plain(vif: &Vif) -> bool {
    !vif.flags.intersects(SPECIAL) && vif.details.sub_interfaces.is_empty() && vif.details.fat_rules.is_none()
}

/// The pipeline. Stages are loops over the packets of a lane; a packet leaves the lane by its bit.
pub(crate) fn run(full: &mut Full<'_>, stages: &mut Stages, from: VifId, batch: &mut Batch) {
    let mut tally = Tally::new();
    let vif = full.tables.vif(from).filter(|vif| is_plain(vif));
    let lane = match vif {
        Some(vif) if vif.kind == VifKind::Virtual && vif.flags.contains(VifFlags::POLICY) => {
            from_guest(full, stages, &mut tally, vif, batch)
        }
        Some(vif) if vif.kind == VifKind::Physical => from_underlay(full, stages, &mut tally, vif, batch),
        _ => 0,
    };
    if lane.count_ones() as usize == batch.len() {
        full.out.append(stages.meta.iter().map(|meta| meta.to), batch);
    } else {
        for (position, packet) in batch.drain().enumerate() {
            if lane & 1 << position != 0 {
                full.out.push(stages.meta[position].to, packet);
            } else {
                full.receive(from, packet);
            }
        }
    }
    let underlay = vif.filter(|vif| vif.kind == VifKind::Physical).map(|vif| vif.vrf);
    tally.finish(full.stats, from, underlay);
}

/// Frames of a guest. Gives the packets that were forwarded.
fn from_guest(
    full: &Full<'_>,
    stages: &mut Stages,
    tally: &mut Tally,
    vif: &Vif,
    batch: &mut [Packet],
) -> Lane {
    let meta = &mut stages.meta;
    let mut verdicts = flow::Verdicts::<false>::new(full);
    let mut departures = egress::Departures::<false>::new(full, tally);
    let mut lane = 0;
    guest::prefetch_headers(first_group(batch.len()), batch);
    let mut chained = 0;
    for [next, new, parsed, hashed, tagged, found, passed] in steps(batch.len()) {
        guest::prefetch_headers(next, batch);
        lane |= guest::parse(vif, new, batch, meta);
        flow::hash_and_prefetch(full, lane & parsed, meta);
        chained |= flow::find_candidates(full, lane & hashed, meta);
        flow::find_in_overflow(full, chained & tagged, meta);
        lane &= !found | verdicts.pass(lane & found, meta);
        lane &= !passed | departures.forward(lane & passed, meta, batch);
    }
    lane
}

/// Frames from the underlay. Gives the packets that were forwarded.
fn from_underlay(
    full: &Full<'_>,
    stages: &mut Stages,
    tally: &mut Tally,
    vif: &Vif,
    batch: &mut [Packet],
) -> Lane {
    let Stages { meta, underlay } = stages;
    let mut arrivals = underlay::Arrivals::new(full, underlay, vif);
    let mut verdicts = flow::Verdicts::<true>::new(full);
    let mut departures = egress::Departures::<true>::new(full, tally);
    let mut lane = 0;
    underlay::prefetch_headers(first_group(batch.len()), batch);
    let mut chained = 0;
    for [next, new, parsed, hashed, tagged, found, passed] in steps(batch.len()) {
        underlay::prefetch_headers(next, batch);
        lane |= arrivals.parse_and_decapsulate(new, batch, meta);
        lane &= !parsed | arrivals.resolve(lane & parsed, meta);
        flow::hash_and_prefetch(full, lane & parsed, meta);
        chained |= flow::find_candidates(full, lane & hashed, meta);
        flow::find_in_overflow(full, chained & tagged, meta);
        lane &= !found | verdicts.pass(lane & found, meta);
        lane &= !passed | departures.forward(lane & passed, meta, batch);
    }
    lane
}

/// The packets of group `number` of a batch.
fn group(packets: usize, number: usize) -> Lane {
    let present = if packets < BATCH { (1 << packets) - 1 } else { Lane::MAX };
    if number < BATCH / GROUP { present & ((1 << GROUP) - 1) << (number * GROUP) } else { 0 }
}

fn first_group(packets: usize) -> Lane {
    group(packets, 0)
}

/// The groups of a batch as they go through the stages: each item has the group at every stage. At the first
/// one, headers are asked for; the first group of all has no step for that.
fn steps(packets: usize) -> impl Iterator<Item = [Lane; STAGES]> {
    (1..packets.div_ceil(GROUP) + STAGES - 1).map(move |step| {
        std::array::from_fn(|stage| step.checked_sub(stage).map_or(0, |number| group(packets, number)))
    })
}

/// The positions of a lane, in order.
fn positions(mut lane: Lane) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = lane.trailing_zeros() as usize;
        lane &= lane.wrapping_sub(1);
        (position < BATCH).then_some(position)
    })
}

#[cfg(test)]
mod tests {
    use super::{BATCH, GROUP, STAGES, first_group, steps};

    #[test]
    fn every_packet_passes_every_stage_once_and_in_order() {
        for packets in [0, 1, GROUP - 1, GROUP, GROUP + 1, 40, BATCH - 1, BATCH] {
            let mut passed = [0; STAGES];
            passed[0] = first_group(packets);
            for lanes in steps(packets) {
                for stage in 0..STAGES {
                    assert_eq!(passed[stage] & lanes[stage], 0, "twice");
                    passed[stage] |= lanes[stage];
                    assert!(stage == 0 || passed[stage] & !passed[stage - 1] == 0, "not in order");
                }
            }
            assert!(passed.iter().all(|lane| lane.count_ones() as usize == packets), "{packets}");
        }
    }
}
