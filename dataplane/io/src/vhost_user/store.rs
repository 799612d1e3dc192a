//! Features that guests have negotiated, in a file for each interface.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Nothing was written: there is no front end with all features.
const UNKNOWN: u64 = u64::MAX;

/// The file of one interface: a hexadecimal number.
///
/// A front end that connects again without negotiating goes on with what it has negotiated before, also to a daemon
/// that was started since then (test-rig.md 3).
pub(super) struct FeatureFile {
    path: PathBuf,
    /// What this process has written last.
    written: AtomicU64,
}

impl FeatureFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self { path, written: AtomicU64::new(UNKNOWN) }
    }

    /// What was kept; nothing when it cannot be read.
    pub(super) fn load(&self) -> u64 {
        let text = fs::read_to_string(&self.path).unwrap_or_default();
        let digits = text.trim().strip_prefix("0x");
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }

    /// Keeps it, unless it is what was written last: front ends say it with each connection, and all of them wait for
    /// the one thread. Where there is no room for it, front ends have to negotiate each time, as most do.
    pub(super) fn store(&self, features: u64) {
        if self.written.load(Relaxed) == features {
            return;
        }
        match fs::write(&self.path, format!("{features:#x}\n")) {
            Ok(()) => self.written.store(features, Relaxed),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(path = %self.path.display(), "no folder for negotiated features");
            }
            Err(error) => {
                tracing::warn!(path = %self.path.display(), %error, "negotiated features are not kept");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FeatureFile;

    #[test]
    fn what_is_kept_comes_back_and_rubbish_does_not() {
        let folder = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
        let path = folder.path().join("tap1");
        let file = FeatureFile::new(path.clone());
        assert_eq!(file.load(), 0);
        file.store(0x1_4442_9983);
        assert_eq!(file.load(), 0x1_4442_9983);
        for rubbish in ["", "0x", "12", "0x11112222333344445", "0x-1", "\u{fffd}"] {
            std::fs::write(&path, rubbish).unwrap();
            assert_eq!(file.load(), 0, "{rubbish:?}");
        }
        FeatureFile::new(folder.path().join("no/such/folder")).store(5);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
    #[test]
    fn only_changes_are_written() {
        let folder = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
        let path = folder.path().join("tap1");
        let file = FeatureFile::new(path.clone());
        file.store(5);
        std::fs::remove_file(&path).unwrap();
        file.store(5);
        assert!(!path.exists());
        file.store(7);
        assert_eq!(file.load(), 7);

        let late = FeatureFile::new(folder.path().join("late/tap1"));
        late.store(5);
        std::fs::create_dir(folder.path().join("late")).unwrap();
        late.store(5);
        assert_eq!(late.load(), 5, "what failed is tried again");
    }
}
