//! One daemon for each socket directory.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};

/// Name of the file in the directory. It stays: only the lock on it counts, and that goes with the process.
const FILE: &str = "vrouterd.lock";

/// Why the directory is not ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockError {
    /// Another daemon has it.
    #[error(
        "another vrouterd uses the socket directory `{}`; stop it, or choose another one with `socket_dir`",
        .0.display()
    )]
    InUse(PathBuf),
    /// It cannot be used.
    #[error(
        "the socket directory `{}` cannot be used: {source}; check its parent and your privileges, or choose another \
         one with `socket_dir`", path.display()
    )]
    Directory {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Holds the directory as long as it lives.
#[derive(Debug)]
pub(crate) struct DirectoryLock {
    _file: Flock<File>,
}

impl DirectoryLock {
    /// Makes the directory if it is missing, and takes it.
    pub(crate) fn take(directory: &Path) -> Result<Self, LockError> {
        let failed = |source| LockError::Directory { path: directory.to_owned(), source };
        DirBuilder::new().recursive(true).mode(0o775).create(directory).map_err(failed)?;
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(directory.join(FILE))
            .map_err(failed)?;
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(file) => Ok(Self { _file: file }),
            Err((_, Errno::EAGAIN)) => Err(LockError::InUse(directory.to_owned())),
            Err((_, errno)) => Err(failed(errno.into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DirectoryLock, LockError};

    #[test]
    fn a_directory_has_one_holder_at_a_time() {
        let parent = tempfile::tempdir().unwrap();
        let directory = parent.path().join("made");
        let first = DirectoryLock::take(&directory).unwrap();
        let error = DirectoryLock::take(&directory).unwrap_err();
        assert!(matches!(&error, LockError::InUse(path) if *path == directory), "{error}");
        drop(first);
        DirectoryLock::take(&directory).unwrap();
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let error = DirectoryLock::take("/proc/none".as_ref()).unwrap_err();
        assert!(error.to_string().contains("/proc/none"), "{error}");
    }
}
