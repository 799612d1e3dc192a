//! The smallest `AF_XDP` socket that can receive: 16 frames, no transmission.
#![allow(unsafe_code, reason = "system calls and memory shared with the kernel")]

use nix::errno::Errno;
use std::{
    ffi::CString,
    io, mem,
    os::fd::{AsFd, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
    ptr,
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

const FRAMES: u32 = 16;
const FRAME_LEN: usize = 4096;

pub struct Xsk {
    socket: OwnedFd,
    memory: Mapping,
    receive: Ring,
    fill: Ring,
}

struct Ring {
    mapping: Mapping,
    offsets: libc::xdp_ring_offset,
}

/// Memory that is unmapped when dropped. That matters: a mapped ring keeps a closed socket alive.
struct Mapping {
    base: *mut u8,
    length: usize,
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and whoever has addresses in it owns it as well.
        check(unsafe { libc::munmap(self.base.cast(), self.length) });
    }
}

impl Xsk {
    /// A socket with memory and rings that is bound to nothing: good enough for the map.
    pub fn unbound() -> Self {
        // SAFETY: plain system call.
        let fd = check(unsafe { libc::socket(libc::AF_XDP, libc::SOCK_RAW | libc::SOCK_CLOEXEC, 0) });
        // SAFETY: the descriptor was just made and nobody else owns it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        let length = FRAMES as usize * FRAME_LEN;
        let memory = map(length, -1, 0);
        let region = libc::xdp_umem_reg {
            addr: memory.base as u64,
            len: length as u64,
            chunk_size: FRAME_LEN as u32,
            headroom: 0,
            flags: 0,
            tx_metadata_len: 0,
        };
        set(&socket, libc::XDP_UMEM_REG, &region);
        set(&socket, libc::XDP_UMEM_FILL_RING, &FRAMES);
        set(&socket, libc::XDP_UMEM_COMPLETION_RING, &FRAMES);
        set(&socket, libc::XDP_RX_RING, &FRAMES);
        let offsets = offsets(&socket);
        let ring = |offsets: libc::xdp_ring_offset, entry: usize, page: i64| {
            let length = offsets.desc as usize + FRAMES as usize * entry;
            Ring { mapping: map(length, socket.as_raw_fd(), page), offsets }
        };
        let receive = ring(offsets.rx, mem::size_of::<libc::xdp_desc>(), libc::XDP_PGOFF_RX_RING);
        let fill = ring(offsets.fr, 8, libc::XDP_UMEM_PGOFF_FILL_RING as i64);
        let xsk = Self { socket, memory, receive, fill };
        for frame in 0..u64::from(FRAMES) {
            // SAFETY: the index is below the number of entries, and the kernel sees the entry only later.
            unsafe { xsk.fill.entry::<u64>(frame as u32).write(frame * FRAME_LEN as u64) };
        }
        xsk.fill.producer().store(FRAMES, Ordering::Release);
        xsk
    }

    /// A socket on a queue of a device, in copy mode.
    pub fn bound(interface: &str, queue: u32) -> Self {
        let xsk = Self::unbound();
        let name = CString::new(interface).unwrap();
        let address = libc::sockaddr_xdp {
            sxdp_family: libc::AF_XDP as u16,
            sxdp_flags: libc::XDP_COPY,
            // SAFETY: the name ends with a zero and outlives the call.
            sxdp_ifindex: unsafe { libc::if_nametoindex(name.as_ptr()) },
            sxdp_queue_id: queue,
            sxdp_shared_umem_fd: 0,
        };
        let length = mem::size_of_val(&address) as u32;
        // SAFETY: pointer and length are those of an address that outlives the call.
        check(unsafe { libc::bind(xsk.socket.as_raw_fd(), (&raw const address).cast(), length) });
        xsk
    }

    /// The next packet, and the bytes in front of it in its buffer. `None` when none comes in time. Each of the
    /// frames is used once.
    pub fn receive(&self, timeout: Duration) -> Option<(Vec<u8>, Vec<u8>)> {
        let end = Instant::now() + timeout;
        let next = self.receive.consumer().load(Ordering::Relaxed);
        while self.receive.producer().load(Ordering::Acquire) == next {
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        // SAFETY: the index is below the number of entries, and the kernel has published this one.
        let descriptor = unsafe { self.receive.entry::<libc::xdp_desc>(next % FRAMES).read() };
        let start = descriptor.addr as usize;
        let frame = start - start % FRAME_LEN;
        // SAFETY: the kernel has given back this frame of ours; a test trusts its length.
        let bytes = |from: usize, to: usize| unsafe {
            std::slice::from_raw_parts(self.memory.base.add(from), to - from).to_vec()
        };
        let received = (bytes(start, start + descriptor.len as usize), bytes(frame, start));
        self.receive.consumer().store(next.wrapping_add(1), Ordering::Release);
        Some(received)
    }
}

impl AsFd for Xsk {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Ring {
    fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, as the kernel says; aligned, and only accessed atomically.
        unsafe { AtomicU32::from_ptr(self.mapping.base.add(self.offsets.producer as usize).cast()) }
    }

    fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { AtomicU32::from_ptr(self.mapping.base.add(self.offsets.consumer as usize).cast()) }
    }

    /// The place of an entry.
    ///
    /// # Safety
    /// The index is below the number of entries.
    unsafe fn entry<T>(&self, index: u32) -> *mut T {
        // SAFETY: inside the mapping, as the caller promises.
        unsafe { self.mapping.base.add(self.offsets.desc as usize).cast::<T>().add(index as usize) }
    }
}

fn map(length: usize, fd: i32, offset: i64) -> Mapping {
    let sharing = if fd < 0 { libc::MAP_PRIVATE | libc::MAP_ANONYMOUS } else { libc::MAP_SHARED };
    let flags = sharing | libc::MAP_POPULATE;
    // SAFETY: a new mapping at an address of the kernel's choice.
    let memory =
        unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ | libc::PROT_WRITE, flags, fd, offset) };
    assert_ne!(memory, libc::MAP_FAILED, "{}", io::Error::last_os_error());
    Mapping { base: memory.cast(), length }
}

fn set<T>(socket: &OwnedFd, option: i32, value: &T) {
    let value_ptr = ptr::from_ref(value).cast();
    let length = mem::size_of::<T>() as u32;
    // SAFETY: pointer and length are those of a value that outlives the call.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_XDP, option, value_ptr, length) });
}

fn offsets(socket: &OwnedFd) -> libc::xdp_mmap_offsets {
    // SAFETY: numbers only.
    let mut offsets: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let mut length = mem::size_of_val(&offsets) as u32;
    let value = (&raw mut offsets).cast();
    // SAFETY: pointer and length are those of a value that outlives the call and takes any bits.
    check(unsafe {
        libc::getsockopt(socket.as_raw_fd(), libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, value, &raw mut length)
    });
    offsets
}

fn check(result: i32) -> i32 {
    Errno::result(result).unwrap()
}
