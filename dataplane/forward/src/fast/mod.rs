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
mod underlay;

use meta::PktMeta;
use tally::Tally;
use vr_frame::{BATCH, Batch};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::VifId;

use crate::full::Full;

/// Positions of packets in a batch.
type Lane = u64;

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
    !vif.flags.intersects(SPECIAL) && vif.details.sub_interfaces.is_empty()
}

/// The pipeline. Stages are loops over the packets of a lane; a packet leaves the lane by its bit.
pub(crate) fn run(full: &mut Full<'_>, stages: &mut Stages, from: VifId, batch: &mut Batch) {
    let Stages { meta, underlay } = stages;
    let vif = full.tables.vif(from).filter(|vif| is_plain(vif));
    let lane = match vif {
        Some(vif) if vif.kind == VifKind::Virtual => guest::parse(vif, batch, meta),
        Some(vif) if vif.kind == VifKind::Physical => {
            underlay::parse_and_decapsulate(full, underlay, vif, batch, meta)
        }
        _ => 0,
    };
    flow::hash_and_prefetch(full, lane, meta);
    flow::find_candidates(full, lane, meta);
    let lane = flow::verdicts(full, lane, meta, batch);
    let lane = egress::fits(full, lane, meta, batch);
    let mut tally = Tally::new();
    egress::rewrite(full, lane, &mut tally, meta, batch);
    if lane.count_ones() as usize == batch.len() {
        full.out.append(meta.iter().map(|meta| meta.to), batch);
    } else {
        for (position, packet) in batch.drain().enumerate() {
            if lane & 1 << position != 0 {
                full.out.push(meta[position].to, packet);
            } else {
                full.receive(from, packet);
            }
        }
    }
    let underlay = vif.filter(|vif| vif.kind == VifKind::Physical).map(|vif| vif.vrf);
    tally.finish(full.stats, from, underlay);
}

/// The positions of a lane, in order.
fn positions(mut lane: Lane) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let position = lane.trailing_zeros() as usize;
        lane &= lane.wrapping_sub(1);
        (position < BATCH).then_some(position)
    })
}
