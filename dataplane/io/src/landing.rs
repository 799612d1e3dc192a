//! Where a system call may put a frame whose length is not known before.
#![allow(unsafe_code, reason = "addresses for system calls")]

use vr_frame::{Arena, Frame, FramePool};

/// Bytes that fit into a packet buffer behind the headroom.
const HEAD: usize = Arena::PACKET_SIZE - Arena::HEADROOM;

/// A packet buffer, and a super-frame for what does not fit into it.
///
/// Almost all frames fit into the packet buffer. The few others continue in the super-frame, at the place
/// where they belong, so that only the first bytes have to be moved there.
#[derive(Default)]
pub(crate) struct Landing {
    head: Option<Frame>,
    spill: Option<Frame>,
}

impl Landing {
    /// Gets the buffers; says whether there is at least a packet buffer. In front of the place for the frame is
    /// room for a header of `header` bytes.
    pub(crate) fn prepare(&mut self, pool: &mut FramePool, header: usize) -> bool {
        if self.head.is_none() {
            self.head = pool.packet().map(|mut head| {
                // Both positions are inside every packet buffer.
                head.set_window(Arena::HEADROOM - header, header + HEAD);
                head
            });
        }
        if self.spill.is_none() {
            self.spill = pool.super_frame().map(|mut spill| {
                spill.set_window(Arena::HEADROOM + HEAD, Arena::SUPER_SIZE - Arena::HEADROOM - HEAD);
                spill
            });
        }
        self.head.is_some()
    }

    /// Whether frames of any length have room.
    pub(crate) const fn has_spill(&self) -> bool {
        self.spill.is_some()
    }

    /// The places for a system call to write to; the second one is empty without a super-frame. They are valid
    /// until the landing is used again.
    pub(crate) fn iovecs(&mut self) -> [libc::iovec; 2] {
        [&mut self.head, &mut self.spill].map(|frame| match frame {
            Some(frame) => {
                let bytes = frame.bytes_mut();
                libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() }
            }
            None => libc::iovec { iov_base: std::ptr::null_mut(), iov_len: 0 },
        })
    }

    /// The frame of `len` bytes, header included, that a system call has written. `None` when there was no room
    /// for it.
    pub(crate) fn take(&mut self, header: usize, len: usize) -> Option<Frame> {
        if len <= header + HEAD {
            let mut frame = self.head.take()?;
            frame.truncate(len);
            return Some(frame);
        }
        let mut frame = self.spill.take()?;
        let Some(head) =
            self.head.as_ref().filter(|_| frame.set_window(Arena::HEADROOM - header, len).is_some())
        else {
            // More than was offered: it cannot be.
            self.spill = Some(frame);
            return None;
        };
        frame.bytes_mut()[..header + HEAD].copy_from_slice(head.bytes());
        Some(frame)
    }

    /// Gives back what was not taken.
    pub(crate) fn give_back(&mut self, pool: &mut FramePool) {
        for frame in [self.head.take(), self.spill.take()].into_iter().flatten() {
            pool.free(frame);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HEAD, Landing};
    use vr_frame::{FramePool, PoolSet, PoolSizes};

    fn pool(supers: u32) -> FramePool {
        PoolSet::new(1, PoolSizes { packets: 2, supers }).unwrap().1.remove(0)
    }

    /// Plays the system call: writes `bytes` into the two places.
    fn land(landing: &mut Landing, bytes: &[u8]) {
        let mut rest = bytes;
        for place in landing.iovecs() {
            let (now, later) = rest.split_at(rest.len().min(place.iov_len));
            if !now.is_empty() {
                // SAFETY: the place is a buffer of that length that nobody else uses.
                unsafe { std::ptr::copy_nonoverlapping(now.as_ptr(), place.iov_base.cast(), now.len()) };
            }
            rest = later;
        }
    }

    #[test]
    fn frames_of_any_length_come_out_in_one_piece() {
        let mut pool = pool(1);
        let bytes: Vec<u8> = (0..65_560_u32).map(|i| (i % 251) as u8).collect();
        let mut landing = Landing::default();
        for header in [0, 10] {
            for len in [10, 60, 1514, HEAD, HEAD + 9, HEAD + 10, HEAD + 11, 9060, 65_559] {
                assert!(landing.prepare(&mut pool, header));
                land(&mut landing, &bytes[..len]);
                let frame = landing.take(header, len).unwrap();
                assert_eq!(frame.bytes(), &bytes[..len]);
                assert_eq!(frame.is_super(), len > header + HEAD);
                pool.free(frame);
            }
        }
        landing.give_back(&mut pool);
        assert_eq!(pool.available(), 2);
    }

    #[test]
    fn without_a_super_frame_only_short_frames_have_room() {
        let mut pool = pool(0);
        let mut landing = Landing::default();
        assert!(landing.prepare(&mut pool, 10) && !landing.has_spill());
        assert!(landing.take(10, 5000).is_none());
        let frame = landing.take(10, 100).unwrap();
        assert_eq!(frame.len(), 100);
        pool.free(frame);
        landing.give_back(&mut pool);
        assert_eq!(pool.available(), 2);
    }
}
