//! Features that guests have negotiated, in a file for each interface.

use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;

/// The file of one interface: a hexadecimal number.
///
/// A front end that connects again without negotiating goes on with what it has negotiated before, also to a daemon
/// that was started since then (test-rig.md 3).
pub(super) struct FeatureFile(PathBuf);

impl FeatureFile {
    pub(super) const fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// What was kept; nothing when it cannot be read.
    pub(super) fn load(&self) -> u64 {
        let text = fs::read_to_string(&self.0).unwrap_or_default();
        let digits = text.trim().strip_prefix("0x");
        digits.and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
    }

    /// Keeps it. Where there is no room for it, front ends have to negotiate each time, as most do.
    pub(super) fn store(&self, features: u64) {
        match fs::write(&self.0, format!("{features:#x}\n")) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                tracing::debug!(path = %self.0.display(), "no folder for negotiated features");
            }
            Err(error) => {
                tracing::warn!(path = %self.0.display(), %error, "negotiated features are not kept");
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
}
