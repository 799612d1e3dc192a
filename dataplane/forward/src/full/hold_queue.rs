//! Where packets wait: queues that share one store of bounded size.

use hashbrown::HashMap;
use vr_frame::FramePool;
use vr_types::FlowIndex;

use super::{Pkt, Resume};
use crate::Now;

/// Frames that one worker keeps waiting at the most; the rest of its pool goes on forwarding.
const FRAMES: usize = 2048;
/// How many of these may be super-frames, which are few.
const SUPERS: usize = 32;

/// A place in the store: a packet and the next place of its queue, or the next free place.
struct Place {
    packet: Option<(Pkt, Resume)>,
    next: Option<u32>,
}

/// The packets of one flow, by their places.
pub(super) struct Queue {
    /// Generation of the entry that they wait for.
    pub(super) generation: u8,
    /// When the first one came.
    pub(super) since: Now,
    /// When the agent was asked last.
    pub(super) asked: Now,
    /// How many packets wait.
    pub(super) len: usize,
    first: Option<u32>,
    last: Option<u32>,
}

/// The waiting packets of one worker.
#[derive(Default)]
pub(crate) struct HoldQueues {
    queues: HashMap<FlowIndex, Queue>,
    places: Vec<Place>,
    free: Option<u32>,
    frames: usize,
    supers: usize,
}

impl HoldQueues {
    /// The queue of a flow.
    pub(super) fn queue(&self, flow: FlowIndex) -> Option<&Queue> {
        self.queues.get(&flow)
    }

    /// Flows with their queues, in no order.
    pub(super) fn queues(&self) -> impl Iterator<Item = (FlowIndex, &Queue)> {
        self.queues.iter().map(|(flow, queue)| (*flow, queue))
    }

    /// Takes a queue out; its packets come by [`HoldQueues::pop`].
    pub(super) fn take(&mut self, flow: FlowIndex) -> Option<Queue> {
        self.queues.remove(&flow)
    }

    /// Whether there is room for one more packet.
    pub(super) fn has_room(&self, pkt: &Pkt) -> bool {
        self.frames < FRAMES && !(pkt.frame.is_super() && self.supers >= SUPERS)
    }

    /// The agent was asked about a flow, which has a queue from now on.
    pub(super) fn asked(&mut self, flow: FlowIndex, generation: u8, now: Now) {
        let fresh = Queue { generation, since: now, asked: now, len: 0, first: None, last: None };
        self.queues.entry(flow).or_insert(fresh).asked = now;
    }

    /// Puts a packet to the end of the queue of its flow, if there is one with less than `depth` packets, and room;
    /// otherwise gives it back.
    pub(super) fn push(&mut self, flow: FlowIndex, depth: usize, pkt: Pkt, resume: Resume) -> Option<Pkt> {
        let has_room = self.has_room(&pkt);
        let Some(queue) = self.queues.get_mut(&flow).filter(|queue| has_room && queue.len < depth) else {
            return Some(pkt);
        };
        self.frames += 1;
        self.supers += usize::from(pkt.frame.is_super());
        let filled = Place { packet: Some((pkt, resume)), next: None };
        let free = self.free.and_then(|free| Some((free, self.places.get_mut(free as usize)?)));
        let place = if let Some((free, place)) = free {
            self.free = place.next;
            *place = filled;
            free
        } else {
            self.places.push(filled);
            (self.places.len() - 1) as u32
        };
        match queue.last.and_then(|last| self.places.get_mut(last as usize)) {
            Some(last) => last.next = Some(place),
            None => queue.first = Some(place),
        }
        queue.last = Some(place);
        queue.len += 1;
        None
    }

    /// The next packet of a queue that was taken out.
    pub(super) fn pop(&mut self, queue: &mut Queue) -> Option<(Pkt, Resume)> {
        let first = queue.first?;
        let place = self.places.get_mut(first as usize)?;
        let packet = place.packet.take()?;
        queue.first = std::mem::replace(&mut place.next, self.free);
        queue.len -= 1;
        self.free = Some(first);
        self.frames -= 1;
        self.supers -= usize::from(packet.0.frame.is_super());
        Some(packet)
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        for (pkt, _) in self.places.drain(..).filter_map(|place| place.packet) {
            pool.free(pkt.frame);
        }
        *self = Self::default();
    }
}
