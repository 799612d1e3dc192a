use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vr_frame::{Batch, FramePool, Packet};

use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortKind};

/// One end of a wire in memory: what one end transmits the other receives.
///
/// Offload state travels along. Both ends use frames of the same arena; they may be in different threads.
pub struct MemoryPort {
    incoming: Arc<Direction>,
    outgoing: Arc<Direction>,
    counters: Arc<PortCounters>,
}

/// A queue that is locked once per batch: a lock-free one would cost an atomic exchange per frame.
struct Direction {
    frames: Mutex<VecDeque<Packet>>,
    capacity: usize,
    /// Nobody will receive any more.
    closed: AtomicBool,
}

impl Direction {
    fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        Self {
            frames: Mutex::new(VecDeque::with_capacity(capacity)),
            capacity,
            closed: AtomicBool::new(false),
        }
    }

    fn frames(&self) -> MutexGuard<'_, VecDeque<Packet>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self, pool: &mut FramePool) {
        for packet in self.frames().drain(..) {
            pool.free(packet.frame);
        }
    }
}

impl MemoryPort {
    /// Both ends of a wire that holds up to `capacity` frames in each direction.
    #[must_use]
    pub fn pair(capacity: usize) -> (Self, Self) {
        let [there, back] = [capacity; 2].map(|capacity| Arc::new(Direction::new(capacity)));
        let end = |incoming: &Arc<_>, outgoing: &Arc<_>| Self {
            incoming: Arc::clone(incoming),
            outgoing: Arc::clone(outgoing),
            counters: Arc::default(),
        };
        (end(&there, &back), end(&back, &there))
    }

    /// Sends one frame to the other end.
    ///
    /// # Errors
    /// The packet itself when the wire is full.
    pub fn send(&mut self, packet: Packet) -> Result<(), Packet> {
        let mut queue = self.outgoing.frames();
        if queue.len() == self.outgoing.capacity {
            return Err(packet);
        }
        self.counters.sent(1, packet.frame.len() as u64);
        queue.push_back(packet);
        Ok(())
    }

    /// The next frame from the other end.
    pub fn take(&mut self) -> Option<Packet> {
        let packet = self.incoming.frames().pop_front()?;
        self.counters.received(1, packet.frame.len() as u64);
        Some(packet)
    }
}

impl Port for MemoryPort {
    fn kind(&self) -> PortKind {
        PortKind::Memory
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let (mut packets, mut bytes) = (0, 0);
        let mut queue = self.incoming.frames();
        let count = queue.len().min(batch.remaining_capacity());
        for packet in queue.drain(..count) {
            if packet.frame.len() < ETHERNET_HEADER {
                self.counters.cells().rx_malformed.add(1);
                pool.free(packet.frame);
                continue;
            }
            packets += 1;
            bytes += packet.frame.len() as u64;
            if let Err(packet) = batch.push(packet) {
                pool.free(packet.frame);
            }
        }
        if packets > 0 {
            self.counters.received(packets, bytes);
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let (mut packets, mut bytes) = (0, 0);
        let mut queue = self.outgoing.frames();
        let capabilities = self.capabilities();
        let fits = |packet: &Packet| capabilities.check(&packet.frame, &packet.offload).is_ok();
        if queue.len() + batch.len() <= self.outgoing.capacity && batch.iter().all(fits) {
            let bytes = batch.iter().map(|packet| packet.frame.len() as u64).sum();
            self.counters.sent(batch.len() as u64, bytes);
            return queue.extend(batch.drain());
        }
        for packet in batch.drain() {
            if let Err(unfit) = capabilities.check(&packet.frame, &packet.offload) {
                self.counters.unfit(unfit);
                pool.free(packet.frame);
                continue;
            }
            if queue.len() == self.outgoing.capacity {
                self.counters.cells().tx_full.add(1);
                pool.free(packet.frame);
                continue;
            }
            packets += 1;
            bytes += packet.frame.len() as u64;
            queue.push_back(packet);
        }
        self.counters.sent(packets, bytes);
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

    /// What is on its way to this end is freed; what is on its way to the other end stays for it, unless that
    /// is closed as well.
    fn close(self: Box<Self>, pool: &mut FramePool) {
        // Sequentially consistent: of two ends that close at the same time one at least sees the other closed.
        self.incoming.closed.store(true, Ordering::SeqCst);
        self.incoming.drain(pool);
        if self.outgoing.closed.load(Ordering::SeqCst) {
            self.outgoing.drain(pool);
        }
    }
}
