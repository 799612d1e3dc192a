//! Lookup, creation and waiting (forwarding.md 6.2, 6.5).

use vr_tables::flow::{FlowFlags, FlowKey};
use vr_types::{DropReason, Trap, TrapReason};

use super::key::{Keyed, key_nexthop};
use super::packet::guest_of;
use super::{End, Entry, Model, Packet, Queue, Resume};
use crate::world::{FABRIC, ROUTED};

/// Packets of one flow that may wait.
const QUEUE: usize = 3;
/// Milliseconds after which a packet asks the agent again.
const ASK_AGAIN: u64 = 2000;

impl Model {
    /// The flow of a packet; `wanted` by a nexthop with policy.
    pub(super) fn flow(&mut self, packet: &mut Packet, resume: Resume, wanted: bool) -> Result<(), End> {
        let has_policy = guest_of(packet).is_some_and(|guest| self.has_policy[guest]);
        if packet.is_group || packet.is_tagged || packet.flow_done || !(wanted || has_policy) {
            return Ok(());
        }
        let key = match super::key::key(packet)? {
            Keyed::Key(key) => {
                self.remember_first_fragment(packet, &key);
                key
            }
            Keyed::Portless(portless) => self.key_of_later_fragment(packet, &portless, resume)?,
        };
        packet.flow_done = true;
        let index = match self.find(&key) {
            Some(index) => index,
            None => self.create(packet, key)?,
        };
        self.hit(packet, index, resume)
    }

    fn create(&mut self, packet: &Packet, key: FlowKey) -> Result<u32, End> {
        if !packet.transport().2 {
            return Err(DropReason::FlowUnusable.into());
        }
        let is_beyond = self.hold_limit > 0 && self.totals.holding > self.hold_limit;
        if is_beyond && !self.take_burst() {
            self.totals.refused += 1;
            return Err(DropReason::FlowUnusable.into());
        }
        let device = if packet.vif == FABRIC { device_of_nexthop(packet) } else { guest_of(packet) };
        if device.is_some_and(|guest| self.refuses_flows[guest]) {
            self.burst_used.0 -= u64::from(is_beyond);
            return Err(DropReason::DropNewFlow.into());
        }
        let entry =
            Entry { flags: FlowFlags::ACTIVE | FlowFlags::NEW_FLOW, vrf: packet.vrf, ..Entry::new(key) };
        let Some((index, left)) = self.place(entry) else {
            self.burst_used.0 -= u64::from(is_beyond);
            return Err(DropReason::FlowTableFull.into());
        };
        self.table.get_mut(&index).unwrap().left = left;
        self.totals.holding += 1;
        self.totals.created += 1;
        Ok(index)
    }

    fn hit(&mut self, packet: &mut Packet, index: u32, resume: Resume) -> Result<(), End> {
        let entry = self.table.get_mut(&index).unwrap();
        if entry.flags.contains(FlowFlags::EVICT_CANDIDATE) {
            return Err(DropReason::FlowEvict.into());
        }
        entry.source = match packet.outer {
            Some(outer) => u32::from_le_bytes(outer),
            None => u32::from(packet.vif.0),
        };
        packet.flow = Some(index);
        self.track(packet, index);
        let entry = self.table.get_mut(&index).unwrap();
        entry.packets += 1;
        entry.bytes += (packet.frame.len() - packet.start) as u64;
        if entry.action == 1 {
            return Err(End::Hold(index, resume));
        }
        let result = self.apply(packet, index);
        self.evict_if_over(index);
        result
    }

    fn take_burst(&mut self) -> bool {
        self.refill();
        let (used, since) = self.burst_used;
        if used >= self.burst.tokens {
            return false;
        }
        self.burst_used = (used + 1, if used == 0 { self.now } else { since });
        true
    }

    /// For each interval that has ended, some flows count no more.
    pub(super) fn refill(&mut self) {
        let (used, since) = self.burst_used;
        if used > 0 && self.burst.interval > 0 {
            let ended = (self.now - since) / self.burst.interval;
            self.burst_used =
                (used.saturating_sub(ended * self.burst.step), since + ended * self.burst.interval);
        }
    }

    /// At most three packets wait; the first one is shown to the agent.
    pub(super) fn hold(&mut self, packet: Packet, index: u32, resume: Resume) {
        let asked = self.queues.get(&index).map(|queue| queue.asked);
        let is_due = asked.is_none_or(|asked| self.now - asked >= ASK_AGAIN);
        if is_due {
            let trap = self.question(index);
            let vrf = self.table[&index].vrf;
            self.trap(&Packet { vrf, ..packet.clone() }, &trap);
        }
        let now = self.now;
        let queue =
            self.queues.entry(index).or_insert_with(|| Queue { since: now, asked: now, packets: Vec::new() });
        if is_due {
            queue.asked = now;
        }
        if queue.packets.len() < QUEUE {
            queue.packets.push((packet, resume));
        } else {
            self.drop(&packet, DropReason::FlowQueueLimitExceeded);
        }
    }

    fn question(&mut self, index: u32) -> Trap {
        let generation = self.generations[index as usize];
        let entry = self.table.get_mut(&index).unwrap();
        let is_new = entry.flags.contains(FlowFlags::NEW_FLOW);
        entry.flags.remove(FlowFlags::NEW_FLOW);
        let (packets, bytes) = if is_new { entry.left } else { (entry.packets, entry.bytes) };
        Trap {
            reason: if is_new { TrapReason::FlowMiss } else { TrapReason::FlowActionHold },
            params: [index, entry.key.nexthop().0, bytes as u32, packets as u32, 0],
            param5: generation,
        }
    }

    /// The agent has set or removed the entry: what waits for it goes on (forwarding.md 6.10).
    pub(super) fn release(&mut self, index: u32) {
        let entry = self.table.get(&index);
        let is_usable = entry.is_some_and(|entry| !entry.is_leaving);
        if is_usable && entry.is_some_and(|entry| entry.action == 1) {
            return;
        }
        let Some(queue) = self.queues.remove(&index) else { return };
        let is_evicted = entry.is_some_and(|entry| entry.flags.contains(FlowFlags::EVICT_CANDIDATE));
        let reason = if is_evicted { DropReason::FlowEvict } else { DropReason::FlowActionDrop };
        for (mut packet, resume) in queue.packets {
            let end = if is_usable {
                match self.apply(&mut packet, index) {
                    Ok(()) => self.resume(&mut packet, resume),
                    Err(end) => end,
                }
            } else {
                reason.into()
            };
            self.finish(packet, end);
        }
        // Until both directions are linked to each other, the agent has yet to name the flow.
        let linked = |index| self.table.get(&index)?.reverse;
        if is_usable && linked(index).and_then(linked) == Some(index) {
            self.evict_if_over(index);
        }
    }

    pub(super) fn resume(&mut self, packet: &mut Packet, resume: Resume) -> End {
        match resume {
            Resume::Bridge => self.bridge(packet),
            Resume::Nexthop(nexthop) => self.output_after_flow(packet, nexthop),
        }
    }
}

/// The guest that a packet from the fabric is for.
fn device_of_nexthop(packet: &Packet) -> Option<usize> {
    ROUTED.iter().position(|routed| *routed == key_nexthop(packet))
}
