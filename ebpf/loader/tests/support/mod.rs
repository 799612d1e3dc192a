//! What the tests of this crate share. Each test file uses a part of it.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "every test file compiles the whole module and uses a part of it"
)]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic, and is read with its support"
)]

pub mod harness;
pub mod model;
pub mod packets;
pub mod peer;
pub mod xsk;

use nix::{
    mount::{MntFlags, MsFlags, mount, umount2},
    sched::{CloneFlags, unshare},
    unistd::geteuid,
};
use std::{io::Write as _, path::Path, process::Command, thread};
use tempfile::TempDir;

/// Says that a test cannot run, past the capture of the test harness, in the form that `cargo xtask test` lists.
pub fn skip(test: &str, reason: &str) {
    // Not by `eprintln!`, which the harness captures.
    let line = format!("skipped: {test}: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// Whether the test may load programs; says that it is skipped if not.
pub fn is_root(test: &str) -> bool {
    let root = geteuid().is_root();
    if !root {
        skip(test, "loading eBPF programs needs root");
    }
    root
}

/// A folder on which a bpffs may be mounted. It goes with the value, and what is mounted there as well.
pub struct Folder(TempDir);

impl Folder {
    pub fn make() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A folder with a mount cannot be removed; without one there is nothing to do.
        let _ = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

/// Runs `test` in a thread with a network and a mount namespace of its own, which end with it.
pub fn in_namespaces(test: impl FnOnce() + Send + 'static) {
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>).unwrap();
        ip("link set lo up");
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Runs `ip` in the network namespace of this thread.
pub fn ip(arguments: &str) {
    run("ip", arguments);
}

/// Runs a program in the namespaces of this thread and returns what it prints.
pub fn run(program: &str, arguments: &str) -> String {
    let output = Command::new(program).args(arguments.split_whitespace()).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{program} {arguments}: {errors}");
    String::from_utf8(output.stdout).unwrap()
}
