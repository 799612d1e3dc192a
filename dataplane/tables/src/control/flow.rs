//! What the agent does with flows (control.md 4.15, forwarding.md 6.10).

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use vr_types::{FlowIndex, VifId};

use super::flow_write::{inherited, is_simple, service_port, write};
use super::{CommandError, Datapath, FlowReply, FlowSpec, FlowTotals, Reverse, Tables};
use crate::flow::{Charge, FlowAction, FlowFlags, InsertError, SharedFlow, TcpFlags};
use crate::nexthop::Nexthop;

const TCP: u8 = 6;
/// How often the control thread lets others run before it says that the bucket of a new flow, or an entry, is busy.
const BUSY_TURNS: u32 = 100;

/// Counts of what the agent did.
#[derive(Default)]
pub(super) struct FlowCounts {
    added: u64,
    changed: u64,
    deleted: u64,
    /// Entries that the agent put back to HOLD.
    held: u64,
}

pub(super) const fn invalid(what: &'static str) -> CommandError {
    CommandError::Invalid(what)
}

impl Tables {
    /// Adds, changes or removes one direction of a flow.
    pub fn flow_set(&mut self, spec: &FlowSpec, datapath: &mut dyn Datapath) -> FlowReply {
        self.begin();
        let entry = spec.index.filter(|index| !self.is_restarting() && self.flows.in_use(*index));
        let mut reply = FlowReply {
            result: Ok(()),
            index: spec.index,
            generation: entry.map_or(0, |index| self.generation(index)),
            deleted: false,
            left: (0, 0),
        };
        reply.result = if let Err(refused) = self.refuses_flows(spec) {
            Err(refused)
        } else if spec.force_evict {
            self.flow_evict(entry)
        } else {
            self.flow_set_entry(spec, entry, &mut reply)
        };
        // Packets can only wait for an entry that was there before.
        if let (Ok(()), Some(index)) = (&reply.result, entry) {
            datapath.flow_changed(index);
        }
        reply
    }

    pub(super) fn generation(&self, index: FlowIndex) -> u8 {
        self.flows.shared(index).map_or(0, |shared| shared.generation.load(Acquire))
    }

    fn flow_set_entry(
        &mut self,
        spec: &FlowSpec,
        entry: Option<FlowIndex>,
        reply: &mut FlowReply,
    ) -> Result<(), CommandError> {
        let Some(index) = entry else {
            let active = spec.flags.contains(FlowFlags::ACTIVE);
            if active && spec.index.is_some() {
                return Err(CommandError::NotFound("flow"));
            }
            if active && let Some(kept) = self.kept_flow(spec) {
                return self.take_over(spec, kept, reply);
            }
            return self.flow_set_checked(spec, None, reply);
        };
        self.show_kept_flow(index, spec.generation);
        self.lock(index)?;
        let result = self.check_entry(spec, index).and_then(|()| self.flow_set_checked(spec, entry, reply));
        self.flows.unlock_entry(index);
        self.confirm_flow(index, &result);
        result
    }

    /// Waits a little for a worker that marks the entry for eviction.
    pub(super) fn lock(&self, index: FlowIndex) -> Result<(), CommandError> {
        for _ in 0..BUSY_TURNS {
            if self.flows.lock_entry(index) {
                return Ok(());
            }
            let flags = self.flows.shared(index).map_or(FlowFlags::empty(), SharedFlow::flags);
            if flags.intersects(FlowFlags::EVICTED | FlowFlags::NEW_FLOW) || self.leaving.is_evicting(index) {
                break;
            }
            std::thread::yield_now();
        }
        Err(CommandError::Busy)
    }

    pub(super) fn flow_set_checked(
        &mut self,
        spec: &FlowSpec,
        entry: Option<FlowIndex>,
        reply: &mut FlowReply,
    ) -> Result<(), CommandError> {
        if spec.flags.contains(FlowFlags::VRFT) && u32::from(spec.dvrf.0) >= self.limits.vrfs {
            return Err(invalid("the VRF to go on in is beyond the table"));
        }
        let mirrored = spec.mirrors.iter().any(|id| u32::from(*id) < self.limits.mirrors);
        if spec.flags.contains(FlowFlags::MIRROR) && !mirrored {
            return Err(invalid("a mirrored flow names no mirror"));
        }
        let reverse = self.reverse_of(spec)?;
        if !spec.flags.contains(FlowFlags::ACTIVE) {
            self.flow_delete(entry.ok_or(CommandError::NotFound("flow"))?);
            reply.deleted = true;
            return Ok(());
        }
        let action = spec.action.ok_or(invalid("a flow has no such action"))?;
        if let Some(index) = entry {
            self.flow_change(spec, index, reverse, action);
            Ok(())
        } else {
            let added = self.flow_add(spec, reverse, action, &mut reply.left);
            if let Ok(index) | Err(CommandError::Flow(InsertError::Exists(index))) = &added {
                reply.index = Some(*index);
                reply.generation = self.generation(*index);
            }
            added.map(|_| ())
        }
    }

    fn check_entry(&self, spec: &FlowSpec, index: FlowIndex) -> Result<(), CommandError> {
        let shared = self.flows.shared(index).ok_or(CommandError::NotFound("flow"))?;
        if shared.flags().contains(FlowFlags::DELETE_MARKED) {
            return Err(invalid("the flow is being removed"));
        }
        if shared.generation.load(Acquire) != spec.generation {
            return Err(CommandError::StaleGeneration);
        }
        if shared.key() != spec.key {
            return Err(CommandError::OtherKey);
        }
        Ok(())
    }

    fn reverse_of(&self, spec: &FlowSpec) -> Result<Option<FlowIndex>, CommandError> {
        if !spec.flags.contains(FlowFlags::RFLOW_VALID) {
            return Ok(None);
        }
        let found = match spec.reverse {
            Reverse::Index(index) => Some(index).filter(|index| self.flows.in_use(*index)),
            Reverse::Key(key) => key.and_then(|key| self.flows.find(&key, key.hash())),
        };
        // The slot of one that is on its way out gets another user.
        found
            .filter(|index| !self.is_leaving(*index))
            .map(Some)
            .ok_or(invalid("the reverse flow does not exist"))
    }

    fn flow_add(
        &mut self,
        spec: &FlowSpec,
        reverse: Option<FlowIndex>,
        action: FlowAction,
        left: &mut (u64, u64),
    ) -> Result<FlowIndex, CommandError> {
        let key = spec.key.ok_or(invalid("a flow is of family inet or inet6"))?;
        let inherited = match reverse.and_then(|index| self.flows.shared(index)) {
            Some(reverse) if key.protocol() == TCP => inherited(reverse.tcp_flags()),
            _ => TcpFlags::empty(),
        };
        let insert = || {
            self.flows.insert_as(&key, key.hash(), |shared| {
                *left = shared.counters();
                write(shared, spec, &key, reverse, action);
                (action, is_simple(spec, action))
            })
        };
        let index = unless_busy(insert)?;
        self.one_way_links.changed(&self.flows, index, FlowIndex::NONE);
        if let Some(quotas) = self.flows.quotas() {
            let vif = self.work.nexthop_by_id(key.nexthop()).and_then(Nexthop::vif);
            let charge = Charge { vrf: spec.vrf, vif: vif.unwrap_or(VifId::NONE) };
            quotas.add(charge);
            quotas.remember(index, charge);
        }
        if !inherited.is_empty() {
            self.flows.set_tcp_flags(index, inherited);
        }
        self.services.set(self.flows.ports(), index, service_port(spec.flags, &key));
        if action == FlowAction::Hold {
            self.flow_counts.held += 1;
            self.holds.created.fetch_add(1, Relaxed);
        }
        self.flow_counts.added += 1;
        Ok(index)
    }

    fn flow_change(
        &mut self,
        spec: &FlowSpec,
        index: FlowIndex,
        reverse: Option<FlowIndex>,
        action: FlowAction,
    ) {
        let Some(key) = spec.key else { return };
        let (mut before, mut linked) = (FlowAction::Drop, FlowIndex::NONE);
        self.flows.modify(index, |shared| {
            before = FlowAction::from_number(shared.action.load(Relaxed)).unwrap_or(FlowAction::Drop);
            linked = FlowIndex(shared.reverse.load(Relaxed));
            write(shared, spec, &key, reverse, action);
            // Packets of one that is about to be evicted have to see that.
            let stays = !shared.flags().contains(FlowFlags::EVICT_CANDIDATE);
            (action, stays && is_simple(spec, action))
        });
        self.one_way_links.changed(&self.flows, index, linked);
        self.services.set(self.flows.ports(), index, service_port(spec.flags, &key));
        self.count_change(before, action);
    }

    fn count_change(&mut self, before: FlowAction, after: FlowAction) {
        let holds = [before, after].map(|action| action == FlowAction::Hold);
        match holds {
            [true, false] => {
                self.holds.resolved.fetch_add(1, Release);
            }
            [false, true] => {
                self.flow_counts.held += 1;
                self.holds.created.fetch_add(1, Relaxed);
            }
            _ => self.flow_counts.changed += 1,
        }
    }

    /// Removes an entry: no packet finds it any more, its slot is free after a grace period.
    pub(super) fn flow_delete(&mut self, index: FlowIndex) {
        let mut before = FlowAction::Drop;
        self.flows.modify(index, |shared| {
            before = FlowAction::from_number(shared.action.load(Relaxed)).unwrap_or(FlowAction::Drop);
            shared.flags.fetch_or(FlowFlags::DELETE_MARKED.bits(), AcqRel);
            shared.action.store(FlowAction::Drop as u16, Relaxed);
            shared.mirror.store(u8::MAX, Relaxed);
            shared.mirror2.store(u8::MAX, Relaxed);
            (FlowAction::Drop, false)
        });
        self.services.set(self.flows.ports(), index, None);
        self.count_change(before, FlowAction::Drop);
        self.flow_counts.deleted += 1;
        self.leaving.remove(&self.flows, &mut self.one_way_links, index);
    }

    /// Removes every entry.
    pub(super) fn flow_clear(&mut self, datapath: &mut dyn Datapath) {
        let flows = Arc::clone(&self.flows);
        if flows.used() == (0, 0) {
            return;
        }
        for index in flows.indexes() {
            self.flow_remove(index, datapath);
        }
    }

    /// Removes an entry without being asked for it, if it is not on its way out already.
    pub(super) fn flow_remove(&mut self, index: FlowIndex, datapath: &mut dyn Datapath) {
        let Some(shared) = self.flows.shared(index) else { return };
        if self.is_leaving(index) {
            return;
        }
        let held = shared.action.load(Relaxed) == FlowAction::Hold as u16;
        self.flow_delete(index);
        if held {
            datapath.flow_changed(index);
        }
    }

    /// Flow counters.
    #[must_use]
    pub fn flow_totals(&self) -> FlowTotals {
        let (main, used_overflow) = self.flows.used();
        let created = self.holds.created.load(Relaxed);
        FlowTotals {
            used: main + used_overflow,
            used_overflow,
            processed: self.holds.resolved.load(Relaxed),
            added: self.flow_counts.added,
            changed: self.flow_counts.changed,
            deleted: self.flow_counts.deleted,
            created: created.saturating_sub(self.flow_counts.held),
            hold_overflows: self.holds.refused.load(Relaxed),
            holding: self.holds.outstanding(),
            evicted: self.flows.evictions(),
            burst_free: self.holds.burst.free(self.work.options.burst().tokens),
        }
    }
}

/// Inserts as soon as the worker that holds the bucket has had its turn.
fn unless_busy(mut insert: impl FnMut() -> Result<FlowIndex, InsertError>) -> Result<FlowIndex, InsertError> {
    for _ in 0..BUSY_TURNS {
        match insert() {
            Err(InsertError::Busy) => std::thread::yield_now(),
            result => return result,
        }
    }
    Err(InsertError::Busy)
}
