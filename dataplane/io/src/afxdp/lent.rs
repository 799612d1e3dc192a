//! Which packet buffers the kernel has.
#![allow(unsafe_code, reason = "buffers come back from the kernel as numbers")]

use std::sync::Arc;

use vr_frame::{Arena, Frame};

/// The buffers of an arena that one socket has lent to the kernel. Only these can come back, and each once,
/// whatever the kernel's descriptors say.
pub(super) struct Lent {
    arena: Arc<Arena>,
    /// One bit per packet buffer.
    bits: Vec<u64>,
}

impl Lent {
    pub(super) fn new(arena: &Arc<Arena>) -> Self {
        let words = (arena.packets() as usize).div_ceil(64);
        Self { arena: Arc::clone(arena), bits: vec![0; words] }
    }

    /// Lends a frame and returns its address in the socket's memory.
    ///
    /// # Errors
    /// The frame itself when its buffer is not part of the socket's memory.
    #[inline]
    pub(super) fn lend(&mut self, frame: Frame) -> Result<u64, Frame> {
        let address = self.arena.release(frame)?;
        let (word, bit) = position(address);
        if let Some(bits) = self.bits.get_mut(word) {
            *bits |= bit;
        }
        Ok(address)
    }

    /// Takes a frame back. `None` when its buffer was not lent, or the bytes do not lie in it.
    #[inline]
    pub(super) fn claim(&mut self, address: u64, len: u32) -> Option<Frame> {
        let (word, bit) = position(address);
        let bits = self.bits.get_mut(word).filter(|bits| **bits & bit != 0)?;
        // SAFETY: the buffer was released by `lend` and not claimed since, so nothing else refers to it; the
        // kernel has returned it by naming it.
        let frame = unsafe { self.arena.claim(address, len) }?;
        *bits &= !bit;
        Some(frame)
    }

    /// Takes back everything. The kernel must not use the socket's memory any more.
    pub(super) fn reclaim(&mut self, mut free: impl FnMut(Frame)) {
        for index in 0..u64::from(self.arena.packets()) {
            if let Some(frame) = self.claim(index * Arena::PACKET_SIZE as u64, 0) {
                free(frame);
            }
        }
    }
}

/// Word and bit of the buffer that an address lies in.
#[inline]
const fn position(address: u64) -> (usize, u64) {
    let index = address / Arena::PACKET_SIZE as u64;
    ((index / 64) as usize, 1 << (index % 64))
}

#[cfg(test)]
mod tests {
    use super::Lent;
    use vr_frame::{Arena, FramePool, PoolSet, PoolSizes};

    fn pool() -> FramePool {
        PoolSet::new(1, PoolSizes { packets: 70, supers: 1 }).unwrap().1.remove(0)
    }

    #[test]
    fn what_was_lent_comes_back_once() {
        let mut pool = pool();
        let mut lent = Lent::new(&pool.arena().clone());
        let address = lent.lend(pool.copy_of(b"hello").unwrap()).unwrap();
        assert!(lent.claim(address, Arena::PACKET_SIZE as u32).is_none(), "it would leave its buffer");
        let frame = lent.claim(address, 5).unwrap();
        assert_eq!(frame.bytes(), b"hello");
        assert!(lent.claim(address, 5).is_none(), "a second time");
        pool.free(frame);
        assert_eq!(pool.available(), 70);
    }

    #[test]
    fn what_was_not_lent_does_not_come_back() {
        let mut pool = pool();
        let mut lent = Lent::new(&pool.arena().clone());
        let last = 69 * Arena::PACKET_SIZE as u64;
        for address in [0, 256, last, last + 2048, 1 << 20, 1 << 40, u64::MAX - 1, u64::MAX] {
            assert!(lent.claim(address, 60).is_none(), "{address}");
        }
        let large = pool.super_frame().unwrap();
        pool.free(lent.lend(large).unwrap_err());
    }

    #[test]
    fn everything_is_reclaimed() {
        let mut pool = pool();
        let mut lent = Lent::new(&pool.arena().clone());
        while let Some(frame) = pool.packet() {
            lent.lend(frame).unwrap();
        }
        lent.reclaim(|frame| pool.free(frame));
        assert_eq!(pool.available(), 70);
    }
}
