//! What test-rig.md 1 lists, again and again.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use nix::sys::signal::Signal;
use sandesh::messages::InterfaceReq;
use sandesh::{Compat, SandeshOp, encode};

use crate::daemon::{Place, wait_until};
use crate::node::Node;
use crate::recordings::folder;
use crate::steps::{self, Step};

/// The interfaces of that recording.
const ALL: [&str; 6] = ["eth1", "vhost0", "unix", "tap_1", "tap_2", "tap_3"];

fn program(node: &mut Node) -> [(String, Vec<u8>); 2] {
    program_from(node, "09-local-forwarding.jsonl")
}

/// Replays a recording up to its first packet, and says what comes in where, and what comes out.
pub(crate) fn program_from(node: &mut Node, recording: &str) -> [(String, Vec<u8>); 2] {
    let mut incoming = None;
    for step in steps::read(&folder().join(recording)) {
        match step {
            Step::Request(request) => {
                let answer = node.exchange(&request.payload);
                assert_eq!(answer.codes, [0], "{}", request.message);
            }
            Step::Inject(inject) => incoming = Some((inject.vif, inject.frame)),
            Step::Expect(expect) => return [incoming.unwrap(), (expect.vif, expect.frame)],
            _ => {}
        }
    }
    panic!("the recording has no packet");
}

fn forwards(node: &mut Node, [incoming, outgoing]: &[(String, Vec<u8>); 2]) {
    node.sent.clear();
    node.inject(&incoming.0, &incoming.1);
    wait_until("packet", || {
        node.settle();
        !node.sent.is_empty()
    });
    assert_eq!(node.sent, std::slice::from_ref(outgoing));
}

/// An interface comes and goes.
fn add_and_delete(node: &mut Node) {
    for op in [SandeshOp::ADD, SandeshOp::DEL] {
        let request = InterfaceReq {
            h_op: op,
            vifr_idx: 9,
            vifr_type: 3,
            vifr_transport: 2,
            vifr_name: "tap_9".to_owned(),
            vifr_mac: vec![0, 0, 0x5e, 0, 1, 0],
            vifr_mir_id: -1,
            ..InterfaceReq::default()
        };
        let mut payload = Vec::new();
        encode(&request, Compat::Current, &mut payload);
        assert_eq!(node.exchange(&payload).codes, [0]);
    }
}

/// Ten instances follow each other in one directory, and each second one is killed. Each is found by its name, takes one
/// object from each connection, forwards, and has as many descriptors after three losses of all front ends, and an
/// interface that came and went, as before.
#[test]
fn instances_follow_each_other_at_once() {
    let mut place = Place::new();
    for (round, mask) in ["0x6", "0x1", "0x2", "0x3", "0xff"].iter().cycle().take(10).enumerate() {
        let close_on_reset = if round % 3 == 0 { "1" } else { "0" };
        let daemon = place.start_with(mask, &["--vr_uncond_close_flow_on_tcp_rst", close_on_reset]);
        // As much of a name as the system keeps.
        let name = fs::read_to_string(format!("/proc/{}/comm", daemon.pid())).unwrap();
        assert_eq!(name.trim(), "contrail-vrouter-dpdk"[..15].to_owned());
        let mut node = Node::of(place, daemon);
        let packet = program(&mut node);
        forwards(&mut node, &packet);
        let mode = fs::metadata(node.sockets()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o777, "rigs of any user make sockets");
        let before = node.daemon().descriptors();
        for _ in 0..3 {
            node.detach();
            node.attach_all(&ALL);
            forwards(&mut node, &packet);
        }
        add_and_delete(&mut node);
        wait_until("equal number of descriptors", || node.daemon().descriptors() == before);
        forwards(&mut node, &packet);
        let signal = if round % 2 == 0 { Signal::SIGTERM } else { Signal::SIGKILL };
        let (back, time) = node.into_place(signal);
        assert!(time < Duration::from_secs(1), "{time:?}");
        place = back;
    }
}

/// A rig sends and is gone: what it has posted arrives all the same.
#[test]
fn what_was_posted_before_a_disconnect_is_forwarded() {
    let mut node = Node::new();
    let [incoming, outgoing] = program(&mut node);
    for _ in 0..20 {
        node.sent.clear();
        node.attach_all(&[&incoming.0]);
        node.post_and_leave(&incoming.0, &incoming.1);
        wait_until("packet", || {
            node.settle();
            !node.sent.is_empty()
        });
        assert_eq!(node.sent, std::slice::from_ref(&outgoing));
    }
    node.close();
}

#[test]
fn the_mask_says_how_many_workers_there_are() {
    let place = Place::new();
    for (mask, count) in [("0x1", 1), ("0x2", 1), ("0x6", 1)] {
        let daemon = place.start(mask);
        let workers = daemon.threads().iter().filter(|name| name.starts_with("worker")).count();
        assert_eq!(workers, count, "{mask}");
        daemon.end(Signal::SIGTERM);
    }
}

#[test]
fn it_leaves_the_foreground_when_it_is_ready_to_be_told_so() {
    let place = Place::new();
    let log = place.sockets().with_file_name("log");
    let sockets = place.sockets();
    let output = place
        .command(&["--vr_socket_dir", sockets.to_str().unwrap(), "--log_file", log.to_str().unwrap()])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    wait_until("control socket", || sockets.join("dpdk_netlink").exists());
    let lines = || fs::read_to_string(&log).unwrap_or_default();
    wait_until("message", || lines().contains("serving"));
    assert!(lines().contains("test mode"));
    let pid = holder_of_lock(&sockets).expect("the daemon runs");
    let status = || fs::read_to_string(format!("/proc/{pid}/status"));
    let ours = format!("PPid:\t{}\n", std::process::id());
    assert!(!status().unwrap().contains(&ours), "who started it has not to wait for it");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    // Whoever adopts orphans here may take its time to bury it.
    wait_until("end", || status().map_or(true, |status| status.contains("State:\tZ")));
}

/// The process that has files open in a directory.
fn holder_of_lock(directory: &std::path::Path) -> Option<i32> {
    let lock = directory.join("vrouterd.lock");
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.unwrap().file_name().into_string().ok()?.parse().ok())
        .find(|pid: &i32| {
            let files = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
            files.filter_map(|file| fs::read_link(file.path()).ok()).any(|target| target == lock)
        })
}

#[test]
fn what_it_does_not_know_is_refused_with_a_hint() {
    let place = Place::new();
    let run = |options: &[&str]| {
        let output = place.command(options).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, text) = run(&["--no-daemon", "--vr_flow_entrys", "5"]);
    assert!(code == Some(2) && text.contains("--vr_flow_entries"), "{text}");
    let (code, text) = run(&["--no-daemon", "--vr_vrfs", "1000000"]);
    assert_eq!(code, Some(2));
    assert!(text.starts_with("contrail-vrouter-dpdk: --vr_vrfs: ") && text.lines().count() == 1, "{text}");
}
