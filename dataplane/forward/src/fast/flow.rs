//! Flow stages: hashes, candidates, verdicts. They are apart so that the cache misses of many packets overlap.

use std::sync::atomic::Ordering::Relaxed;

use vr_frame::BATCH;
use vr_tables::bridge::BridgeCounting;
use vr_tables::epochs::NexthopEpochs;
use vr_tables::flow::{EgressKind, FlowHash, FlowTable, Marks, Tagged};
use vr_tables::nexthop::{NexthopAction, NexthopFlags, NexthopSlot};
use vr_tables::prefetch::prefetch;
use vr_types::{BridgeIndex, FlowIndex, VrfId, WorkerId};
use vr_wire::hash;

use super::meta::{Egress, PktMeta};
use super::{Lane, positions};
use crate::bytes::be32;
use crate::full::{Full, Redirection};

const fn hash_of(meta: &PktMeta) -> FlowHash {
    FlowHash { primary: meta.hash[0], secondary: meta.hash[1] }
}

/// Hashes, and the lines of tags on their way.
pub(super) fn hash_and_prefetch(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH]) {
    for position in positions(lane) {
        let meta = &mut meta[position];
        let (primary, secondary) = hash::hash_words(&meta.key);
        meta.hash = [primary, secondary];
        meta.flow = full.flows.locate(hash_of(meta));
    }
}

/// Candidates, and their entries on the way. Gives the packets whose flows can only be in the overflow area, with the
/// line that says where on the way.
pub(super) fn find_candidates(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH]) -> Lane {
    let mut chained = 0;
    let marks = full.flows.marks_of(full.worker);
    for position in positions(lane) {
        let meta = &mut meta[position];
        if !meta.policy {
            continue;
        }
        match full.flows.by_tag(meta.flow, hash_of(meta)) {
            Tagged::Entry(flow) => {
                meta.flow = flow.0;
                marks.prefetch(flow);
                prefetch_acknowledgement(full, meta);
            }
            Tagged::Overflow => chained |= 1 << position,
            Tagged::Nowhere => {
                meta.flow = FlowIndex::NONE.0;
                full.flows.expect_new(hash_of(meta));
            }
        }
    }
    chained
}

/// The same for packets whose flows are in the overflow area.
pub(super) fn find_in_overflow(full: &Full<'_>, lane: Lane, meta: &mut [PktMeta; BATCH]) {
    for position in positions(lane) {
        let meta = &mut meta[position];
        meta.flow = full.flows.in_overflow(hash_of(meta)).unwrap_or(FlowIndex::NONE).0;
        prefetch_acknowledgement(full, meta);
    }
}

/// Asks for the line of the acknowledgement number of a TCP flow.
#[inline]
fn prefetch_acknowledgement(full: &Full<'_>, meta: &PktMeta) {
    if meta.is_tcp()
        && let Some(shared) = full.flows.shared(FlowIndex(meta.flow))
    {
        prefetch(&shared.tcp_ack);
    }
}

/// What flows say about the packets of a batch, which came from the fabric or from a guest.
pub(super) struct Verdicts<'a, const FROM_FABRIC: bool> {
    full: &'a Full<'a>,
    flows: &'a FlowTable,
    worker: WorkerId,
    counting: BridgeCounting<'a>,
    nexthops: &'a NexthopEpochs,
    /// The VRF of the packet before and its epoch.
    vrf: VrfId,
    epoch: u32,
}

impl<'a, const FROM_FABRIC: bool> Verdicts<'a, FROM_FABRIC> {
    pub(super) fn new(full: &'a Full<'a>) -> Self {
        Self {
            full,
            flows: full.flows,
            worker: full.worker,
            counting: full.bridge.counting(full.worker),
            nexthops: &full.tables.nexthop_epochs,
            vrf: VrfId::NONE,
            epoch: full.tables.flow_epoch(VrfId::NONE),
        }
    }

    /// Which packets their flows let pass on the way that was compiled for them. That way is filled in.
    pub(super) fn pass(&mut self, lane: Lane, meta: &mut [PktMeta; BATCH]) -> Lane {
        let mut pass = lane;
        for position in positions(lane) {
            let meta = &mut meta[position];
            if meta.policy && self.passes(meta).is_none() {
                pass &= !(1 << position);
            }
        }
        pass
    }

    #[inline]
    fn passes(&mut self, meta: &mut PktMeta) -> Option<()> {
        let (hot, state) = self.flows.check_inet(FlowIndex(meta.flow), &meta.key, self.worker)?;
        let vrf = hot.vrf();
        if vrf != self.vrf {
            self.vrf = vrf;
            self.epoch = self.full.tables.flow_epoch(self.vrf);
        }
        let compiled = hot.compiled(state, self.epoch, self.nexthops)?;
        let kind = compiled.kind();
        if compiled.source() != meta.source || (kind == EgressKind::FromFabric) != FROM_FABRIC {
            return None;
        }
        let vrf = self.vrf.0;
        if FROM_FABRIC && let Some(label) = compiled.label() {
            let moves = state.translates() && meta.vrf != vrf;
            redirect(self.full, meta, moves, (compiled.nexthop(), label))?;
        } else if FROM_FABRIC {
            // What was counted on the way to a bridge entry belongs to the VRF of that, and a translated packet
            // keeps its nexthop in that one's VRF only.
            if meta.vrf != vrf && (state.translates() || meta.bridge != BridgeIndex::NONE.0) {
                return None;
            }
        } else {
            if !compiled.is_for(meta.mac) {
                return None;
            }
            meta.egress = if kind == EgressKind::Bridged { Egress::Bridged } else { Egress::Routed };
            meta.nexthop = compiled.nexthop().0;
            meta.label = compiled.label().unwrap_or(PktMeta::NO_LABEL);
            if kind == EgressKind::Member {
                find_member(self.full, meta)?;
                meta.egress = Egress::RoutedByMember;
            }
            let bridge = compiled.bridge();
            meta.bridge = bridge.0;
            if bridge != BridgeIndex::NONE {
                self.counting.prefetch(bridge);
            }
        }
        meta.vrf = vrf;
        meta.translated = state.translates();
        if meta.translated {
            self.flows.prefetch_translation(FlowIndex(meta.flow));
        }
        Some(())
    }
}

/// Replaces a composite and the position of its member by the member. Cold, so that other packets do not pay for it.
#[cold]
fn find_member(full: &Full<'_>, meta: &mut PktMeta) -> Option<()> {
    const ECMP: NexthopFlags = NexthopFlags::VALID.union(NexthopFlags::COMPOSITE_ECMP);
    let nexthop = full.tables.nexthop(NexthopSlot(meta.nexthop))?;
    let NexthopAction::Composite(composite) = &nexthop.action else { return None };
    if !nexthop.flags.contains(ECMP) || nexthop.flags.contains(NexthopFlags::COMPOSITE_LU_ECMP) {
        return None;
    }
    let member = composite.members.get(meta.label as usize)?.as_ref()?;
    meta.nexthop = member.nexthop.0;
    meta.label = member.label.unwrap_or(PktMeta::NO_LABEL);
    Some(())
}

/// A packet from the fabric takes the nexthop that was compiled for it. `moves` says whether it is translated, and came to
/// a nexthop in another VRF than its flow goes on in. Cold as well.
#[cold]
fn redirect(
    full: &Full<'_>,
    meta: &mut PktMeta,
    moves: bool,
    (nexthop, label): (NexthopSlot, u32),
) -> Option<()> {
    let Redirection { moved, position } = Redirection::from_label(label);
    let same = moves == moved && (moved || meta.nexthop == nexthop.0);
    if !same || meta.egress != Egress::Delivered {
        return None;
    }
    meta.nexthop = nexthop.0;
    if let Some(position) = position {
        meta.label = position;
        find_member(full, meta)?;
        meta.egress = Egress::DeliveredByMember;
    }
    Some(())
}

/// Counts a packet of a flow.
#[inline]
pub(super) fn count(full: &Full<'_>, marks: Marks<'_>, meta: &PktMeta, bytes: usize) {
    let index = FlowIndex(meta.flow);
    if let Some(hot) = full.flows.hot(index) {
        hot.count(bytes);
        marks.touch(index);
    }
}

/// Keeps the acknowledgement number of the TCP segment whose header is at offset `at`. It stays the same in the
/// direction of most data, and then its line is not written.
#[inline]
pub(super) fn acknowledge(full: &Full<'_>, meta: &PktMeta, frame: &[u8], at: usize) {
    const ACK: u8 = 0x10;
    let acknowledges = frame.get(at + 13).is_some_and(|flags| flags & ACK != 0);
    let number = if acknowledges { be32(frame, at + 8) } else { None };
    if let (Some(number), Some(shared)) = (number, full.flows.shared(FlowIndex(meta.flow)))
        && shared.tcp_ack.load(Relaxed) != number
    {
        shared.tcp_ack.store(number, Relaxed);
    }
}
