//! The daemon as a test rig starts and ends it.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// How long anything may take on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const NAME: &str = "contrail-vrouter-dpdk";

/// A folder with the program under its other name, and one for sockets.
pub(crate) struct Place(TempDir);

impl Place {
    pub(crate) fn new() -> Self {
        // On a disk the daemon would have to wait for the file system.
        let place = Self(tempfile::Builder::new().prefix("vrx-r-").tempdir_in("/dev/shm").unwrap());
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_vrouterd"), place.program()).unwrap();
        place
    }

    fn program(&self) -> PathBuf {
        self.0.path().join(NAME)
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.0.path().join("s")
    }

    /// The program with these options.
    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(self.program());
        command.args(options).stdin(Stdio::null());
        command
    }

    /// Starts it as rigs do, on the CPUs of the mask, and waits until it serves.
    pub(crate) fn start(&self, mask: &str) -> Daemon {
        self.start_with(mask, &[])
    }

    /// The same with further options.
    pub(crate) fn start_with(&self, mask: &str, options: &[&str]) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.0.path().join("log")).unwrap();
        let mut command = Command::new("taskset");
        command.arg(mask).arg(self.program());
        command.args(["--no-daemon", "--no-huge", "--vr_packet_sz", "2048", "--vr_socket_dir"]);
        command.arg(self.sockets()).args(options).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let mut child = command.spawn().unwrap();
        let socket = self.sockets().join("dpdk_netlink");
        wait_until("control socket", || {
            let log = || fs::read_to_string(self.0.path().join("log")).unwrap_or_default();
            assert!(child.try_wait().unwrap().is_none(), "{}", log());
            UnixStream::connect(&socket).is_ok()
        });
        Daemon(child)
    }
}

/// A running daemon; it is killed when this is dropped.
pub(crate) struct Daemon(Child);

impl Daemon {
    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.0.id() as i32)
    }

    /// Sends a signal and waits for the end; how long that took.
    pub(crate) fn end(mut self, signal: Signal) -> Duration {
        let start = Instant::now();
        kill(self.pid(), signal).unwrap();
        let status = self.0.wait().unwrap();
        assert_eq!(status.code(), (signal == Signal::SIGTERM).then_some(0));
        start.elapsed()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Its threads' names.
    pub(crate) fn threads(&self) -> Vec<String> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let name = |path: &Path| fs::read_to_string(path.join("comm")).unwrap().trim().to_owned();
        tasks.map(|task| name(&task.unwrap().path())).collect()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

pub(crate) fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
