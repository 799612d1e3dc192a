//! The sign of life that workers give to the program in the kernel.

use crate::error::SteerError;
use aya::maps::MapData;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use std::{
    ffi::c_void,
    num::NonZeroUsize,
    os::fd::AsFd as _,
    ptr::NonNull,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};
use steer_abi::map;

/// Tells the program in the kernel that a worker lives. Cheap to clone, for any thread; a beat is one store into
/// memory that the kernel reads, so workers may give it on their hot path. Ten a second are plenty.
#[derive(Debug, Clone)]
pub struct Heartbeat(Arc<Page>);

impl Heartbeat {
    pub(crate) fn of(map: &MapData) -> Result<Self, SteerError> {
        Page::map(map).map(|page| Self(Arc::new(page)))
    }

    /// A worker lived at `now_ns`, nanoseconds of `CLOCK_MONOTONIC`, see [`monotonic_ns`].
    #[inline]
    pub fn beat(&self, now_ns: u64) {
        self.0.cell().store(now_ns, Ordering::Relaxed);
    }

    /// From now on no worker lives, until the next beat.
    pub fn stop(&self) {
        self.beat(0);
    }

    /// The last beat of any worker, nanoseconds of `CLOCK_MONOTONIC`; 0 before the first.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.0.cell().load(Ordering::Relaxed)
    }
}

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of the program in the kernel.
#[must_use]
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec to write to; this clock exists everywhere, so the call cannot fail.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// The memory of a map of one `u64`.
#[derive(Debug)]
struct Page(NonNull<c_void>);

/// The kernel rounds the map up to a page and lets no more than that be mapped; pages are 4 KiB at least.
const LENGTH: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

// SAFETY: the memory belongs to the mapping and not to a thread, and is only used through an atomic.
unsafe impl Send for Page {}
// SAFETY: as above.
unsafe impl Sync for Page {}

impl Page {
    fn map(map: &MapData) -> Result<Self, SteerError> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new shared mapping of a map that the kernel keeps as long as it is mapped.
        let memory = unsafe { mmap(None, LENGTH, protection, MapFlags::MAP_SHARED, map.fd().as_fd(), 0) };
        memory.map(Self).map_err(|errno| SteerError::Map { map: map::HEARTBEAT, reason: errno.to_string() })
    }

    fn cell(&self) -> &AtomicU64 {
        // SAFETY: the mapping is page aligned, begins with the map's only value, lives as long as `self`, and
        // both sides read and write the value whole.
        unsafe { AtomicU64::from_ptr(self.0.as_ptr().cast()) }
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and `cell` borrows from `self`, so nobody uses it any more.
        let unmapped = unsafe { munmap(self.0, LENGTH.get()) };
        debug_assert!(unmapped.is_ok(), "a mapping of our own");
    }
}
