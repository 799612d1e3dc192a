//! Flows when an agent restarts: it has forgotten them (forwarding.md 13.2, point 4).
//!
//! An entry is kept if all it refers to means the same in both programmings. Its next packet shows it to the agent
//! as a new flow and goes on by the old action. What the agent does not set in time is removed.

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use vr_types::{FlowIndex, MirrorId, NexthopId, VifId, VrfId};

use super::restart::Held;
use super::same_meaning::SameMeaning;
use super::{CommandError, Datapath, FlowReply, FlowSpec, Tables};
use crate::flow::{FlowAction, FlowFlags, SharedFlow};

/// Flows that the agent has not set since it has restarted.
#[derive(Default)]
pub(super) struct KeptFlows {
    /// With their generations.
    flows: HashMap<FlowIndex, u8>,
    /// Those that could not be marked yet.
    unmarked: HashMap<FlowIndex, u8>,
    since: Option<Instant>,
}

impl KeptFlows {
    /// Whether the agent has yet to set the entry, if this is its generation.
    fn has(&self, index: FlowIndex, generation: u8) -> bool {
        [&self.flows, &self.unmarked].iter().any(|flows| flows.get(&index) == Some(&generation))
    }
}

/// What becomes of flows.
#[derive(Default)]
pub(super) struct ChosenFlows {
    /// With their generations.
    pub(super) kept: Vec<(FlowIndex, u8)>,
    pub(super) removed: usize,
}

impl Tables {
    /// Removes the entries that wait for an agent that is gone.
    pub(super) fn remove_waiting_flows(&mut self, datapath: &mut dyn Datapath) {
        self.kept_flows = KeptFlows::default();
        let flows = Arc::clone(&self.flows);
        for index in flows.indexes() {
            if flows.shared(index).is_some_and(is_waiting) {
                self.flow_remove(index, datapath);
            }
        }
    }

    /// Removes the entries that would mean something else with the tables that come.
    pub(super) fn choose_flows(&mut self, held: &Held, datapath: &mut dyn Datapath) -> ChosenFlows {
        let new = self.work.clone();
        let same = SameMeaning::new(&held.snapshot, &new, held.qos.differing(&self.qos));
        let flows = Arc::clone(&self.flows);
        let mut chosen = ChosenFlows::default();
        for index in flows.indexes() {
            if self.is_leaving(index) {
                continue;
            }
            if self.stays(index, &same) {
                chosen.kept.push((index, self.generation(index)));
            } else {
                self.flow_remove(index, datapath);
                chosen.removed += 1;
            }
        }
        chosen
    }

    /// After the switch: entries that stay are new to the agent.
    pub(super) fn keep_flows(&mut self, kept: Vec<(FlowIndex, u8)>, moves: &[(VifId, VifId)], now: Instant) {
        if let Some(quotas) = self.flows.quotas().filter(|_| !moves.is_empty()) {
            let moves: HashMap<VifId, VifId> = moves.iter().copied().collect();
            for (index, _) in &kept {
                quotas.renumber(*index, &moves);
            }
        }
        self.kept_flows = KeptFlows { since: Some(now), ..KeptFlows::default() };
        for (index, generation) in kept {
            self.mark_kept_flow(index, generation);
        }
    }

    fn mark_kept_flow(&mut self, index: FlowIndex, before: u8) {
        if let Some(generation) = self.flows.renew(index, before) {
            self.kept_flows.flows.insert(index, generation);
        } else if self.flows.in_use(index) && self.generation(index) == before {
            self.kept_flows.unmarked.insert(index, before);
        }
    }

    /// Goes on marking, and removes what the agent has not set in time.
    pub(super) fn advance_kept_flows(&mut self, now: Instant, datapath: &mut dyn Datapath) {
        let Some(since) = self.kept_flows.since else { return };
        for (index, generation) in std::mem::take(&mut self.kept_flows.unmarked) {
            self.mark_kept_flow(index, generation);
        }
        let grace = self.graceful_restart.map_or(Duration::ZERO, |policy| policy.grace);
        if now.saturating_duration_since(since) < grace {
            return;
        }
        let kept = std::mem::take(&mut self.kept_flows);
        for (index, generation) in kept.flows.into_iter().chain(kept.unmarked) {
            if self.flows.in_use(index) && self.generation(index) == generation {
                self.flow_remove(index, datapath);
            }
        }
    }

    /// Whether an entry is on its way out of the table.
    pub(super) fn is_leaving(&self, index: FlowIndex) -> bool {
        let deleted = |shared: &SharedFlow| shared.flags().contains(FlowFlags::DELETE_MARKED);
        self.flows.shared(index).is_none_or(deleted) || self.leaving.is_evicting(index)
    }

    /// Whether an entry means the same, and so does its reverse flow, which it translates by.
    fn stays(&self, index: FlowIndex, same: &SameMeaning<'_>) -> bool {
        let Some(shared) = self.flows.shared(index).filter(|shared| means_the_same(shared, same)) else {
            return false;
        };
        let linked = FlowIndex(shared.reverse.load(Acquire));
        if !shared.flags().contains(FlowFlags::RFLOW_VALID) || !self.flows.in_use(linked) {
            return true;
        }
        let reverse = self.flows.shared(linked).filter(|_| !self.is_leaving(linked));
        reverse
            .is_some_and(|reverse| reverse.reverse.load(Acquire) == index.0 && means_the_same(reverse, same))
    }

    /// Whether requests about flows are refused, and how: the entries that there are belong to the former agent.
    pub(super) const fn refuses_flows(&self, spec: &FlowSpec) -> Result<(), CommandError> {
        match (self.is_restarting(), spec.index) {
            (false, _) => Ok(()),
            (true, Some(_)) => Err(CommandError::NotFound("flow")),
            (true, None) => Err(CommandError::Busy),
        }
    }

    /// The agent names an entry by position and generation: it need not be shown to it any more.
    pub(super) fn show_kept_flow(&self, index: FlowIndex, generation: u8) {
        if self.kept_flows.has(index, generation)
            && let Some(shared) = self.flows.shared(index)
        {
            shared.flags.fetch_and(!FlowFlags::NEW_FLOW.bits(), AcqRel);
        }
    }

    /// The kept entry of a flow that the agent adds by its key.
    pub(super) fn kept_flow(&self, spec: &FlowSpec) -> Option<FlowIndex> {
        let key = spec.key?;
        let index = self.flows.find(&key, key.hash())?;
        self.kept_flows.has(index, self.generation(index)).then_some(index)
    }

    /// Makes of a kept entry what the agent has added.
    pub(super) fn take_over(
        &mut self,
        spec: &FlowSpec,
        index: FlowIndex,
        reply: &mut FlowReply,
    ) -> Result<(), CommandError> {
        let generation = self.generation(index);
        (reply.index, reply.generation) = (Some(index), generation);
        self.show_kept_flow(index, generation);
        self.lock(index)?;
        let result = self.flow_set_checked(spec, Some(index), reply);
        self.flows.unlock_entry(index);
        self.confirm_flow(index, &result);
        result
    }

    /// The agent has set an entry.
    pub(super) fn confirm_flow(&mut self, index: FlowIndex, result: &Result<(), CommandError>) {
        if result.is_ok() {
            self.kept_flows.flows.remove(&index);
            self.kept_flows.unmarked.remove(&index);
        }
    }
}

fn is_waiting(shared: &SharedFlow) -> bool {
    shared.action.load(Relaxed) == FlowAction::Hold as u16
}

fn means_the_same(shared: &SharedFlow, same: &SameMeaning<'_>) -> bool {
    let flags = shared.flags();
    if flags.intersects(FlowFlags::EVICT_CANDIDATE | FlowFlags::EVICTED) || is_waiting(shared) {
        return false;
    }
    let mirrors = [&shared.mirror, &shared.mirror2].map(|mirror| MirrorId(mirror.load(Relaxed)));
    shared.key().is_some_and(|key| same.key(key.nexthop()))
        && same.vrf(VrfId(shared.vrf.load(Relaxed)))
        && (!flags.contains(FlowFlags::VRFT) || same.vrf(VrfId(shared.dvrf.load(Relaxed))))
        && same.qos(shared.qos_id.load(Relaxed))
        && same.source(NexthopId(shared.source_nexthop.load(Relaxed)))
        && (!flags.contains(FlowFlags::MIRROR) || mirrors.into_iter().all(|mirror| same.mirror(mirror)))
}
