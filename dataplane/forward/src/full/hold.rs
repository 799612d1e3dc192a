//! Packets that wait for the agent's decision about their flow (forwarding.md 6.5).

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use arrayvec::ArrayVec;
use vr_frame::FramePool;
use vr_tables::flow::{FlowAction, FlowFlags, SharedFlow};
use vr_types::{DropReason, FlowIndex, Trap, TrapReason};

use super::pkt::Target;
use super::{Full, Pkt, Resume};
use crate::Now;
use crate::verdict::{Step, Stop};

/// Packets that one flow may keep waiting.
const QUEUE: usize = 3;
/// Frames that one worker keeps waiting at the most; the rest of its pool goes on forwarding.
const FRAMES: usize = 2048;
/// How many of these may be super-frames, which are few.
const SUPERS: usize = 32;
/// How long packets wait, in nanoseconds. An agent that needs longer has lost the flow.
const PATIENCE: u64 = 5_000_000_000;
/// How long the agent may take before another packet of the flow asks again, in nanoseconds: its first question may
/// have been lost. The original does not ask again within the 1.2 seconds of recording 13; a SYN that is not answered
/// comes again after 1 and 3 seconds.
const ASK_AGAIN: u64 = 2_000_000_000;

struct Queue {
    generation: u8,
    since: Now,
    asked: Now,
    packets: ArrayVec<(Pkt, Resume), QUEUE>,
}

/// The waiting packets of one worker.
#[derive(Default)]
pub(crate) struct HoldQueues {
    queues: HashMap<FlowIndex, Queue>,
    frames: usize,
    supers: usize,
}

impl Queue {
    fn supers(&self) -> usize {
        self.packets.iter().filter(|(pkt, _)| pkt.frame.is_super()).count()
    }
}

impl HoldQueues {
    fn take(&mut self, flow: FlowIndex) -> Option<Queue> {
        let queue = self.queues.remove(&flow)?;
        self.frames -= queue.packets.len();
        self.supers -= queue.supers();
        Some(queue)
    }

    fn put_back(&mut self, flow: FlowIndex, queue: Queue) {
        self.frames += queue.packets.len();
        self.supers += queue.supers();
        self.queues.insert(flow, queue);
    }

    fn has_room(&self, pkt: &Pkt) -> bool {
        self.frames < FRAMES && !(pkt.frame.is_super() && self.supers >= SUPERS)
    }

    /// How many packets of a flow wait, and when the agent was asked last.
    fn state(&self, flow: FlowIndex) -> (usize, Option<Now>) {
        self.queues.get(&flow).map_or((0, None), |queue| (queue.packets.len(), Some(queue.asked)))
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        for (_, queue) in self.queues.drain() {
            for (pkt, _) in queue.packets {
                pool.free(pkt.frame);
            }
        }
        (self.frames, self.supers) = (0, 0);
    }
}

fn key_nexthop(shared: &SharedFlow) -> u32 {
    shared.key().map_or(0, |key| key.nexthop().0)
}

impl Full<'_> {
    /// Queues a packet; the first one of a flow is shown to the agent, and a later one when no answer comes.
    pub(super) fn hold(&mut self, pkt: Pkt, flow: FlowIndex, resume: Resume) {
        let Some(shared) = self.flows.shared(flow) else { return self.drop(pkt, DropReason::FlowUnusable) };
        let generation = shared.generation.load(Relaxed);
        if self.memory.held.queues.get(&flow).is_some_and(|queue| queue.generation != generation) {
            // The slot has changed hands: these belonged to a flow that is gone.
            self.give_up(flow, DropReason::FlowUnusable);
        }
        let (waiting, asked) = self.memory.held.state(flow);
        if waiting < QUEUE && !self.memory.held.has_room(&pkt) {
            return self.drop(pkt, DropReason::FlowNoMemory);
        }
        let due = asked.is_none_or(|asked| self.now.0.saturating_sub(asked.0) >= ASK_AGAIN);
        if due {
            let trap = self.flow_trap(flow, shared, generation);
            match self.duplicate(&pkt) {
                Some(mut copy) => {
                    copy.vrf = vr_types::VrfId(shared.vrf.load(Relaxed));
                    self.trap(copy, &trap);
                }
                None => return self.trap(pkt, &trap),
            }
        }
        let now = self.now;
        let held = &mut self.memory.held;
        let queue = held.queues.entry(flow).or_insert_with(|| Queue {
            generation,
            since: now,
            asked: now,
            packets: ArrayVec::new(),
        });
        if due {
            queue.asked = now;
        }
        let is_super = pkt.frame.is_super();
        match queue.packets.try_push((pkt, resume)) {
            Ok(()) => (held.frames, held.supers) = (held.frames + 1, held.supers + usize::from(is_super)),
            Err(full) => self.drop(full.element().0, DropReason::FlowQueueLimitExceeded),
        }
    }

    /// The trap for a packet of a flow that waits.
    fn flow_trap(&self, flow: FlowIndex, shared: &SharedFlow, generation: u8) -> Trap {
        let new = FlowFlags::NEW_FLOW.bits();
        let fresh = shared.flags.fetch_and(!new, Relaxed) & new != 0;
        self.flows.show(flow);
        let (packets, bytes) = if fresh { (0, 0) } else { self.flows.counters(flow) };
        let overflow = (bytes >> 32) as u32 & 0xffff | ((packets >> 32) as u32) << 16;
        Trap {
            reason: if fresh { TrapReason::FlowMiss } else { TrapReason::FlowActionHold },
            params: [flow.0, key_nexthop(shared), bytes as u32, packets as u32, overflow],
            param5: generation,
        }
    }

    /// Looks again at the packets of a flow whose entry was set or removed.
    pub(crate) fn release(&mut self, flow: FlowIndex) {
        let Some(queue) = self.memory.held.take(flow) else { return };
        let state = self.flows.hot(flow).map(vr_tables::flow::HotFlow::state);
        let usable = state.is_some_and(|state| state.is_active() && state.generation() == queue.generation);
        if usable && state.is_some_and(|state| state.action() == FlowAction::Hold) {
            return self.memory.held.put_back(flow, queue);
        }
        for (mut pkt, resume) in queue.packets {
            let end = if !usable {
                Stop::Drop(DropReason::FlowActionDrop)
            } else if self.tables.vif(pkt.vif).is_none() {
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
        if let Some(queue) = self.memory.held.take(flow) {
            for (pkt, _) in queue.packets {
                self.drop(pkt, reason);
            }
        }
    }

    /// Drops packets that have waited too long.
    pub(crate) fn expire_held(&mut self) {
        let now = self.now.0;
        let queues = self.memory.held.queues.iter();
        let late: ArrayVec<FlowIndex, 64> = queues
            .filter(|(_, queue)| now.saturating_sub(queue.since.0) > PATIENCE)
            .map(|(flow, _)| *flow)
            .take(64)
            .collect();
        for flow in late {
            self.give_up(flow, DropReason::FlowUnusable);
        }
    }
}
