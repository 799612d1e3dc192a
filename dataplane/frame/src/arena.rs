use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;

use crate::Frame;

/// Size class of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum BufferClass {
    /// One AF_XDP chunk.
    Packet = 0,
    /// Room for 64 KiB behind the same headroom.
    Super = 1,
}

impl BufferClass {
    /// Bytes of a buffer of this class, headroom included.
    #[inline]
    #[must_use]
    pub const fn size(self) -> usize {
        match self {
            Self::Packet => Arena::PACKET_SIZE,
            Self::Super => Arena::SUPER_SIZE,
        }
    }
}

/// Why the buffers could not be made.
#[derive(Debug, thiserror::Error)]
pub enum ArenaError {
    /// The system refused the memory.
    #[error(
        "cannot reserve {bytes} bytes of packet buffers: {source}; lower `buffers` in the configuration or free memory"
    )]
    NoMemory {
        /// How much was asked for.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// The packet buffers of the process: one mapped memfd, packet buffers first, super-frames behind them.
///
/// The memfd lets a successor process take the buffers over. The mapping stays until the last pool and
/// the last port that uses it are gone: each holds an `Arc` of the arena. A [`Frame`] does not.
pub struct Arena {
    base: NonNull<u8>,
    len: usize,
    fd: OwnedFd,
    packets: u32,
    supers: u32,
}

// SAFETY: the arena is a mapping that lives as long as the value; the bytes themselves are only reached
// through frames, each of which owns its buffer.
unsafe impl Send for Arena {}
// SAFETY: as above; the methods that take `&self` read the fields only.
unsafe impl Sync for Arena {}

impl Arena {
    /// Bytes of a packet buffer: an AF_XDP chunk.
    pub const PACKET_SIZE: usize = 2048;
    /// Headroom of a fresh frame: what the kernel keeps free in front of an AF_XDP frame.
    pub const HEADROOM: usize = 256;
    /// Bytes of a super-frame buffer.
    pub const SUPER_SIZE: usize = 64 * 1024 + 2048;

    /// Maps an arena of that many buffers.
    ///
    /// # Errors
    /// [`ArenaError::NoMemory`] when the system refuses.
    pub fn new(packets: u32, supers: u32) -> Result<Self, ArenaError> {
        let len = packets as usize * Self::PACKET_SIZE + supers as usize * Self::SUPER_SIZE;
        let len = len.next_multiple_of(2 << 20);
        let fail = || ArenaError::NoMemory { bytes: len, source: io::Error::last_os_error() };
        // SAFETY: the name is a NUL-terminated string; the result is checked.
        let fd = unsafe { libc::memfd_create(c"vrouter-xdp-buffers".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(fail());
        }
        // SAFETY: the descriptor was just made and nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: plain system call on a descriptor that we own.
        if unsafe { libc::ftruncate(fd.as_raw_fd(), len as libc::off_t) } != 0 {
            return Err(fail());
        }
        // SAFETY: a fresh shared mapping of the whole file at an address of the kernel's choice.
        let map = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_SHARED,
                fd.as_raw_fd(),
                0,
            )
        };
        let base = NonNull::new(map.cast::<u8>()).filter(|_| map != libc::MAP_FAILED).ok_or_else(fail)?;
        // Fewer TLB misses where the system allows it; refusal costs only speed.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(map, len, libc::MADV_HUGEPAGE) };
        Ok(Self { base, len, fd, packets, supers })
    }

    /// How many packet buffers there are.
    #[must_use]
    pub const fn packets(&self) -> u32 {
        self.packets
    }

    /// How many super-frame buffers there are.
    #[must_use]
    pub const fn supers(&self) -> u32 {
        self.supers
    }

    /// First byte and length of the region of packet buffers, to be registered as UMEM.
    #[must_use]
    pub const fn packet_region(&self) -> (NonNull<u8>, usize) {
        (self.base, self.packets as usize * Self::PACKET_SIZE)
    }

    /// The memfd behind the mapping.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    const fn offset(&self, class: BufferClass, index: u32) -> usize {
        match class {
            BufferClass::Packet => index as usize * Self::PACKET_SIZE,
            BufferClass::Super => {
                self.packets as usize * Self::PACKET_SIZE + index as usize * Self::SUPER_SIZE
            }
        }
    }

    /// The frame in buffer `index`, empty behind its headroom.
    ///
    /// # Safety
    /// The index is below the number of buffers of its class and no other frame, free list or kernel ring
    /// refers to the buffer.
    pub(crate) unsafe fn frame(&self, class: BufferClass, index: u32) -> Frame {
        debug_assert!(index < if class == BufferClass::Packet { self.packets } else { self.supers });
        // SAFETY: by the caller the index is in range, so the address is inside the mapping.
        let data = unsafe { self.base.add(self.offset(class, index) + Self::HEADROOM) };
        Frame::from_parts(data, 0, Self::HEADROOM as u16, class)
    }

    /// Position of a frame's buffer in its class; `None` for a frame of another arena.
    pub(crate) fn index_of(&self, frame: &Frame) -> Option<u32> {
        let offset = (frame.buffer_start().as_ptr() as usize).wrapping_sub(self.base.as_ptr() as usize);
        let (index, count) = match frame.class() {
            BufferClass::Packet => (offset / Self::PACKET_SIZE, self.packets),
            BufferClass::Super => {
                let first = self.packets as usize * Self::PACKET_SIZE;
                (offset.wrapping_sub(first) / Self::SUPER_SIZE, self.supers)
            }
        };
        (index < count as usize).then_some(index as u32)
    }

    /// Hands a packet-sized frame to the kernel: the UMEM address of its first byte. The frame comes back
    /// by [`Arena::claim`]. A super-frame or a frame of another arena is not part of the UMEM and is returned
    /// unchanged.
    ///
    /// # Errors
    /// The frame itself when it is not part of the UMEM.
    #[inline]
    pub fn release(&self, frame: Frame) -> Result<u64, Frame> {
        let address = (frame.as_ptr() as usize).wrapping_sub(self.base.as_ptr() as usize);
        if frame.class() == BufferClass::Super || address >= self.packet_region().1 {
            return Err(frame);
        }
        std::mem::forget(frame);
        Ok(address as u64)
    }

    /// Takes a frame back from the kernel: `address` is where its data starts in the UMEM, `len` how many
    /// bytes there are. `None` when they do not lie in one buffer: the descriptor is not ours.
    ///
    /// # Safety
    /// The kernel has returned the buffer that contains `address` and nothing else refers to it.
    #[inline]
    #[must_use]
    pub unsafe fn claim(&self, address: u64, len: u32) -> Option<Frame> {
        let address = usize::try_from(address).ok()?;
        let headroom = address % Self::PACKET_SIZE;
        let fits = address < self.packets as usize * Self::PACKET_SIZE
            && headroom + len as usize <= Self::PACKET_SIZE;
        if !fits {
            return None;
        }
        // SAFETY: the address was just checked to lie inside the mapping.
        let data = unsafe { self.base.add(address) };
        Some(Frame::from_parts(data, len, headroom as u16, BufferClass::Packet))
    }
}

impl Drop for Arena {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `new` with this length and nothing refers to it any more: pools
        // and ports keep the arena alive, and no frame outlives it (the invariant of `Frame`).
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}
