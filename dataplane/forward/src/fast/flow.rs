//! Flow stage: three loops, so that the cache misses of all packets overlap.

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::{BATCH, Packet};
use vr_tables::flow::{EgressKind, FlowHash};
use vr_types::FlowIndex;
use vr_wire::hash;

use super::meta::{Egress, PktMeta};
use super::{Lane, positions};
use crate::full::Full;

const fn hash_of(meta: &PktMeta) -> FlowHash {
    FlowHash { primary: meta.hash[0], secondary: meta.hash[1] }
}

/// First loop: hashes, and the lines of tags on their way.
pub(super) fn hash_and_prefetch(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH]) {
    for position in positions(lane) {
        let meta = &mut meta[position];
        if meta.policy {
            let (primary, secondary) = hash::hash_words(&meta.key);
            meta.hash = [primary, secondary];
            full.flows.prefetch_tags(hash_of(meta));
        }
    }
}

/// Second loop: candidates, and their entries on the way.
pub(super) fn find_candidates(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH]) {
    for position in positions(lane) {
        let meta = &mut meta[position];
        if meta.policy {
            meta.flow = full.flows.candidate(hash_of(meta)).unwrap_or(FlowIndex::NONE).0;
        }
    }
}

/// Third loop: which packets their flows let pass on the way that was compiled for them.
pub(super) fn verdicts(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH], batch: &[Packet]) -> Lane {
    let mut pass = lane;
    for position in positions(lane) {
        let meta = &mut meta[position];
        if meta.policy && passes(full, meta, &batch[position]).is_none() {
            pass &= !(1 << position);
        }
    }
    pass
}

#[inline]
fn passes(full: &Full<'_>, meta: &mut PktMeta, packet: &Packet) -> Option<()> {
    let (hot, state) = full.flows.check_inet(FlowIndex(meta.flow), &meta.key)?;
    if !state.is_simple() || state.is_changing() || state.owner() != Some(full.worker) {
        return None;
    }
    if meta.tcp && !state.tcp_settled() {
        return None;
    }
    let compiled = hot.compiled(state, full.tables.flow_epoch(hot.vrf()))?;
    if compiled.source != meta.source {
        return None;
    }
    match compiled.kind {
        EgressKind::FromFabric if meta.inner != 0 => {}
        EgressKind::FromFabric => return None,
        kind => {
            let bytes = packet.frame.bytes();
            if meta.inner != 0 || bytes.first_chunk::<6>() != Some(&compiled.mac.0) {
                return None;
            }
            meta.egress = if kind == EgressKind::Routed { Egress::Routed } else { Egress::Bridged };
            meta.nexthop = compiled.nexthop.0;
            meta.label = compiled.label.unwrap_or(PktMeta::NO_LABEL);
            meta.bridge = compiled.bridge.0;
        }
    }
    meta.vrf = compiled.vrf.0;
    Some(())
}

/// Counts a packet of a flow, and keeps the acknowledgement number of TCP.
#[inline]
pub(super) fn count(full: &Full<'_>, meta: &PktMeta, bytes: usize, acknowledgement: Option<u32>) {
    let index = FlowIndex(meta.flow);
    if let Some(hot) = full.flows.hot(index) {
        hot.count(bytes);
        full.flows.touch(index);
    }
    if let (Some(ack), Some(shared)) = (acknowledgement, full.flows.shared(index)) {
        shared.tcp_ack.store(ack, Relaxed);
    }
}
