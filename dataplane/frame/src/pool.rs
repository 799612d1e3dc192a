use std::sync::Arc;

use crossbeam::queue::ArrayQueue;
use vr_types::WorkerId;

use crate::{Arena, ArenaError, BufferClass, Frame};

/// How many buffers every worker owns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolSizes {
    /// Packet buffers of one worker.
    pub packets: u32,
    /// Super-frame buffers of one worker.
    pub supers: u32,
}

impl Default for PoolSizes {
    /// 8,192 packets (16 MiB) and 256 super-frames (17 MiB): enough for the rings of a few ports; more
    /// would only spread the working set over the caches.
    fn default() -> Self {
        Self { packets: 8192, supers: 256 }
    }
}

/// Buffers that another worker freed, on their way home.
struct Returns {
    packets: ArrayQueue<u32>,
    supers: ArrayQueue<u32>,
}

struct Shared {
    arena: Arc<Arena>,
    sizes: PoolSizes,
    returns: Vec<Returns>,
}

impl Shared {
    /// Puts a buffer on its way to the worker that owns it.
    #[cold]
    fn send_home(&self, class: BufferClass, index: u32, per_worker: u32) {
        let home = &self.returns[(index / per_worker) as usize];
        let queue = match class {
            BufferClass::Packet => &home.packets,
            BufferClass::Super => &home.supers,
        };
        // The queue holds as many as its home owns, so it cannot be full.
        let sent = queue.push(index);
        debug_assert!(sent.is_ok(), "a buffer was freed twice");
    }

    /// Class and number of a frame's buffer, and how many of the class each worker owns; the frame is gone then. None
    /// of another arena.
    #[inline]
    fn take_apart(&self, frame: Frame) -> Option<(BufferClass, u32, u32)> {
        let index = self.arena.index_of(&frame)?;
        let class = frame.class();
        std::mem::forget(frame);
        let per_worker = match class {
            BufferClass::Packet => self.sizes.packets,
            BufferClass::Super => self.sizes.supers,
        };
        Some((class, index, per_worker))
    }
}

/// Gives frames back from a thread that has no pool.
pub struct WayHome {
    shared: Arc<Shared>,
}

impl WayHome {
    /// As [`FramePool::free`]; the frame is free for its owner when that collects.
    pub fn free(&self, frame: Frame) {
        if let Some((class, index, per_worker)) = self.shared.take_apart(frame) {
            self.shared.send_home(class, index, per_worker);
        }
    }
}

/// Makes the pools of all workers over one arena.
pub struct PoolSet {
    shared: Arc<Shared>,
}

impl PoolSet {
    /// Maps the arena and divides it among `workers` pools.
    ///
    /// # Errors
    /// [`ArenaError`] when the memory is not to be had.
    pub fn new(workers: u8, sizes: PoolSizes) -> Result<(Self, Vec<FramePool>), ArenaError> {
        let workers = u32::from(workers.max(1));
        let arena = Arc::new(Arena::new(workers * sizes.packets, workers * sizes.supers)?);
        let returns = (0..workers)
            .map(|_| Returns {
                packets: ArrayQueue::new(sizes.packets.max(1) as usize),
                supers: ArrayQueue::new(sizes.supers.max(1) as usize),
            })
            .collect();
        let shared = Arc::new(Shared { arena, sizes, returns });
        let pools = (0..workers).map(|w| FramePool::new(&shared, w)).collect();
        Ok((Self { shared }, pools))
    }

    /// The arena that all pools share.
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.shared.arena
    }
}

/// The free buffers of one worker.
///
/// Every buffer has a home, the worker that it was given to at the start. A frame may be freed by any
/// pool; a foreign buffer travels home through a bounded queue that always has room for all buffers of its
/// home. A pool keeps the arena alive. A dry pool refuses: receiving stops until frames come back, and copies are counted drops.
pub struct FramePool {
    shared: Arc<Shared>,
    worker: u32,
    packets: Vec<u32>,
    supers: Vec<u32>,
}

impl FramePool {
    fn new(shared: &Arc<Shared>, worker: u32) -> Self {
        let share = |per: u32| (worker * per..(worker + 1) * per).rev().collect();
        Self {
            shared: Arc::clone(shared),
            worker,
            packets: share(shared.sizes.packets),
            supers: share(shared.sizes.supers),
        }
    }

    /// The arena behind this pool.
    #[inline]
    #[must_use]
    pub fn arena(&self) -> &Arc<Arena> {
        &self.shared.arena
    }

    /// The worker that owns this pool.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        WorkerId(self.worker as u8)
    }

    /// Free packet buffers at hand, those still on their way home included.
    #[must_use]
    pub fn available(&self) -> usize {
        self.packets.len() + self.shared.returns[self.worker as usize].packets.len()
    }

    /// An empty packet frame behind the standard headroom; `None` when the pool is dry.
    #[inline]
    pub fn packet(&mut self) -> Option<Frame> {
        if self.packets.is_empty() {
            self.collect();
        }
        let index = self.packets.pop()?;
        // SAFETY: an index in the free list is in range and referred to by nothing else.
        Some(unsafe { self.shared.arena.frame(BufferClass::Packet, index) })
    }

    /// An empty super-frame behind the standard headroom; `None` when the pool is dry.
    pub fn super_frame(&mut self) -> Option<Frame> {
        if self.supers.is_empty() {
            self.collect();
        }
        let index = self.supers.pop()?;
        // SAFETY: as in `packet`.
        Some(unsafe { self.shared.arena.frame(BufferClass::Super, index) })
    }

    /// An empty frame with room for `len` bytes; `None` when the pool is dry or no buffer is that large.
    pub fn frame_for(&mut self, len: usize) -> Option<Frame> {
        if len <= Arena::PACKET_SIZE - Arena::HEADROOM {
            self.packet()
        } else if len <= Arena::SUPER_SIZE - Arena::HEADROOM {
            self.super_frame()
        } else {
            None
        }
    }

    /// A frame that holds a copy of `bytes`.
    pub fn copy_of(&mut self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.frame_for(bytes.len())?;
        // The class was chosen for this length, so the room is there.
        if frame.extend(bytes.len()).is_none() {
            self.free(frame);
            return None;
        }
        frame.bytes_mut().copy_from_slice(bytes);
        Some(frame)
    }

    /// Gives a frame back. One of another arena is not taken and counts as lost
    /// ([`leaked_frames`](crate::leaked_frames)).
    #[inline]
    pub fn free(&mut self, frame: Frame) {
        let Some((class, index, per_worker)) = self.shared.take_apart(frame) else { return };
        let list = match class {
            BufferClass::Packet => &mut self.packets,
            BufferClass::Super => &mut self.supers,
        };
        let own = index.wrapping_sub(self.worker * per_worker) < per_worker;
        if own {
            list.push(index);
        } else {
            self.shared.send_home(class, index, per_worker);
        }
    }

    /// A way for frames that another thread has when this one no longer has them.
    #[must_use]
    pub fn way_home(&self) -> WayHome {
        WayHome { shared: Arc::clone(&self.shared) }
    }

    /// Takes in what other workers freed.
    pub fn collect(&mut self) {
        let returns = &self.shared.returns[self.worker as usize];
        while let Some(index) = returns.packets.pop() {
            self.packets.push(index);
        }
        while let Some(index) = returns.supers.pop() {
            self.supers.push(index);
        }
    }
}
