//! Packets that wait for the agent's decision about their flow (forwarding.md 6.5).

use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use vr_tables::flow::{FlowAction, FlowFlags, HotFlow, SharedFlow};
use vr_types::{DropReason, FlowIndex, Trap, TrapReason};

use super::pkt::Target;
use super::{Full, Pkt, Resume};
use crate::verdict::{Step, Stop};

/// How long packets wait, in nanoseconds. An agent that needs longer has lost the flow.
const PATIENCE: u64 = 5_000_000_000;
/// How long the agent may take before another packet of the flow asks again, in nanoseconds: its first question may
/// have been lost. The original does not ask again within the 1.2 seconds of recording 13; a SYN that is not answered
/// comes again after 1 and 3 seconds.
const ASK_AGAIN: u64 = 2_000_000_000;

fn key_nexthop(shared: &SharedFlow) -> u32 {
    shared.key().map_or(0, |key| key.nexthop().0)
}

impl Full<'_> {
    /// Queues a packet; the first one of a flow is shown to the agent, and a later one when no answer comes.
    pub(super) fn hold(&mut self, pkt: Pkt, flow: FlowIndex, resume: Resume) {
        let Some(shared) = self.flows.shared(flow) else { return self.drop(pkt, DropReason::FlowUnusable) };
        let generation = shared.generation.load(Relaxed);
        if self.memory.held.queue(flow).is_some_and(|queue| queue.generation != generation) {
            // The slot has changed hands: these belonged to a flow that is gone.
            self.give_up(flow, DropReason::FlowUnusable);
        }
        let depth = self.tables.options.flows.hold_queue;
        let held = &self.memory.held;
        let queue = held.queue(flow);
        let room = queue.is_some_and(|queue| queue.len >= depth) || held.has_room(&pkt);
        let due = queue.is_none_or(|queue| self.now.0.saturating_sub(queue.asked.0) >= ASK_AGAIN);
        // The agent hears of every new flow. Of one whose packets find no room, by its first packet itself.
        if !room && !shared.flags().contains(FlowFlags::NEW_FLOW) {
            return self.drop(pkt, DropReason::FlowNoMemory);
        }
        if due {
            let trap = self.flow_trap(&pkt, flow, shared, generation);
            let copy = if room { self.duplicate(&pkt) } else { None };
            let Some(mut copy) = copy else {
                self.stats.dropped(pkt.vif, DropReason::TrapOriginal);
                return self.trap(pkt, &trap);
            };
            copy.vrf = vr_types::VrfId(shared.vrf.load(Relaxed));
            self.trap(copy, &trap);
            self.memory.held.asked(flow, generation, self.now);
        }
        if let Some(pkt) = self.memory.held.push(flow, depth, pkt, resume) {
            self.drop(pkt, DropReason::FlowQueueLimitExceeded);
        }
    }

    /// The trap for a packet of a flow that waits.
    pub(super) fn flow_trap(&self, pkt: &Pkt, flow: FlowIndex, shared: &SharedFlow, generation: u8) -> Trap {
        let new = FlowFlags::NEW_FLOW.bits();
        let fresh = shared.flags.fetch_and(!new, Relaxed) & new != 0;
        self.flows.show(flow);
        let (packets, bytes) = if fresh { pkt.left } else { self.flows.counters(flow) };
        let overflow = (bytes >> 32) as u32 & 0xffff | ((packets >> 32) as u32) << 16;
        Trap {
            reason: if fresh { TrapReason::FlowMiss } else { TrapReason::FlowActionHold },
            params: [flow.0, key_nexthop(shared), bytes as u32, packets as u32, overflow],
            param5: generation,
        }
    }

    /// Looks again at the packets of a flow whose entry was set, removed or evicted.
    pub(crate) fn release(&mut self, flow: FlowIndex) {
        let Some(generation) = self.memory.held.queue(flow).map(|queue| queue.generation) else { return };
        let state = self.flows.hot(flow).map(HotFlow::state);
        let usable = state.is_some_and(|state| state.is_active() && state.generation() == generation);
        if usable && state.is_some_and(|state| state.action() == FlowAction::Hold) {
            return;
        }
        if !usable {
            let evicted = FlowFlags::EVICT_CANDIDATE | FlowFlags::EVICTED;
            let evicted = self.flows.shared(flow).is_some_and(|shared| shared.flags().intersects(evicted));
            let reason = if evicted { DropReason::FlowEvict } else { DropReason::FlowActionDrop };
            return self.give_up(flow, reason);
        }
        let Some(mut queue) = self.memory.held.take(flow) else { return };
        while let Some((mut pkt, resume)) = self.memory.held.pop(&mut queue) {
            let end = if self.tables.vif(pkt.vif).is_none() {
                Stop::Drop(DropReason::InvalidIf)
            } else {
                let resume = self.find_again(&mut pkt, resume);
                match resume.and_then(|resume| self.apply_flow(&mut pkt, flow).map(|()| resume)) {
                    Ok(resume) => self.resume(&mut pkt, resume),
                    Err(stop) => stop,
                }
            };
            self.finish(pkt, end);
        }
        self.evict_released(flow);
    }

    /// Before a packet that waited goes on: the nexthop that it was on its way to, as the tables are now.
    pub(super) fn find_again(&self, pkt: &mut Pkt, resume: Resume) -> Step<Resume> {
        let Resume::Nexthop(target) = resume else { return Ok(resume) };
        if target.epoch == self.tables.nexthop_epoch(target.slot) {
            return Ok(resume);
        }
        let slot = self.tables.nexthop_slot(target.id).ok_or(DropReason::InvalidNh)?;
        let same = self.tables.nexthop(slot).is_some_and(|nexthop| nexthop.vif() == target.vif);
        if !same {
            return Err(DropReason::InvalidNh.into());
        }
        pkt.nexthop = Some(slot);
        Ok(Resume::Nexthop(Target { slot, epoch: self.tables.nexthop_epoch(slot), ..target }))
    }

    /// Goes on behind the flow lookup.
    pub(super) fn resume(&mut self, pkt: &mut Pkt, resume: Resume) -> Stop {
        match resume {
            Resume::Bridge => self.bridge_input(pkt),
            Resume::Route => self.route(pkt),
            Resume::Nexthop(target) => self.output_after_flow(pkt, target.slot),
            Resume::Local => match self.route_again_if_translated(pkt) {
                Some(stop) => stop,
                None => self.deliver_to_host(pkt, None),
            },
        }
    }

    fn give_up(&mut self, flow: FlowIndex, reason: DropReason) {
        let Some(mut queue) = self.memory.held.take(flow) else { return };
        while let Some((pkt, _)) = self.memory.held.pop(&mut queue) {
            self.drop(pkt, reason);
        }
    }

    /// Drops packets that have waited too long.
    pub(crate) fn expire_held(&mut self) {
        let now = self.now.0;
        let queues = self.memory.held.queues();
        let late: ArrayVec<FlowIndex, 64> = queues
            .filter(|(_, queue)| now.saturating_sub(queue.since.0) > PATIENCE)
            .map(|(flow, _)| flow)
            .take(64)
            .collect();
        for flow in late {
            self.give_up(flow, DropReason::FlowUnusable);
        }
    }
}
