//! The front end's memory in our address space.
//!
//! A guest may change its memory while we look at it. So nothing here makes a Rust reference to it: bytes are copied
//! once, out or in, and what was copied is what counts.
#![allow(unsafe_code, reason = "memory that others share")]

use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::ptr::{self, NonNull};

use super::fault::Guard;
use super::protocol::{Broken, RegionEntry};

/// A mapped part of a file, shared with the front end.
pub(super) struct Mapping {
    start: NonNull<u8>,
    len: usize,
    /// Bytes before the part that was asked for.
    lead: usize,
    /// Goes before the mapping does.
    guard: Option<Guard>,
}

// SAFETY: the mapping belongs to this value, and its bytes are only accessed by raw pointers.
unsafe impl Send for Mapping {}
// SAFETY: as above; concurrent access is what the memory is for.
unsafe impl Sync for Mapping {}

impl Mapping {
    /// Maps `len` bytes of a file from `offset` on.
    pub(super) fn new(file: OwnedFd, offset: u64, len: u64) -> Result<Self, Broken> {
        let file = File::from(file);
        let metadata = file.metadata().map_err(|_| Broken::Memory("its file cannot be looked at"))?;
        let kind = metadata.file_type();
        if !kind.is_file() || kind.is_char_device() {
            return Err(Broken::Memory("it is no file"));
        }
        let end = offset.checked_add(len).filter(|_| len > 0).ok_or(Broken::Memory("it has no size"))?;
        if metadata.size() < end {
            return Err(Broken::Memory("it is longer than its file"));
        }
        // Huge pages are mapped whole; the file's block size is theirs.
        let page = metadata.blksize().max(4096).next_power_of_two();
        let lead = offset & (page - 1);
        let whole = (lead + len).checked_next_multiple_of(page).ok_or(Broken::Memory("it has no size"))?;
        let lengths = usize::try_from(whole).and_then(|whole| Ok((whole, usize::try_from(lead)?)));
        let Ok((whole, lead)) = lengths else { return Err(Broken::Memory("it is too large")) };
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_SHARED | libc::MAP_NORESERVE;
        let from = (offset - lead as u64) as libc::off_t;
        // SAFETY: a new mapping, at a place that the kernel chooses.
        let start = unsafe { libc::mmap(ptr::null_mut(), whole, protection, flags, file.as_raw_fd(), from) };
        let start = NonNull::new(start.cast::<u8>())
            .filter(|start| start.as_ptr().cast() != libc::MAP_FAILED)
            .ok_or(Broken::Memory("the system refuses"))?;
        let mut mapping = Self { start, len: whole, lead, guard: None };
        mapping.guard = Guard::new(start.as_ptr() as usize, whole);
        if mapping.guard.is_none() {
            return Err(Broken::Memory("there are too many mappings"));
        }
        Ok(mapping)
    }

    /// The first byte that was asked for.
    pub(super) fn bytes(&self) -> NonNull<u8> {
        // SAFETY: the lead is inside the mapping.
        unsafe { self.start.add(self.lead) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        self.guard = None;
        // SAFETY: the mapping is this value's, and whoever has pointers into it keeps the value.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.len) };
    }
}

struct Region {
    entry: RegionEntry,
    mapping: Mapping,
}

/// The front end's memory: regions, each a part of a file.
pub(super) struct GuestMemory(Vec<Region>);

/// Consecutive bytes of the front end's memory. Valid as long as the [`GuestMemory`] that it came from.
#[derive(Clone, Copy)]
pub(super) struct Piece {
    start: NonNull<u8>,
    len: usize,
    /// Where it is for the guest.
    pub(super) guest: u64,
}

// SAFETY: an address; whoever dereferences it vouches for it.
unsafe impl Send for Piece {}

impl GuestMemory {
    /// Maps all regions of a table.
    pub(super) fn map(table: &[RegionEntry], files: Vec<OwnedFd>) -> Result<Self, Broken> {
        if table.is_empty() || table.len() != files.len() {
            return Err(Broken::Regions);
        }
        let map = |(entry, file): (&RegionEntry, OwnedFd)| {
            let wraps = [entry.guest, entry.user].iter().any(|start| start.checked_add(entry.len).is_none());
            if wraps {
                return Err(Broken::Memory("its addresses wrap around"));
            }
            Ok(Region { entry: *entry, mapping: Mapping::new(file, entry.offset, entry.len)? })
        };
        table.iter().zip(files).map(map).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// The bytes from a guest's address on, as far as they are in one region and no more than `len`.
    #[inline]
    pub(super) fn guest(&self, address: u64, len: u64) -> Option<Piece> {
        self.piece(address, len, |entry| entry.guest)
    }

    /// As [`GuestMemory::guest`], for an address of the front end's process, and all of `len`.
    pub(super) fn user(&self, address: u64, len: u64) -> Option<Piece> {
        self.piece(address, len, |entry| entry.user).filter(|piece| piece.len as u64 == len)
    }

    #[inline]
    fn piece(&self, address: u64, len: u64, start: impl Fn(&RegionEntry) -> u64) -> Option<Piece> {
        for Region { entry, mapping } in &self.0 {
            let at = address.wrapping_sub(start(entry));
            if at < entry.len {
                let len = len.min(entry.len - at) as usize;
                // SAFETY: the position is inside the region, which is mapped whole.
                let start = unsafe { mapping.bytes().add(at as usize) };
                return Some(Piece { start, len, guest: entry.guest.wrapping_add(at) });
            }
        }
        None
    }
}

impl Piece {
    pub(super) const fn len(&self) -> usize {
        self.len
    }

    pub(super) const fn start(&self) -> NonNull<u8> {
        self.start
    }

    /// The part behind the first `skip` bytes, at most all of them.
    #[inline]
    pub(super) fn behind(self, skip: usize) -> Self {
        let skip = skip.min(self.len);
        // SAFETY: inside the piece, or its end.
        let start = unsafe { self.start.add(skip) };
        Self { start, len: self.len - skip, guest: self.guest.wrapping_add(skip as u64) }
    }

    /// Copies as much as there is and fits; says how much.
    ///
    /// # Safety
    /// The memory that the piece came from has to be mapped still.
    #[inline]
    pub(super) unsafe fn read(&self, to: &mut [u8]) -> usize {
        let len = self.len.min(to.len());
        // SAFETY: both sides have that many bytes, and ours is not the guest's. The guest may write meanwhile: then
        // the copy has what it wrote or what was there before, which is as good for it.
        unsafe { ptr::copy_nonoverlapping(self.start.as_ptr(), to.as_mut_ptr(), len) };
        len
    }

    /// As [`Piece::read`], in the other direction.
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub(super) unsafe fn write(&self, from: &[u8]) -> usize {
        let len = self.len.min(from.len());
        // SAFETY: as for reading.
        unsafe { ptr::copy_nonoverlapping(from.as_ptr(), self.start.as_ptr(), len) };
        len
    }
}
