//! The log of pages that were written, for a guest that moves to another host.
#![allow(unsafe_code, reason = "memory that others share")]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU8, Ordering};

use super::memory::Mapping;
use super::protocol::Broken;

/// Bits of a log per byte of guest memory.
const PAGE: u64 = 4096;

/// One bit for each page of the guest's memory.
pub(super) struct DirtyLog {
    mapping: Mapping,
    bits: u64,
}

impl DirtyLog {
    /// Maps `len` bytes of a file from `offset` on.
    pub(super) fn map(file: OwnedFd, len: u64, offset: u64) -> Result<Self, Broken> {
        Ok(Self { mapping: Mapping::new(file, offset, len)?, bits: len.saturating_mul(8) })
    }

    /// Takes note that `len` bytes from a guest's address on were written.
    pub(super) fn mark(&self, guest: u64, len: usize) {
        if len == 0 {
            return;
        }
        let last = guest.saturating_add(len as u64 - 1) / PAGE;
        for page in guest / PAGE..=last.min(self.bits.saturating_sub(1)) {
            // SAFETY: the page's bit is inside the mapping, which nobody accesses but by atomics.
            let byte = unsafe { AtomicU8::from_ptr(self.mapping.bytes().add((page / 8) as usize).as_ptr()) };
            byte.fetch_or(1 << (page % 8), Ordering::Relaxed);
        }
    }
}
