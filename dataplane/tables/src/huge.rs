//! A directory of a hugetlbfs, for table files in huge pages.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

use crate::mapped::{MapError, huge_page};

/// Looks whether a directory belongs to a hugetlbfs. Changes nothing.
///
/// # Errors
/// [`MapError::HugeDirectory`] and [`MapError::NotHuge`].
pub fn check(directory: &Path) -> Result<(), MapError> {
    open(directory).map(drop)
}

fn open(path: &Path) -> Result<(File, usize), MapError> {
    let failed = |source| MapError::HugeDirectory { path: path.to_owned(), source };
    let file = File::open(path).map_err(failed)?;
    match huge_page(&file).map_err(failed)? {
        Some(page) => Ok((file, page)),
        None => Err(MapError::NotHuge(path.to_owned())),
    }
}

/// The directory, for one set of tables at a time: the names of the files are fixed (control.md 5.1).
pub(crate) struct HugeDirectory {
    path: PathBuf,
    /// Bytes of a page.
    page: usize,
    /// Locked. There is no file in the directory for that, because it would be a foreign one to others.
    _lock: File,
}

impl HugeDirectory {
    /// Takes it.
    pub(crate) fn take(path: PathBuf) -> Result<Self, MapError> {
        let (lock, page) = open(&path)?;
        match lock.try_lock() {
            Ok(()) => Ok(Self { path, page, _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(MapError::HugeInUse(path)),
            Err(TryLockError::Error(source)) => Err(MapError::HugeDirectory { path, source }),
        }
    }

    /// What a lack of room for files of these sizes means for the administrator.
    pub(crate) fn explain(&self, error: MapError, sizes: [usize; 2]) -> MapError {
        let MapError::NoRoom { source, .. } = error else { return error };
        let needed = sizes.iter().map(|bytes| bytes.div_ceil(self.page)).sum();
        let kib = self.page / 1024;
        MapError::NoHugePages {
            path: self.path.clone(),
            needed,
            kib,
            reserve: needed + in_use(kib).unwrap_or(0),
            source,
        }
    }
}

/// Pages of a size that are not to be had by others.
fn in_use(kib: usize) -> io::Result<usize> {
    let read = |name| {
        let text = std::fs::read_to_string(format!("/sys/kernel/mm/hugepages/hugepages-{kib}kB/{name}"))?;
        text.trim().parse::<usize>().map_err(io::Error::other)
    };
    let free = read("free_hugepages")?.saturating_sub(read("resv_hugepages")?);
    Ok(read("nr_hugepages")?.saturating_sub(free))
}

#[cfg(test)]
mod tests {
    use super::{HugeDirectory, check};
    use crate::MapError;

    #[test]
    fn directories_of_other_kinds_are_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let error = check(directory.path()).unwrap_err();
        assert!(matches!(&error, MapError::NotHuge(path) if path == directory.path()), "{error}");
        let error = HugeDirectory::take("/nonexistent".into()).err().unwrap();
        assert!(matches!(error, MapError::HugeDirectory { .. }), "{error}");
        assert!(error.to_string().contains("/nonexistent"), "{error}");
    }
}
