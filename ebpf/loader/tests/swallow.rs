//! The tc program on real devices, in network namespaces of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use nix::sys::{
    socket::{
        AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket,
        sockopt::ReceiveTimeout,
    },
    time::{TimeVal, TimeValLike as _},
};
use std::{
    os::fd::{AsRawFd as _, OwnedFd},
    path::Path,
};
use steer_loader::{HookChoice, Persistence, Swallow, SwallowHook, SwallowOptions};
use support::{Folder, in_namespaces, ip, is_root, peer::Peer, run};

const CLOSED: &str = "172.16.0.2:5000";

fn options(hook: HookChoice, persistence: Persistence, bpffs: &Path) -> SwallowOptions {
    SwallowOptions { instance: "test".to_owned(), hook, persistence, bpffs: Some(bpffs.to_owned()) }
}

/// A pod at the other end of the wire, which knows the MAC of this end: nobody answers its ARP.
fn pod() -> Peer {
    let peer = Peer::new();
    peer.wire("pod", 0);
    let shown = run("ip", "-o link show dev pod");
    let mac = shown.split_once("link/ether ").unwrap().1.split_once(' ').unwrap().0.to_owned();
    peer.run(move || ip(&format!("neigh replace 172.16.0.2 lladdr {mac} dev eth0 nud permanent")));
    peer
}

/// A socket that gets a copy of what every device of this namespace receives.
fn tap() -> OwnedFd {
    let tap =
        socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll).unwrap();
    setsockopt(&tap, ReceiveTimeout, &TimeVal::milliseconds(500)).unwrap();
    tap
}

fn has_copied(tap: &OwnedFd, payload: &[u8]) -> bool {
    let mut frame = [0; 2048];
    while let Ok(length) = recv(tap.as_raw_fd(), &mut frame, MsgFlags::empty()) {
        if frame[..length].ends_with(payload) {
            return true;
        }
    }
    false
}

#[test]
fn the_tap_gets_what_the_kernel_no_longer_sees() {
    if !is_root("the_tap_gets_what_the_kernel_no_longer_sees") {
        return;
    }
    for (choice, hook) in [
        (HookChoice::Auto, SwallowHook::Tcx),
        (HookChoice::Tcx, SwallowHook::Tcx),
        (HookChoice::Clsact, SwallowHook::Clsact),
    ] {
        for persistence in [Persistence::Pinned, Persistence::Process] {
            in_namespaces(move || {
                let bpffs = Folder::make();
                let (pod, tap) = (pod(), tap());
                assert!(pod.is_refused(CLOSED, b"before".to_vec()), "without us the kernel answers");
                let swallow = Swallow::attach("pod", &options(choice, persistence, bpffs.path())).unwrap();
                assert_eq!(swallow.hook(), hook);
                assert!(!pod.is_refused(CLOSED, b"swallowed".to_vec()), "{choice:?} {persistence:?}");
                assert!(has_copied(&tap, b"swallowed"));
                let counters = swallow.counters().unwrap();
                assert_eq!(counters[0], ("swallowed_packets", 1));
                assert_eq!(counters[1], ("swallowed_bytes", 14 + 20 + 8 + 9));

                drop(swallow);
                let stays = persistence == Persistence::Pinned;
                assert_eq!(!pod.is_refused(CLOSED, b"after".to_vec()), stays, "{choice:?} {persistence:?}");
            });
        }
    }
}

#[test]
fn a_successor_takes_over_and_detaches() {
    if !is_root("a_successor_takes_over_and_detaches") {
        return;
    }
    for choice in [HookChoice::Tcx, HookChoice::Clsact] {
        in_namespaces(move || {
            let bpffs = Folder::make();
            let pod = pod();
            let attach =
                || Swallow::attach("pod", &options(choice, Persistence::Pinned, bpffs.path())).unwrap();
            drop(attach());
            drop(attach());
            let successor = attach();
            assert!(!pod.is_refused(CLOSED, b"x".to_vec()), "{choice:?}");
            assert_eq!(successor.counters().unwrap()[0].1, 1, "{choice:?}: the successor's own program runs");
            successor.detach().unwrap();
            assert!(pod.is_refused(CLOSED, b"x".to_vec()), "{choice:?}: none of the three is left");
            assert!(!bpffs.path().join("vrouter-xdp").exists(), "no pins are left");
        });
    }
}

#[test]
fn a_new_device_of_the_same_name_is_attached_anew() {
    if !is_root("a_new_device_of_the_same_name_is_attached_anew") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let attach =
            || Swallow::attach("pod", &options(HookChoice::Auto, Persistence::Pinned, bpffs.path())).unwrap();
        let _first = pod();
        drop(attach());
        ip("link del pod");
        let second = pod();
        let swallow = attach();
        assert!(!second.is_refused(CLOSED, b"x".to_vec()));
        swallow.detach().unwrap();
    });
}
