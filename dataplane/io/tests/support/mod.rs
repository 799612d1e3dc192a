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

pub mod bpf;
pub mod frames;
pub mod front_end;
pub mod raw;
pub mod rig;

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, unshare};
use vr_io::netdev;

/// Runs `test` in a thread with a network namespace of its own, which ends with it.
pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    assert!(nix::unistd::geteuid().is_root(), "the tests of ports need root: run them again as root");
    let thread = thread::spawn(|| {
        unshare(CloneFlags::CLONE_NEWNET).unwrap();
        netdev::set_up("lo", true).unwrap();
        test();
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Makes a pair of veth devices that are up and on which the kernel is quiet.
pub fn wire(a: &str, b: &str, queues: u32, mtu: u32) {
    netdev::create_veth(a, b, queues).unwrap();
    for name in [a, b] {
        netdev::set_ipv6_autoconfiguration(name, false).unwrap();
        netdev::set_mtu(name, mtu).unwrap();
        netdev::set_up(name, true).unwrap();
    }
    for name in [a, b] {
        wait_until_up(name);
    }
}

/// The kernel takes note of a carrier some time after it is there, and sends nothing before.
fn wait_until_up(name: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    loop {
        let output = Command::new("ip").args(["link", "show", "dev", name]).output().unwrap();
        if String::from_utf8_lossy(&output.stdout).contains("state UP") {
            break;
        }
        assert!(Instant::now() < end, "{name} has no carrier");
        thread::sleep(Duration::from_millis(2));
    }
    // A change waits for what the kernel is still doing about the carrier.
    netdev::set_up(name, true).unwrap();
}
