//! Removes everything that a run makes, also one that was killed.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use vr_tests::netns::Namespace;

use crate::layout::{DIRECTORY, PREFIX};

/// Ends the daemons, then removes the namespaces and the directory. Does nothing where nothing is left.
pub(crate) fn clean() -> Result<()> {
    for entry in std::fs::read_dir(DIRECTORY).into_iter().flatten().flatten() {
        if let Ok(text) = std::fs::read_to_string(entry.path().join("pid"))
            && let Ok(number) = text.trim().parse()
        {
            end(number, &entry.path());
        }
    }
    for name in Namespace::names(PREFIX) {
        Namespace::delete(&name)?;
    }
    match std::fs::remove_dir_all(DIRECTORY) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

/// Fails when something is left, or another run is under way.
pub(crate) fn ensure_clean() -> Result<()> {
    let left = Namespace::names(PREFIX);
    ensure!(
        left.is_empty() && !Path::new(DIRECTORY).exists(),
        "an earlier run has left something (or is still running); remove it with `cargo xtask demo --clean`"
    );
    Ok(())
}

/// Ends a daemon if the process is still the one that was started for this directory.
fn end(number: i32, directory: &Path) {
    let is_ours = || {
        let line = std::fs::read(format!("/proc/{number}/cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&line).contains(&*directory.to_string_lossy())
    };
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut signal = Signal::SIGTERM;
    while is_ours() && Instant::now() < deadline {
        let _sent = kill(Pid::from_raw(number), signal);
        std::thread::sleep(Duration::from_millis(200));
        if Instant::now() + Duration::from_secs(3) > deadline {
            signal = Signal::SIGKILL;
        }
    }
    // It is a child of this process if this run has started it.
    let _reaped = waitpid(Pid::from_raw(number), Some(WaitPidFlag::WNOHANG));
}
