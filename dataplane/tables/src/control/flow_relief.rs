//! Room for new flows when the table or the holds are nearly used up: half-open and one-way flows go, the older ones
//! first. Nothing of it happens unless it is configured.

use std::ops::Range;
use std::sync::atomic::Ordering::{Acquire, Relaxed};

use vr_types::FlowIndex;

use super::{Datapath, Tables};
use crate::flow::{Candidate, FlowAction, FlowFlags, FlowTable, HotFlow, SharedFlow, TcpFlags};

const TCP: u8 = 6;
/// Entries of an area that are looked at in one call.
const LOOKED_AT: usize = 32_768;
/// Entries that are evicted in one call at the most.
const EVICTED: usize = 1024;
/// So long the hand rests between two rounds, in nanoseconds: an entry goes if it was there in the round before.
const REST: u64 = 1_000_000_000;

/// Clocks whose hands go round over the table.
#[derive(Default)]
pub(super) struct Relief {
    /// Per entry, the generation of its user when a hand came by last. Empty until a hand first moves.
    seen: Vec<u8>,
    /// One for the entries in buckets, and one for the overflow area.
    clocks: [Clock; 2],
}

#[derive(Clone, Copy, Default)]
struct Clock {
    /// Entries of the area that the hand has passed in this round.
    hand: usize,
    /// When the last round ended, nanoseconds.
    ended: u64,
}

/// How many entries should go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Need {
    /// Of those that wait for the agent.
    holds: usize,
    /// Of all.
    entries: usize,
}

impl Need {
    const fn is_met(self) -> bool {
        self.holds == 0 && self.entries == 0
    }

    fn less(&mut self, holds: usize, entries: usize) {
        self.holds = self.holds.saturating_sub(holds);
        self.entries = self.entries.saturating_sub(entries);
    }
}

impl Tables {
    /// Makes room for new flows if that is configured and there is little: flows that wait for the agent go first, then
    /// TCP connections that were never established and flows whose reverse has seen no packet, each not before it was
    /// there for a second. `now` is the time in nanoseconds of a monotonic clock. Each call looks at a bounded part of
    /// the table, and evicts a bounded number. To be called every ten milliseconds or so while [`Tables::is_pressed`].
    pub fn relieve(&mut self, now: u64, datapath: &mut dyn Datapath) {
        self.recycle();
        let [main, overflow] = self.need();
        if main.is_met() && overflow.is_met() {
            return;
        }
        let (entries, total) = (self.flows.geometry().entries as usize, self.flows.geometry().total());
        self.relief.seen.resize(total, 0);
        let holds = self.turn(0, 0..entries, main, now, datapath);
        self.turn(1, entries..total, Need { holds, ..overflow }, now, datapath);
    }

    /// Whether flows should make room, or some are on their way out: then it should not be long until the next
    /// [`Tables::relieve`].
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.flows.has_candidates()
            || !self.leaving.is_empty()
            || self.need().iter().any(|need| !need.is_met())
    }

    /// How many should go of the entries in buckets, and of the overflow area.
    fn need(&self) -> [Need; 2] {
        if !self.work.options.flows.protect {
            return [Need::default(); 2];
        }
        let limit = u64::from(self.work.options.flow_hold_limit.unsigned_abs());
        let geometry = self.flows.geometry();
        let (main, overflow) = self.flows.used();
        // Without an overflow area a bucket is full long before the table is.
        let room = if geometry.overflow == 0 { geometry.entries / 2 } else { geometry.entries };
        let holds = over(self.holds.outstanding(), limit);
        [(main, room), (overflow, geometry.overflow)]
            .map(|(used, room)| Need { holds, entries: over(u64::from(used), u64::from(room)) })
    }

    /// Moves a hand on. Returns how many that wait for the agent should still go.
    fn turn(
        &mut self,
        number: usize,
        area: Range<usize>,
        mut need: Need,
        now: u64,
        datapath: &mut dyn Datapath,
    ) -> usize {
        let Clock { hand, ended } = self.relief.clocks[number];
        if need.is_met() || hand == 0 && now.saturating_sub(ended) < REST {
            return need.holds;
        }
        let next = area.len().min(hand + LOOKED_AT);
        let old = self.old(area.start + hand..area.start + next);
        let evicted = self.evict_waiting(&old, &mut need, datapath);
        // Not always the same ones first.
        let start = now as usize % old.len().max(1);
        let old = old[start..].iter().chain(&old[..start]);
        self.evict_unestablished(old, need.entries.min(EVICTED - evicted), datapath);
        self.relief.clocks[number] =
            if next == area.len() { Clock { hand: 0, ended: now } } else { Clock { hand: next, ended } };
        need.holds
    }

    /// The entries of a part that were there in the round before, with their actions.
    fn old(&mut self, part: Range<usize>) -> Vec<(Candidate, FlowAction)> {
        let mut old = Vec::new();
        for index in part.map(|index| FlowIndex(index as u32)) {
            let Some(state) = self.flows.hot(index).map(HotFlow::state).filter(|state| state.is_active())
            else {
                continue;
            };
            let generation = state.generation();
            let seen = std::mem::replace(&mut self.relief.seen[index.index()], generation);
            if seen == generation {
                old.push((Candidate { index, generation }, state.action()));
            }
        }
        old
    }

    /// Evicts flows that wait for the agent while some should go; how many that were.
    fn evict_waiting(
        &mut self,
        old: &[(Candidate, FlowAction)],
        need: &mut Need,
        datapath: &mut dyn Datapath,
    ) -> usize {
        let mut evicted = 0;
        for (candidate, _) in old.iter().filter(|(_, action)| *action == FlowAction::Hold) {
            if need.is_met() || evicted == EVICTED {
                break;
            }
            if self.evict_with_packets(*candidate, datapath) {
                need.less(1, 1);
                evicted += 1;
            }
        }
        evicted
    }

    /// Evicts flows that are not established, until so many entries have gone.
    fn evict_unestablished<'a>(
        &mut self,
        old: impl Iterator<Item = &'a (Candidate, FlowAction)>,
        need: usize,
        datapath: &mut dyn Datapath,
    ) {
        let flows = std::sync::Arc::clone(&self.flows);
        let mut gone = 0;
        for (candidate, _) in old.filter(|(_, action)| *action != FlowAction::Hold) {
            if gone >= need {
                return;
            }
            gone += self.evict_with_reverse(&flows, *candidate, datapath);
        }
    }

    /// Evicts a flow with its reverse if it is no established one; how many entries that are.
    fn evict_with_reverse(
        &mut self,
        flows: &FlowTable,
        candidate: Candidate,
        datapath: &mut dyn Datapath,
    ) -> usize {
        let Some(shared) = flows.shared(candidate.index) else { return 0 };
        let linked = linked(flows, candidate.index, shared);
        if is_established(flows, candidate.index, shared, linked)
            || !self.evict_with_packets(candidate, datapath)
        {
            return 0;
        }
        let Some(index) = linked else { return 1 };
        let generation = flows.shared(index).map_or(0, |reverse| reverse.generation.load(Acquire));
        1 + usize::from(self.evict_with_packets(Candidate { index, generation }, datapath))
    }

    /// Evicts a flow with the packets that wait for it; says whether it was there.
    fn evict_with_packets(&mut self, candidate: Candidate, datapath: &mut dyn Datapath) -> bool {
        let action = self.evict(candidate);
        if action == Some(FlowAction::Hold) {
            datapath.flow_changed(candidate.index);
        }
        action.is_some()
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
