//! What keeps the daemon from starting: one sentence each, and the exit status of `--help`.

use std::collections::BTreeMap;
use std::process::Output;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use crate::node::{Node, ended};

const BAD_CONFIGURATION: i32 = 2;
pub(crate) const LACKS_SOMETHING: i32 = 3;
pub(crate) const IN_USE: i32 = 4;

/// The daemon has ended with this status and one line that has these words.
#[track_caller]
pub(crate) fn refused(output: &Output, status: i32, words: &[&str]) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{text}");
    let sentence = text.strip_suffix('\n').unwrap();
    assert!(!sentence.contains('\n') && sentence.starts_with("vrouterd: "), "not one sentence: {text}");
    for word in words {
        assert!(sentence.contains(word), "no `{word}` in: {sentence}");
    }
    assert!(output.stdout.is_empty());
}

/// Runs the daemon under a filter that answers these system calls with an error.
fn filtered(node: &Node, arguments: &[&str], calls: &[(i64, Vec<SeccompRule>)], errno: i32) -> Output {
    let rules: BTreeMap<_, _> = calls.iter().cloned().collect();
    let refuse = SeccompAction::Errno(errno as u32);
    let target = std::env::consts::ARCH.try_into().unwrap();
    let filter: BpfProgram =
        SeccompFilter::new(rules, SeccompAction::Allow, refuse, target).unwrap().try_into().unwrap();
    let command = node.daemon(&[], arguments);
    // A filter belongs to a thread and to what it starts.
    let thread = std::thread::spawn(move || {
        seccompiler::apply_filter(&filter).unwrap();
        ended(command)
    });
    thread.join().unwrap()
}

/// `socket(AF_XDP, ...)`.
fn socket_of_af_xdp() -> (i64, Vec<SeccompRule>) {
    let family = u64::from(libc::AF_XDP.unsigned_abs());
    let first = SeccompCondition::new(0, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, family).unwrap();
    (libc::SYS_socket, vec![SeccompRule::new(vec![first]).unwrap()])
}

#[test]
fn two_daemons_of_one_directory() {
    let node = Node::new("two");
    let mut first = node.start();
    let directory = node.sockets();
    refused(&node.run(&[]), IN_USE, &["another vrouterd", directory.to_str().unwrap(), "`socket_dir`"]);
    assert!(first.is_alive());
    node.agent();
    first.end();
}

#[test]
fn a_fabric_device_that_is_not_there() {
    let node = Node::new("nodev");
    node.configure("[fabric]\ndevice = \"eth7\"\n");
    for arguments in [&[][..], &["--check"]] {
        refused(&node.run(arguments), LACKS_SOMETHING, &["`eth7`", "[fabric]", "`ip link`"]);
    }
    assert!(!node.sockets().exists(), "nothing was changed");
}

#[test]
fn no_privileges() {
    let node = Node::new("nopriv");
    let without = |capabilities: &str| {
        let set = format!("--bounding-set={capabilities}");
        ended(node.daemon(&["setpriv", &set], &[]))
    };
    let all = ["CAP_NET_ADMIN", "CAP_NET_RAW", "CAP_BPF", "run it as root"];
    refused(&without("-all"), LACKS_SOMETHING, &all);
    let output = without("-net_raw");
    refused(&output, LACKS_SOMETHING, &["needs CAP_NET_RAW;", "grant"]);
}

#[test]
fn a_kernel_without_af_xdp() {
    let node = Node::new("noxdp");
    for arguments in [&[][..], &["--check"]] {
        let output = filtered(&node, arguments, &[socket_of_af_xdp()], libc::EAFNOSUPPORT);
        refused(&output, LACKS_SOMETHING, &["AF_XDP", "CONFIG_XDP_SOCKETS", "AF_PACKET"]);
    }
    node.configure("[fabric]\ndevice = \"eth0\"\nbackend = \"packet\"\n");
    let output = filtered(&node, &["--check"], &[socket_of_af_xdp()], libc::EAFNOSUPPORT);
    assert!(output.status.success(), "the way out is one: {output:?}");
}

#[test]
fn a_kernel_that_refuses_ebpf() {
    let node = Node::new("nobpf");
    let bpf = [(libc::SYS_bpf, Vec::new())];
    refused(&filtered(&node, &[], &bpf, libc::EPERM), LACKS_SOMETHING, &["bpf(2)", "seccomp profile"]);
    refused(&filtered(&node, &[], &bpf, libc::ENOSYS), LACKS_SOMETHING, &["bpf(2)", "CONFIG_BPF_SYSCALL"]);
}

#[test]
fn no_room_for_the_shared_tables() {
    let node = Node::new("full");
    let directory = node.sockets();
    let path = directory.to_str().unwrap();
    std::fs::create_dir(&directory).unwrap();
    let mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "vrx-small", path];
    assert!(node.command(&mount).status().unwrap().success());
    refused(&node.run(&[]), LACKS_SOMETHING, &["no room", path, "`socket_dir`", "smaller tables"]);
    let listing = node.command(&["ls", path]).output().unwrap();
    let left = String::from_utf8_lossy(&listing.stdout);
    assert!(!left.contains("shmem"), "half a table is left: {left}");
}

#[test]
fn a_socket_directory_that_cannot_be() {
    let node = Node::new("nodir");
    std::fs::write(node.sockets(), "a file").unwrap();
    let path = node.sockets();
    refused(&node.run(&[]), LACKS_SOMETHING, &["socket directory", path.to_str().unwrap(), "`socket_dir`"]);
}

#[test]
fn broken_configurations() {
    let node = Node::new("config");
    let file = node.configuration().display().to_string();
    let broken = [
        ("[workers]\ncount = \"many\"\n", "line 2"),
        ("[fabric]\n\ndevise = \"eth0\"\n", "line 3"),
        ("[fabric\n", "line 1"),
        ("[log]\nlevel = \"info\"\n\u{0}\n", "line 3"),
    ];
    for (text, line) in broken {
        node.write(text);
        refused(&node.run(&[]), BAD_CONFIGURATION, &[&file, line]);
    }
    std::fs::remove_file(node.configuration()).unwrap();
    refused(&node.run(&["--check"]), BAD_CONFIGURATION, &[&file]);
    std::fs::write(node.configuration(), [0xFF, 0xFE, 0]).unwrap();
    refused(&node.run(&["--check"]), BAD_CONFIGURATION, &[&file]);
}
