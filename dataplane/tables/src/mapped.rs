//! Large zeroed arrays in memory mappings: private ones, and files that other processes map.
#![allow(unsafe_code, reason = "memory mappings are raw memory")]

use std::fs::{File, OpenOptions};
use std::io;
use std::mem::MaybeUninit;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::ptr::NonNull;

/// Plain data for which all-zero bytes are a value and which is changed through `&` only by atomics.
///
/// # Safety
/// The type has no invalid zero pattern, no destructor, and is `Sync`.
pub(crate) unsafe trait Zeroed: Sync {}

// SAFETY: zero is a value of the integer.
unsafe impl Zeroed for std::sync::atomic::AtomicU64 {}
// SAFETY: zero is a value of the integer.
unsafe impl Zeroed for std::sync::atomic::AtomicU32 {}
// SAFETY: zero is a value of the integer.
unsafe impl Zeroed for std::sync::atomic::AtomicU8 {}

/// Why a table's memory is not to be had.
#[derive(Debug, thiserror::Error)]
pub enum MapError {
    /// The file could not be made.
    #[error(
        "cannot create the table file {path}: {source}; check that the socket directory exists and is writable"
    )]
    Create {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The file system has no room.
    #[error(
        "no room for the {bytes} bytes of the table file {path}: {source}; free space there, choose another `socket_dir`, or configure smaller tables"
    )]
    NoRoom {
        /// Which file.
        path: PathBuf,
        /// How much is needed.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The directory for files in huge pages cannot be used.
    #[error(
        "cannot use the hugetlbfs directory {path}: {source}; correct `hugetlbfs` in [tables], or leave it out for tables in ordinary memory"
    )]
    HugeDirectory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// It belongs to another file system.
    #[error(
        "{0} is on no hugetlbfs; mount one (`mount -t hugetlbfs none {0}`), or leave out `hugetlbfs` in [tables] for tables in ordinary memory"
    )]
    NotHuge(PathBuf),
    /// Other tables are in it.
    #[error(
        "another vrouterd has its tables in {0}; give each a directory of its own with `hugetlbfs` in [tables]"
    )]
    HugeInUse(PathBuf),
    /// There are too few huge pages for the files of all tables.
    #[error(
        "no room for the tables in {path}: {source}; {needed} free huge pages of {kib} KiB are needed: `echo {reserve} > /sys/kernel/mm/hugepages/hugepages-{kib}kB/nr_hugepages`, and no smaller `size` of the mount; or configure smaller tables, or leave out `hugetlbfs` in [tables] (`--socket-mem`)"
    )]
    NoHugePages {
        /// The directory.
        path: PathBuf,
        /// Pages that the tables take.
        needed: usize,
        /// KiB of a page.
        kib: usize,
        /// Pages to reserve so that as many are free.
        reserve: usize,
        /// What the system said.
        source: io::Error,
    },
    /// The memory could not be mapped.
    #[error("cannot map {bytes} bytes of table memory: {source}; free memory or configure smaller tables")]
    Map {
        /// How much is needed.
        bytes: usize,
        /// What the system said.
        source: io::Error,
    },
}

/// Bytes of a page, if a file or directory is on a hugetlbfs.
pub(crate) fn huge_page(file: &File) -> io::Result<Option<usize>> {
    let status = file_system(file)?;
    Ok((status.f_type == libc::HUGETLBFS_MAGIC).then_some(status.f_bsize as usize))
}

fn file_system(file: &File) -> io::Result<libc::statfs> {
    let mut status = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: plain system call; the buffer is of the type that it fills.
    if unsafe { libc::fstatfs(file.as_raw_fd(), status.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has succeeded.
    Ok(unsafe { status.assume_init() })
}

/// A zeroed array in a mapping of its own. Pages that nobody touches cost nothing.
pub(crate) struct Mapped<T> {
    base: NonNull<T>,
    len: usize,
    bytes: usize,
}

// SAFETY: the mapping is owned, its elements are `Sync` plain data without destructor.
unsafe impl<T: Zeroed> Send for Mapped<T> {}
// SAFETY: as above.
unsafe impl<T: Zeroed> Sync for Mapped<T> {}

impl<T: Zeroed> Mapped<T> {
    /// `len` zeroed elements in private memory.
    pub(crate) fn private(len: usize) -> Result<Self, MapError> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        Self::map(len, len * size_of::<T>(), flags, -1)
    }

    /// `len` zeroed elements in a new file, whose space is allocated now so that a later access cannot
    /// fail. An old file of that name is replaced: processes that mapped it keep theirs. On a hugetlbfs the file has
    /// whole pages. On a tmpfs, where the memory is taken in any case, all pages are mapped now: the first packets of
    /// flows would wait for that.
    pub(crate) fn file(path: &Path, len: usize) -> Result<Self, MapError> {
        let create = |source| MapError::Create { path: path.to_owned(), source };
        match std::fs::remove_file(path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(create(e)),
            _ => {}
        }
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(create)?;
        let page = huge_page(&file).map_err(create)?.unwrap_or(1);
        let bytes = (len * size_of::<T>()).next_multiple_of(page);
        // SAFETY: plain system call on a descriptor that we own.
        let error = unsafe { libc::posix_fallocate(file.as_raw_fd(), 0, bytes as libc::off_t) };
        if error != 0 {
            // The name would otherwise stay behind, half filled.
            let _ = std::fs::remove_file(path);
            let source = io::Error::from_raw_os_error(error);
            return Err(MapError::NoRoom { path: path.to_owned(), bytes, source });
        }
        let mapped = Self::map(len, bytes, libc::MAP_SHARED, file.as_raw_fd())?;
        if file_system(&file).is_ok_and(|status| status.f_type == libc::TMPFS_MAGIC) {
            // Kernels before 5.14 do not know it.
            // SAFETY: the range is the mapping just made, and reading changes nothing.
            unsafe { libc::madvise(mapped.base.as_ptr().cast(), mapped.bytes, libc::MADV_POPULATE_READ) };
        }
        Ok(mapped)
    }

    /// Maps `bytes`, which are at least `len` elements.
    fn map(len: usize, bytes: usize, flags: libc::c_int, fd: libc::c_int) -> Result<Self, MapError> {
        let bytes = bytes.max(1);
        // SAFETY: a fresh mapping at an address of the kernel's choice.
        let map = unsafe {
            libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0)
        };
        let base = NonNull::new(map.cast::<T>())
            .filter(|_| map != libc::MAP_FAILED)
            .ok_or_else(|| MapError::Map { bytes, source: io::Error::last_os_error() })?;
        // Fewer TLB misses where the system allows it; refusal costs only speed.
        // SAFETY: the range is the mapping just made.
        unsafe { libc::madvise(map, bytes, libc::MADV_HUGEPAGE) };
        Ok(Self { base, len, bytes })
    }
}

impl<T: Zeroed> Deref for Mapped<T> {
    type Target = [T];

    #[inline]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` elements, zero or written as `T` since; pages are aligned to more
        // than any element type.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.len) }
    }
}

impl<T> Drop for Mapped<T> {
    fn drop(&mut self) {
        // SAFETY: the mapping was made by `map` with this length and nothing borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(test)]
mod tests {
    use super::{MapError, Mapped};
    use std::sync::atomic::{AtomicU64, Ordering};

    #[test]
    fn a_file_is_seen_by_whoever_maps_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        let table = Mapped::<AtomicU64>::file(&path, 1000).unwrap();
        table[999].store(0x0102_0304, Ordering::Relaxed);
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), 8000);
        assert_eq!(bytes[7992..7996], [4, 3, 2, 1]);
    }

    #[test]
    fn a_stale_file_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("table");
        std::fs::write(&path, b"old").unwrap();
        let table = Mapped::<AtomicU64>::file(&path, 4).unwrap();
        assert_eq!(table[0].load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = Mapped::<AtomicU64>::file(std::path::Path::new("/nonexistent/table"), 4).err().unwrap();
        assert!(matches!(error, MapError::Create { .. }));
        assert!(error.to_string().contains("/nonexistent/table"));
    }
}
