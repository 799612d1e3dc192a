//! Tables in huge pages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Mutex, MutexGuard, PoisonError};

use agent_sim::Message;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::node::{Node, wait_until};
use crate::refusals::{IN_USE, LACKS_SOMETHING, refused};

const GET: i32 = 1;
const FLOW_TABLE_GET: i32 = 2;
const BRIDGE: i32 = 7;
const MAC: [u8; 6] = [2, 0, 0, 0, 7, 7];
const PAGE: u64 = 2 << 20;
/// One for each table of a test node.
const NEEDED: usize = 2;

/// The pages of 2 MiB that are reserved on the machine. As many as before are when this is dropped.
struct Reserved {
    before: usize,
    /// One test at a time: there is one number for all.
    _alone: MutexGuard<'static, ()>,
}

impl Reserved {
    const FILE: &str = "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";

    fn number() -> Option<usize> {
        fs::read_to_string(Self::FILE).ok()?.trim().parse().ok()
    }

    /// Reserves more, if the kernel can.
    fn more(count: usize) -> Option<Self> {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = Self { before: Self::number()?, _alone: alone };
        let wanted = reserved.before + count;
        fs::write(Self::FILE, wanted.to_string()).ok()?;
        (Self::number()? >= wanted).then_some(reserved)
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if let Err(error) = fs::write(Self::FILE, self.before.to_string()) {
            eprintln!("{} huge pages were reserved before: {error}", self.before);
        }
    }
}

/// A node that is to have its tables in this directory, which nobody has mounted yet.
fn node(title: &str) -> (Node, PathBuf) {
    let node = Node::new(title);
    let directory = node.configuration().with_file_name("huge");
    fs::create_dir(&directory).unwrap();
    let sizes = fs::read_to_string(node.configuration()).unwrap();
    let key = format!("[tables]\nhugetlbfs = \"{}\"\n", directory.display());
    node.write(&sizes.replace("[tables]\n", &key));
    (node, directory)
}

/// Mounts a hugetlbfs where the node alone sees it; whether that works.
fn mount(node: &Node, options: &str, directory: &Path) -> bool {
    let mount = ["mount", "-t", "hugetlbfs", "-o", options, "vrx-huge", directory.to_str().unwrap()];
    node.command(&mount).status().unwrap().success()
}

/// What is in a directory, as the node sees it.
fn listing(node: &Node, directory: &Path) -> String {
    let output = node.command(&["ls", directory.to_str().unwrap()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn without_room_in_a_hugetlbfs_nothing_starts() {
    let (node, directory) = node("nohuge");
    let path = directory.to_str().unwrap();
    for arguments in [&["--check"][..], &[]] {
        refused(&node.run(arguments), LACKS_SOMETHING, &[path, "no hugetlbfs", "`hugetlbfs` in [tables]"]);
    }
    // Whatever the machine has reserved, there is room for one of two pages at the most.
    if !mount(&node, "pagesize=2M,size=2M", &directory) {
        eprintln!("skipped: without_room_in_a_hugetlbfs_nothing_starts: the kernel mounts no hugetlbfs");
        return;
    }
    let needed = format!("{NEEDED} free huge pages of 2048 KiB");
    let place = "> /sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages";
    refused(&node.run(&[]), LACKS_SOMETHING, &[path, &needed, place, "smaller tables"]);
    assert_eq!(listing(&node, &directory), "", "no page is kept");
    assert!(node.run(&["--check"]).status.success());
}

#[test]
fn tables_in_huge_pages_go_with_the_daemon() {
    let title = "tables_in_huge_pages_go_with_the_daemon";
    let Some(_reserved) = Reserved::more(NEEDED) else {
        eprintln!("skipped: {title}: the kernel reserves no huge pages");
        return;
    };
    let (node, directory) = node("huge");
    if !mount(&node, "pagesize=2M", &directory) {
        eprintln!("skipped: {title}: the kernel mounts no hugetlbfs");
        return;
    }

    let mut daemon = node.start();
    let mut control = node.control();
    let mut described = |name: &str, op| {
        let table = control.one(Message::new(name).i32(1, op).stop()).unwrap().objects.remove(0);
        (table.number(3), PathBuf::from(table.text(5)))
    };
    assert_eq!(described("vr_flow_table_data", FLOW_TABLE_GET), (5120 * 256, directory.join("flow")));
    assert_eq!(described("vr_bridge_table_data", GET), (1280 * 64, directory.join("bridge")));
    let route = Message::new("vr_route_req").i32(1, 0).i32(2, 1).i32(3, BRIDGE).i32(9, 0).bytes(12, &MAC);
    control.one(route.stop()).unwrap();
    // The agent's path, seen from here.
    let seen = node.path_of(&directory);
    let bridge = fs::read(seen.join("bridge")).unwrap();
    assert_eq!(bridge.chunks(64).filter(|entry| entry[21..27] == MAC).count(), 1);
    for name in ["flow", "bridge"] {
        assert_eq!(fs::metadata(seen.join(name)).unwrap().len(), PAGE, "a whole page");
    }

    // The one who comes second ends without harm to the first.
    let other = node.configuration().with_file_name("other.toml");
    let mine = fs::read_to_string(node.configuration()).unwrap();
    fs::write(&other, mine.replace("/sockets\"", "/other\"")).unwrap();
    let program = env!("CARGO_BIN_EXE_vrouterd");
    let rival = node.command(&[program, "--config", other.to_str().unwrap()]).output().unwrap();
    refused(&rival, IN_USE, &[directory.to_str().unwrap(), "`hugetlbfs`"]);
    assert_eq!(listing(&node, &directory), "bridge flow");

    // The successor of a killed one finds its files, and no free page but theirs.
    daemon.signal(Signal::SIGKILL);
    daemon.wait();
    assert_eq!(listing(&node, &directory), "bridge flow");
    let successor = node.start();
    let bridge = fs::read(seen.join("bridge")).unwrap();
    assert!(bridge.iter().all(|byte| *byte == 0), "fresh tables");
    successor.end();
    assert_eq!(listing(&node, &directory), "");
}

/// The tables of R2.20 have entries of their own size, and its agent maps them at the same places.
#[test]
fn tables_of_r220_are_in_huge_pages_too() {
    let title = "tables_of_r220_are_in_huge_pages_too";
    let Some(_reserved) = Reserved::more(NEEDED) else {
        eprintln!("skipped: {title}: the kernel reserves no huge pages");
        return;
    };
    let (node, directory) = node("huge2");
    if !mount(&node, "pagesize=2M", &directory) {
        eprintln!("skipped: {title}: the kernel mounts no hugetlbfs");
        return;
    }
    let current = fs::read_to_string(node.configuration()).unwrap();
    node.write(&format!("compat = \"r2.20\"\n{current}"));
    let mut daemon = node.daemon(&[], &[]).stderr(Stdio::null()).spawn().unwrap();
    let seen = node.path_of(&directory);
    wait_until("tables", || {
        assert!(daemon.try_wait().unwrap().is_none(), "it ends");
        // The last thing that a daemon makes before it serves.
        node.sockets().join("vrouterd_status").exists()
    });
    assert_eq!(listing(&node, &directory), "bridge flow");
    for name in ["flow", "bridge"] {
        assert_eq!(fs::metadata(seen.join(name)).unwrap().len(), PAGE, "a whole page");
    }
    kill(Pid::from_raw(daemon.id() as i32), Signal::SIGTERM).unwrap();
    assert!(daemon.wait().unwrap().success());
    assert_eq!(listing(&node, &directory), "");
}
