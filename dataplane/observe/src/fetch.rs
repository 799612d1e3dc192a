//! Asking a daemon for its report.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::{Report, SOCKET};

/// A daemon that takes longer is stuck.
const PATIENCE: Duration = Duration::from_secs(5);
/// Far more than any report has.
const LONGEST: u64 = 64 << 20;

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Nobody listens.
    #[error(
        "no vrouterd answers on `{}`; is it running, and is this its socket directory?",
        path.display()
    )]
    NoDaemon {
        /// The socket.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// What came is no report.
    #[error("what vrouterd sent on `{}` is no report; do the versions agree?", path.display())]
    NoReport {
        /// The socket.
        path: PathBuf,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// The report of the daemon with this socket directory, at this moment.
///
/// # Errors
/// [`FetchError`] when no daemon answers, or not with a report.
pub fn fetch(socket_dir: &Path) -> Result<Report, FetchError> {
    let path = socket_dir.join(SOCKET);
    let text = read(&path).map_err(|source| FetchError::NoDaemon { path: path.clone(), source })?;
    serde_json::from_str(&text).map_err(|source| FetchError::NoReport { path, source })
}

fn read(path: &Path) -> io::Result<String> {
    let stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut text = String::new();
    stream.take(LONGEST).read_to_string(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::{FetchError, fetch};
    use crate::SOCKET;
    use std::io::Write;
    use std::os::unix::net::UnixListener;

    fn answer(text: &'static str) -> Result<crate::Report, FetchError> {
        let directory = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(directory.path().join(SOCKET)).unwrap();
        let server =
            std::thread::spawn(move || listener.accept().unwrap().0.write_all(text.as_bytes()).unwrap());
        let report = fetch(directory.path());
        server.join().unwrap();
        report
    }

    #[test]
    fn a_report_is_read_to_its_end() {
        let text = r#"{"version":"7","instance":"a","uptime":1,"workers":[],"ports":[],"steering":[]}"#;
        assert_eq!(answer(text).unwrap().version, "7");
        assert!(matches!(answer("{}"), Err(FetchError::NoReport { .. })));
        assert!(matches!(answer(""), Err(FetchError::NoReport { .. })));
    }

    #[test]
    fn nobody_there_is_said_with_the_path() {
        let error = fetch(std::path::Path::new("/nowhere")).unwrap_err().to_string();
        assert!(error.contains("/nowhere/vrouterd_status"), "{error}");
    }
}
