//! Which CPUs the threads run on that forward nothing.

use std::fs;

use crate::daemon::{Daemon, Place, wait_until};

/// The CPUs of a thread, as the kernel writes them.
fn cpus(daemon: &Daemon, name: &str) -> Option<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let of = |status: &str, key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.map(|value| value.trim().to_owned())
    };
    status
        .filter(|status| of(status, "Name:").as_deref() == Some(name))
        .find_map(|status| of(&status, "Cpus_allowed_list:"))
}

/// They may be others than those of the workers, and a mask may name CPUs that do not exist.
#[test]
fn masks_are_applied_to_threads() {
    let place = Place::new();
    for (mask, control, housekeeping) in [("0x1", "0x2", "0,1"), ("0x2", "0x1", "0-70")] {
        let options = ["--service_core_mask", control, "--dpdk_ctrl_thread_mask", housekeeping];
        let daemon = place.start_with(mask, &options);
        let worker = if mask == "0x1" { "0" } else { "1" };
        let other = if mask == "0x1" { "1" } else { "0" };
        wait_until("placed threads", || {
            cpus(&daemon, "worker0").as_deref() == Some(worker)
                && cpus(&daemon, "contrail-vroute").as_deref() == Some(other)
                && cpus(&daemon, "housekeeping").as_deref() == Some("0-1")
        });
        daemon.end(nix::sys::signal::Signal::SIGTERM);
    }
}
