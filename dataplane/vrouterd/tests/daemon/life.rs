//! Start, end, and what stays.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::time::Duration;

use agent_sim::statistics;
use nix::sys::signal::Signal;

use crate::node::{Node, wait_until};

/// Whether an XDP program is on the fabric device.
fn has_program(node: &Node) -> bool {
    node.namespace.ip(&["-details", "link", "show", "eth0"]).unwrap().contains("prog/xdp")
}

#[test]
fn a_check_changes_nothing() {
    let node = Node::new("check");
    let output = node.run(&["--check"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains(node.configuration().to_str().unwrap()) && text.lines().count() == 1, "{text}");
    assert!(!node.sockets().exists() && !has_program(&node));
}

#[test]
fn signals_end_it_within_a_second() {
    let node = Node::new("term");
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let mut daemon = node.start();
        let agent = node.agent();
        daemon.signal(signal);
        let (status, time) = daemon.wait();
        assert_eq!(status.code(), Some(0), "{}", node.messages());
        assert!(time < Duration::from_secs(1), "{time:?}");
        drop(agent);
        assert!(!node.sockets().join("dpdk_netlink").exists(), "agents see that nobody serves");
    }
}

#[test]
fn a_killed_daemon_has_a_successor() {
    let node = Node::new("kill");
    for round in 0..3 {
        let mut daemon = node.start();
        let mut agent = node.agent();
        assert_eq!(statistics::port(agent.control(), 0).unwrap().out_packets, 0, "round {round}");
        daemon.signal(Signal::SIGKILL);
        daemon.wait();
        assert!(has_program(&node), "what it would have taken is not the kernel's");
    }
    node.start().end();
}

/// A new agent connects to the socket that it finds and makes its interface anew.
#[test]
fn all_agents_find_the_same_packet_socket() {
    let node = Node::new("pkt0");
    let daemon = node.start();
    let socket = node.sockets().join("dpdk_pkt0");
    let inodes = [(); 3].map(|()| {
        let agent = node.agent();
        let inode = std::fs::symlink_metadata(&socket).unwrap().ino();
        drop(agent);
        inode
    });
    assert_eq!(inodes, [inodes[0]; 3]);
    daemon.end();
    assert!(!socket.exists());
}

#[test]
fn detach_takes_the_programs_off() {
    let node = Node::new("detach");
    let daemon = node.start();
    let agent = node.agent();
    wait_until("steering program", || has_program(&node));
    drop(agent);
    daemon.end();
    assert!(has_program(&node), "the end of the daemon does not give pods the kernel's path");
    let output = node.run(&["--detach"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("eth0") && output.stderr.is_empty(), "{output:?}");
    assert!(!has_program(&node));
    let again = node.run(&["--detach"]);
    let text = String::from_utf8_lossy(&again.stdout).into_owned();
    assert!(again.status.success() && text.contains("has no eBPF programs"), "{again:?}");
}

#[test]
fn it_may_open_as_many_files_as_the_system_allows() {
    let node = Node::new("files");
    let daemon = node.start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files")).unwrap();
    let mut columns = line.split_whitespace();
    assert_eq!(columns.next(), columns.next(), "{line}");
    daemon.end();
}

#[test]
fn help_tells_the_exit_statuses() {
    let node = Node::new("help");
    let output = node.run(&["--help"]);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && text.contains("Exit status: 0 ended as asked"), "{text}");
    let wrong = node.run(&["--no-such-option"]);
    assert_eq!(wrong.status.code(), Some(2));
}

#[test]
fn sockets_and_tables_have_the_configured_group_and_permissions() {
    let node = Node::new("group");
    node.configure("[fabric]\ndevice = \"eth0\"\n[control]\nmode = \"0664\"\ngroup = \"1234\"\n");
    let mut daemon = node.start();
    for (name, mode) in
        [("dpdk_netlink", 0o664), ("vrouterd_status", 0o664), ("flow.shmem", 0o644), ("bridge.shmem", 0o644)]
    {
        let metadata = fs::metadata(node.sockets().join(name)).unwrap();
        assert_eq!((metadata.gid(), metadata.permissions().mode() & 0o777), (1234, mode), "{name}");
    }
    assert!(daemon.is_alive());
}
