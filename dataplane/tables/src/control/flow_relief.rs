//! Room for new flows when the table or the holds are nearly used up: half-open and one-way flows go, the older ones
//! first. Nothing of it happens unless it is configured.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use vr_types::FlowIndex;

use super::{Datapath, Tables};
use crate::flow::{Candidate, FlowAction, FlowFlags, FlowTable, SharedFlow, TcpFlags};

const TCP: u8 = 6;
/// Entries that are looked at in one call.
const LOOKED_AT: usize = 32_768;
/// Entries that are evicted in one call at the most.
const EVICTED: usize = 1024;
/// A round over the table takes at least so long, in nanoseconds: an entry goes if it was there in the round before.
const ROUND: u64 = 1_000_000_000;

/// The hand of a clock that goes round over the table.
#[derive(Default)]
pub(super) struct Relief {
    /// Per entry, the generation of its user when the hand came by last. Empty until the hand first moves.
    seen: Vec<u8>,
    hand: usize,
    /// When the present round began, nanoseconds.
    began: u64,
}

/// How many entries should go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    /// Of those that wait for the agent.
    holds: usize,
    /// Of all.
    entries: usize,
}

impl Tables {
    /// Makes room for new flows if that is configured and there is little: flows that wait for the agent go first, then
    /// TCP connections that were never established and flows whose reverse has seen no packet, each not before it was
    /// there for a round of the scan, which is one second or more. `now` is the time in nanoseconds of a monotonic
    /// clock. Each call looks at a bounded part of the table. To be called every ten milliseconds or so while
    /// [`Tables::is_pressed`].
    pub fn relieve(&mut self, now: u64, datapath: &mut dyn Datapath) {
        self.recycle();
        let need = self.need();
        if need == Need::default() {
            return;
        }
        let total = self.flows.geometry().total();
        self.relief.seen.resize(total, 0);
        if self.relief.hand == 0 {
            if now.saturating_sub(self.relief.began) < ROUND {
                return;
            }
            self.relief.began = now;
        }
        let first = self.relief.hand;
        let last = total.min(first + LOOKED_AT);
        self.relief.hand = if last == total { 0 } else { last };
        self.relieve_part(first as u32..last as u32, need, datapath);
    }

    /// Whether flows should make room, or some are on their way out: then it should not be long until the next
    /// [`Tables::relieve`].
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.flows.has_candidates() || !self.leaving.is_empty() || self.need() != Need::default()
    }

    fn need(&self) -> Need {
        if !self.work.options.flows.protect {
            return Need::default();
        }
        let limit = u64::from(self.work.options.flow_hold_limit.unsigned_abs());
        let geometry = self.flows.geometry();
        let (main, overflow) = self.flows.used();
        // Without an overflow area a bucket is full long before the table is.
        let main_room = if geometry.overflow == 0 { geometry.entries / 2 } else { geometry.entries };
        Need {
            holds: over(self.holds.outstanding(), limit),
            entries: over(u64::from(main), u64::from(main_room))
                .max(over(u64::from(overflow), u64::from(geometry.overflow))),
        }
    }

    fn relieve_part(&mut self, part: Range<u32>, need: Need, datapath: &mut dyn Datapath) {
        let flows = std::sync::Arc::clone(&self.flows);
        let mut old = Vec::new();
        let mut evicted = 0;
        for index in part.map(FlowIndex) {
            let Some(hot) = flows.hot(index) else { continue };
            let state = hot.state();
            if !state.is_active() {
                continue;
            }
            let generation = state.generation();
            let seen = std::mem::replace(&mut self.relief.seen[index.index()], generation);
            let candidate = Candidate { index, generation };
            if seen != generation {
                continue;
            }
            if state.action() != FlowAction::Hold {
                old.push(candidate);
            } else if evicted < need.holds.max(need.entries).min(EVICTED) && self.evict(candidate).is_some() {
                evicted += 1;
                datapath.flow_changed(index);
            }
        }
        for candidate in old {
            if evicted >= need.entries.min(EVICTED) {
                return;
            }
            evicted += self.evict_unestablished(&flows, candidate);
        }
    }

    /// Evicts a flow with its reverse if it is no established one; how many entries that are.
    fn evict_unestablished(&mut self, flows: &FlowTable, candidate: Candidate) -> usize {
        let Some(shared) = flows.shared(candidate.index) else { return 0 };
        let linked = linked(flows, candidate.index, shared);
        if is_established(flows, candidate.index, shared, linked) || self.evict(candidate).is_none() {
            return 0;
        }
        let Some(index) = linked else { return 1 };
        let generation = flows.shared(index).map_or(0, |reverse| reverse.generation.load(Acquire));
        1 + usize::from(self.evict(Candidate { index, generation }).is_some())
    }
}

/// How many of `used` are beyond three quarters, once seven eighths are in use; no room at all is no bound.
fn over(used: u64, room: u64) -> usize {
    if room == 0 || used * 8 <= room * 7 { 0 } else { (used - room * 3 / 4) as usize }
}

/// The reverse flow, if both name each other.
fn linked(flows: &FlowTable, index: FlowIndex, shared: &SharedFlow) -> Option<FlowIndex> {
    let linked = FlowIndex(shared.reverse.load(Relaxed));
    let valid = shared.flags().contains(FlowFlags::RFLOW_VALID) && linked != index && flows.in_use(linked);
    let back = flows.shared(linked)?.reverse.load(Relaxed);
    (valid && back == index.0).then_some(linked)
}

/// Whether both sides have spoken, and for TCP whether the handshake is over if its begin was seen.
fn is_established(
    flows: &FlowTable,
    index: FlowIndex,
    shared: &SharedFlow,
    linked: Option<FlowIndex>,
) -> bool {
    let tcp = shared.key().filter(|key| key.protocol() == TCP).map(|_| shared.tcp_flags());
    match tcp {
        Some(tcp) if tcp.intersects(TcpFlags::SYN | TcpFlags::SYN_R) => {
            tcp.intersects(TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R)
        }
        _ => linked.is_some_and(|linked| flows.counters(linked).0 > 0) && flows.counters(index).0 > 0,
    }
}

#[cfg(test)]
mod tests {
    use super::over;

    #[test]
    fn three_quarters_are_left_once_seven_eighths_are_used() {
        assert_eq!([over(700, 800), over(701, 800), over(800, 800)], [0, 101, 200]);
        assert_eq!([over(5, 0), over(0, 8), over(1000, 800)], [0, 0, 400]);
    }
}
