use std::fmt;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::BufferClass;

static LEAKED: AtomicU64 = AtomicU64::new(0);

/// How many frames were lost because nobody gave them back. Anything but zero is a defect.
#[must_use]
pub fn leaked_frames() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// An owned, contiguous packet buffer: a window of bytes with headroom in front and tailroom behind.
///
/// Not `Clone`; sixteen bytes. It must end in [`FramePool::free`](crate::FramePool::free) or in a port's
/// transmit call.
///
/// **Invariant:** no frame is used after its [`Arena`](crate::Arena) is gone. A frame is too small to hold the
/// arena, so the compiler does not see to it. Every pool and every port keeps the arena alive; whoever keeps frames
/// keeps one of these, or the `Arc` of the arena, for as long.
pub struct Frame {
    data: NonNull<u8>,
    len: u32,
    headroom: u16,
    class: BufferClass,
}

const _: () = assert!(size_of::<Frame>() == 16 && size_of::<Option<Frame>>() == 16);

// SAFETY: a frame owns its buffer exclusively.
unsafe impl Send for Frame {}

impl Frame {
    pub(crate) const fn from_parts(data: NonNull<u8>, len: u32, headroom: u16, class: BufferClass) -> Self {
        Self { data, len, headroom, class }
    }

    pub(crate) const fn class(&self) -> BufferClass {
        self.class
    }

    pub(crate) fn as_ptr(&self) -> *mut u8 {
        self.data.as_ptr()
    }

    pub(crate) fn buffer_start(&self) -> NonNull<u8> {
        // SAFETY: the data pointer is `headroom` bytes behind the start of its buffer.
        unsafe { self.data.sub(self.headroom as usize) }
    }

    /// Bytes in the window.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the window is empty.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes free in front of the window.
    #[inline]
    #[must_use]
    pub const fn headroom(&self) -> usize {
        self.headroom as usize
    }

    /// Bytes free behind the window.
    #[inline]
    #[must_use]
    pub const fn tailroom(&self) -> usize {
        self.class.size() - self.headroom as usize - self.len as usize
    }

    /// Whether the frame has room for 64 KiB.
    #[inline]
    #[must_use]
    pub const fn is_super(&self) -> bool {
        matches!(self.class, BufferClass::Super)
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub const fn bytes(&self) -> &[u8] {
        // SAFETY: the window lies in the buffer that this frame owns; bytes of a mapping are initialised.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }

    /// `len` bytes of the buffer from position `start` on, inside the window or not; `None` when they leave
    /// the buffer. What lies outside the window is what was pulled off or never written.
    #[must_use]
    pub fn buffer_bytes(&self, start: usize, len: usize) -> Option<&[u8]> {
        let end = start.checked_add(len).filter(|end| *end <= self.class.size())?;
        // SAFETY: the range lies in the buffer that this frame owns; bytes of a mapping are initialised.
        Some(unsafe { std::slice::from_raw_parts(self.buffer_start().as_ptr().add(start), end - start) })
    }

    /// The bytes, for writing.
    #[inline]
    #[must_use]
    pub const fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }

    /// The `N` bytes that end at byte `at` of the window, in it or in front of it, for writing; `None` when the
    /// window or the headroom is too small.
    #[inline]
    #[must_use]
    pub const fn before_mut<const N: usize>(&mut self, at: usize) -> Option<&mut [u8; N]> {
        if at > self.len as usize || N > self.headroom as usize + at {
            return None;
        }
        // SAFETY: the range ends inside the window and starts inside the headroom or the window, so it lies in
        // the buffer that this frame owns; `&mut self` makes the access exclusive.
        Some(unsafe { &mut *self.data.as_ptr().add(at).sub(N).cast() })
    }

    /// Asks for the cache line at this offset from the first byte of the window. Never faults, changes nothing.
    #[inline(always)]
    pub fn prefetch(&self, offset: isize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch has no architectural effect and accepts any address.
        unsafe {
            use core::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().wrapping_offset(offset).cast_const().cast());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = offset;
    }

    /// Grows the window by `count` bytes in front and returns the whole window; `None`, with nothing
    /// changed, when the headroom is too small. The new bytes hold what was there before.
    #[inline]
    pub const fn push(&mut self, count: usize) -> Option<&mut [u8]> {
        if count > self.headroom as usize {
            return None;
        }
        // SAFETY: at least `count` bytes of the same buffer lie in front of the window.
        self.data = unsafe { self.data.sub(count) };
        self.headroom -= count as u16;
        self.len += count as u32;
        Some(self.bytes_mut())
    }

    /// Removes `count` bytes in front; `None`, with nothing changed, when there are fewer.
    #[inline]
    pub const fn pull(&mut self, count: usize) -> Option<()> {
        if count > self.len as usize || count > (u16::MAX - self.headroom) as usize {
            return None;
        }
        // SAFETY: the window is at least `count` bytes long.
        self.data = unsafe { self.data.add(count) };
        self.headroom += count as u16;
        self.len -= count as u32;
        Some(())
    }

    /// Shortens the window to at most `len` bytes.
    #[inline]
    pub const fn truncate(&mut self, len: usize) {
        if len < self.len as usize {
            self.len = len as u32;
        }
    }

    /// Grows the window by `count` bytes behind; `None`, with nothing changed, when the tailroom is too
    /// small. The new bytes hold what was there before.
    #[inline]
    pub const fn extend(&mut self, count: usize) -> Option<()> {
        if count > self.tailroom() {
            return None;
        }
        self.len += count as u32;
        Some(())
    }

    /// Puts the window anywhere in the buffer; used to take back what was pulled or pushed. `None`, with
    /// nothing changed, when it does not fit.
    #[inline]
    pub const fn set_window(&mut self, headroom: usize, len: usize) -> Option<()> {
        if headroom > u16::MAX as usize || headroom > self.class.size() || len > self.class.size() - headroom
        {
            return None;
        }
        // SAFETY: both positions lie in the buffer.
        self.data = unsafe { self.data.sub(self.headroom as usize).add(headroom) };
        self.headroom = headroom as u16;
        self.len = len as u32;
        Some(())
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("len", &self.len)
            .field("headroom", &self.headroom)
            .field("class", &self.class)
            .finish_non_exhaustive()
    }
}

impl Drop for Frame {
    fn drop(&mut self) {
        lost();
    }
}

#[cold]
#[inline(never)]
fn lost() {
    LEAKED.fetch_add(1, Ordering::Relaxed);
    // A panic during a panic would hide the first one.
    debug_assert!(std::thread::panicking(), "a frame was dropped without being given back to a pool");
}
