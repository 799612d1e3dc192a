use std::collections::VecDeque;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vr_frame::{BATCH, Batch, FramePool, Packet};

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
    queue: Mutex<Queue>,
    capacity: usize,
    /// Nobody will receive any more.
    closed: AtomicBool,
}

/// Frames in bursts of at most a batch, none of them empty, so that a whole batch goes in and comes out without a copy.
#[derive(Default)]
struct Queue {
    bursts: VecDeque<Vec<Packet>>,
    /// Empty ones, with room for a batch.
    spare: Vec<Vec<Packet>>,
    len: usize,
}

impl Queue {
    /// The burst that takes so many packets more, at least one.
    fn burst_for(&mut self, packets: usize) -> &mut Vec<Packet> {
        self.len += packets;
        if self.bursts.back().is_none_or(|burst| burst.len() + packets > BATCH) {
            self.bursts.push_back(self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BATCH)));
        }
        let last = self.bursts.len() - 1;
        &mut self.bursts[last]
    }

    /// Moves what there is room for behind the packets of a batch.
    fn fill(&mut self, batch: &mut Batch) {
        while let Some(burst) = self.bursts.front_mut() {
            let room = batch.remaining_capacity();
            if burst.len() > room {
                self.len -= room;
                for packet in burst.drain(..room) {
                    let pushed = batch.push(packet);
                    debug_assert!(pushed.is_ok(), "there was room");
                }
                return;
            }
            self.len -= burst.len();
            batch.append(burst);
            self.spare.extend(self.bursts.pop_front());
        }
    }

    fn take(&mut self) -> Option<Packet> {
        let burst = self.bursts.front_mut()?;
        let packet = burst.remove(0);
        self.len -= 1;
        if burst.is_empty() {
            self.spare.extend(self.bursts.pop_front());
        }
        Some(packet)
    }
}

impl Direction {
    fn new(capacity: usize) -> Self {
        Self { queue: Mutex::default(), capacity: capacity.max(1), closed: AtomicBool::new(false) }
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn drain(&self, pool: &mut FramePool) {
        let bursts = std::mem::take(&mut *self.queue()).bursts;
        for packet in bursts.into_iter().flatten() {
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
        let mut queue = self.outgoing.queue();
        if queue.len == self.outgoing.capacity {
            return Err(packet);
        }
        self.counters.sent(1, packet.frame.len() as u64);
        queue.burst_for(1).push(packet);
        Ok(())
    }

    /// The next frame from the other end.
    pub fn take(&mut self) -> Option<Packet> {
        let packet = self.incoming.queue().take()?;
        self.counters.received(1, packet.frame.len() as u64);
        Some(packet)
    }
}

impl Port for MemoryPort {
    fn kind(&self) -> PortKind {
        PortKind::Memory
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let before = batch.len();
        self.incoming.queue().fill(batch);
        let is_short = |packet: &Packet| packet.frame.len() < ETHERNET_HEADER;
        if batch[before..].iter().any(is_short) {
            let short = batch.extract(|packet| is_short(packet));
            self.counters.cells().rx_malformed.add(short.len() as u64);
            for packet in short {
                pool.free(packet.frame);
            }
        }
        let received = batch.get(before..).unwrap_or_default();
        if !received.is_empty() {
            let bytes = received.iter().map(|packet| packet.frame.len() as u64).sum();
            self.counters.received(received.len() as u64, bytes);
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let (mut packets, mut bytes) = (0, 0);
        let mut queue = self.outgoing.queue();
        let capabilities = self.capabilities();
        let fits = |packet: &Packet| capabilities.check(&packet.frame, &packet.offload).is_ok();
        if queue.len + batch.len() <= self.outgoing.capacity && batch.iter().all(fits) {
            let bytes = batch.iter().map(|packet| packet.frame.len() as u64).sum();
            self.counters.sent(batch.len() as u64, bytes);
            return batch.append_to(queue.burst_for(batch.len()));
        }
        for packet in batch.drain() {
            if let Err(unfit) = capabilities.check(&packet.frame, &packet.offload) {
                self.counters.unfit(unfit);
                pool.free(packet.frame);
                continue;
            }
            if queue.len == self.outgoing.capacity {
                self.counters.cells().tx_full.add(1);
                pool.free(packet.frame);
                continue;
            }
            packets += 1;
            bytes += packet.frame.len() as u64;
            queue.burst_for(1).push(packet);
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

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;
    use vr_frame::{BATCH, Batch, FramePool, Offload, Packet, PoolSet, PoolSizes};

    use super::MemoryPort;
    use crate::Port;

    const CAPACITY: usize = 150;
    const FRAMES: u32 = 512;

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Send,
        Take,
        /// So many frames at once.
        Transmit(usize),
        /// Into a batch that has so many packets already.
        Receive(usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let frames = || prop_oneof![Just(0), Just(BATCH), 0..=BATCH];
        prop_oneof![
            Just(Step::Send),
            Just(Step::Take),
            frames().prop_map(Step::Transmit),
            frames().prop_map(Step::Receive),
        ]
    }

    fn packet(pool: &mut FramePool, number: u32) -> Packet {
        let mut bytes = [0; 60];
        bytes[..4].copy_from_slice(&number.to_be_bytes());
        Packet { frame: pool.copy_of(&bytes).unwrap(), offload: Offload::NONE }
    }

    fn number(packet: &Packet) -> u32 {
        u32::from_be_bytes(*packet.frame.bytes().first_chunk().unwrap())
    }

    proptest! {
        /// Frames come out once and in the order in which they went in, and never are there more than the wire holds.
        #[test]
        fn a_wire_is_a_queue(steps in proptest::collection::vec(step(), 1..60)) {
            let sizes = PoolSizes { packets: FRAMES, supers: 1 };
            let mut pool = PoolSet::new(1, sizes).unwrap().1.remove(0);
            let whole = pool.available();
            let (mut near, mut far) = MemoryPort::pair(CAPACITY);
            let mut expected = VecDeque::new();
            let mut next = 0..;
            for step in steps {
                match step {
                    Step::Send => {
                        let sent = next.next().unwrap();
                        match near.send(packet(&mut pool, sent)) {
                            Ok(()) => expected.push_back(sent),
                            Err(packet) => {
                                prop_assert_eq!(expected.len(), CAPACITY);
                                pool.free(packet.frame);
                            }
                        }
                    }
                    Step::Take => {
                        let taken = far.take();
                        prop_assert_eq!(taken.as_ref().map(number), expected.pop_front());
                        if let Some(packet) = taken {
                            pool.free(packet.frame);
                        }
                    }
                    Step::Transmit(frames) => {
                        let mut batch = Batch::new();
                        let room = CAPACITY - expected.len();
                        for (place, sent) in next.by_ref().take(frames).enumerate() {
                            prop_assert!(batch.push(packet(&mut pool, sent)).is_ok());
                            expected.extend((place < room).then_some(sent));
                        }
                        near.transmit(&mut pool, &mut batch);
                        prop_assert!(batch.is_empty());
                    }
                    Step::Receive(before) => {
                        let mut batch = Batch::new();
                        for _ in 0..before {
                            prop_assert!(batch.push(packet(&mut pool, u32::MAX)).is_ok());
                        }
                        far.receive(&mut pool, &mut batch);
                        let received = (BATCH - before).min(expected.len());
                        prop_assert!(batch[..before].iter().all(|packet| number(packet) == u32::MAX));
                        prop_assert!(batch[before..].iter().map(number).eq(expected.drain(..received)));
                        batch.drain().for_each(|packet| pool.free(packet.frame));
                    }
                }
                prop_assert_eq!(whole - pool.available(), expected.len());
            }
            let bursts = {
                let queue = near.outgoing.queue();
                queue.spare.len() + queue.bursts.len()
            };
            Box::new(far).close(&mut pool);
            prop_assert_eq!(pool.available(), whole);
            prop_assert!(bursts <= 2 * CAPACITY.div_ceil(BATCH) + 1, "{} bursts", bursts);
        }
    }
}
