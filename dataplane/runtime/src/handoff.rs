//! Packets on their way from the worker that forwarded them to the worker that owns the port.

use crossbeam::queue::ArrayQueue;
use vr_frame::{FramePool, Packet};
use vr_types::VifId;

use crate::moves::Moves;

/// Packets that wait for one worker at the most.
const CAPACITY: usize = 1024;

/// The ring of one receiving worker; every other worker may put packets in.
pub(crate) struct Handoff {
    queue: ArrayQueue<(VifId, Packet)>,
}

impl Handoff {
    pub(crate) fn new() -> Self {
        Self { queue: ArrayQueue::new(CAPACITY) }
    }

    /// Puts a packet in; gives it back when the ring is full.
    #[inline]
    pub(crate) fn push(&self, vif: VifId, packet: Packet) -> Result<(), Packet> {
        self.queue.push((vif, packet)).map_err(|(_, packet)| packet)
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<(VifId, Packet)> {
        self.queue.pop()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// Packets that wait are for interfaces of other numbers, while nobody puts any in or takes any out.
    pub(crate) fn renumber(&self, moves: &Moves) {
        for _ in 0..self.queue.len() {
            let Some((vif, packet)) = self.queue.pop() else { return };
            // There is the room that it had.
            let _ = self.queue.push((moves.of(vif), packet));
        }
    }

    /// Gives all frames back, once nobody puts any in.
    pub(crate) fn clear(&self, pool: &mut FramePool) {
        while let Some((_, packet)) = self.queue.pop() {
            pool.free(packet.frame);
        }
    }
}
