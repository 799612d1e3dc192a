//! Owned packet buffers, the pools they come from, and batches.
//!
//! A [`Frame`] is the one representation of a packet, lent by every port kind: sixteen bytes, owned, not
//! `Clone`, always contiguous. Buffers live in one [`Arena`] for the whole process so that any AF_XDP
//! socket may transmit any frame; every worker has a [`FramePool`] with a share of the buffers of its own.
//!
//! A frame has to be given back: to a pool, or to a port that transmits it. Letting one go out of scope
//! loses the buffer, so it is counted and, in debug builds, a panic.
#![allow(unsafe_code, reason = "frames are owned views into memory shared with the kernel")]

mod arena;
mod batch;
mod frame;
mod offload;
mod pool;

pub use arena::{Arena, ArenaError, BufferClass};
pub use batch::{Batch, move_behind};
pub use frame::{Frame, leaked_frames};
pub use offload::{GsoKind, Offload};
pub use pool::{FramePool, PoolSet, PoolSizes, WayHome};

/// The most packets that one pass of the pipeline takes.
pub const BATCH: usize = 64;

/// A frame with what its port knows about it.
#[derive(Debug)]
pub struct Packet {
    /// The bytes.
    pub frame: Frame,
    /// Checksum and segmentation state.
    pub offload: Offload,
}

impl Packet {
    /// A packet whose checksums are complete and which is no super-frame.
    #[must_use]
    pub const fn plain(frame: Frame) -> Self {
        Self { frame, offload: Offload::NONE }
    }
}
