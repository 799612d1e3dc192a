use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vr_frame::{Batch, FramePool, Packet};

use crate::{Capabilities, Port, PortCounters, PortKind};

/// A port that receives what was prepared and keeps what is transmitted, at next to no cost: for benches.
///
/// Frames are not looked at.
#[derive(Default)]
pub struct ReplayPort {
    /// The next burst is the last one.
    waiting: Vec<Vec<Packet>>,
    empty: Vec<Vec<Packet>>,
    sent: Vec<Packet>,
    counters: Arc<PortCounters>,
}

impl ReplayPort {
    /// A port with room for `bursts` bursts in each direction without allocation.
    #[must_use]
    pub fn with_capacity(bursts: usize) -> Self {
        Self {
            waiting: Vec::with_capacity(bursts),
            empty: (0..bursts).map(|_| Vec::with_capacity(vr_frame::BATCH)).collect(),
            sent: Vec::with_capacity(bursts * vr_frame::BATCH),
            counters: Arc::default(),
        }
    }

    /// Adds a burst, to be received before those that wait already. `fill` puts at most
    /// [`BATCH`](vr_frame::BATCH) packets into the empty vector; more are never received.
    pub fn push(&mut self, fill: impl FnOnce(&mut Vec<Packet>)) {
        let mut burst = self.empty.pop().unwrap_or_default();
        fill(&mut burst);
        self.waiting.push(burst);
    }

    /// Whether everything has been received.
    #[must_use]
    pub const fn is_done(&self) -> bool {
        self.waiting.is_empty()
    }

    /// What has been transmitted, in order. To be emptied between rounds.
    pub const fn sent(&mut self) -> &mut Vec<Packet> {
        &mut self.sent
    }
}

impl Port for ReplayPort {
    fn kind(&self) -> PortKind {
        PortKind::Memory
    }

    fn receive(&mut self, _: &mut FramePool, batch: &mut Batch) {
        let Some(mut burst) = self.waiting.pop() else { return };
        let packets = burst.len() as u64;
        if batch.append(&mut burst) {
            self.counters.received(packets, 0);
            self.empty.push(burst);
        } else {
            self.waiting.push(burst);
        }
    }

    fn transmit(&mut self, _: &mut FramePool, batch: &mut Batch) {
        self.counters.sent(batch.len() as u64, 0);
        batch.append_to(&mut self.sent);
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::everything()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        for packet in self.waiting.into_iter().flatten().chain(self.sent) {
            pool.free(packet.frame);
        }
    }
}
