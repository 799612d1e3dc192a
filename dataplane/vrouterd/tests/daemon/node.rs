//! A network namespace with a fabric device, and daemons in it.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_sim::topology::{Network, Node as Entry, Topology};
use agent_sim::{Agent, Control};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vr_tests::netns::Namespace;

/// How long anything may take on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
const PROGRAM: &str = env!("CARGO_BIN_EXE_vrouterd");
const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 30, 0, 1);
const MAC: [u8; 6] = [2, 0, 0, 0, 1, 1];

/// Small tables and few buffers start quickly.
const SIZES: &str = "[tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 4096\n\
                     flow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
                     [buffers]\npackets = 2048\nsuper_frames = 16\n";

/// The namespace has a keeper, so that what one daemon mounts is there for the next, as on a real machine.
pub(crate) struct Node {
    pub(crate) namespace: Namespace,
    directory: TempDir,
    keeper: Child,
}

impl Node {
    /// With a fabric device `eth0` and a sound configuration.
    pub(crate) fn new(title: &str) -> Self {
        let namespace = Namespace::create(&format!("vrx-d-{title}-{}", std::process::id())).unwrap();
        let directory = tempfile::Builder::new().prefix("vrx-d-").tempdir().unwrap();
        let keeper = namespace.command("sleep").arg("infinity").spawn().unwrap();
        let comm = format!("/proc/{}/comm", keeper.id());
        wait_until("keeper", || fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep"));
        let node = Self { namespace, directory, keeper };
        node.namespace.ip(&["link", "add", "eth0", "type", "veth", "peer", "name", "eth1"]).unwrap();
        node.namespace.up("eth0", 1500, Some(MAC)).unwrap();
        node.namespace.up("eth1", 1500, None).unwrap();
        node.namespace.ip(&["address", "add", &format!("{ADDRESS}/24"), "dev", "eth0"]).unwrap();
        node.configure("[fabric]\ndevice = \"eth0\"\n");
        node
    }

    /// Writes the configuration: these lines, behind the socket directory, and small sizes.
    pub(crate) fn configure(&self, text: &str) {
        let directory = self.sockets();
        self.write(&format!("socket_dir = \"{}\"\ninstance = \"test\"\n{text}{SIZES}", directory.display()));
    }

    /// Writes a configuration as it is.
    pub(crate) fn write(&self, text: &str) {
        fs::write(self.configuration(), text).unwrap();
    }

    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.path().join("vrouterd.toml")
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.directory.path().join("sockets")
    }

    /// A path that the daemon sees, seen from outside.
    pub(crate) fn path_of(&self, path: &Path) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.keeper.id()));
        root.join(path.strip_prefix("/").unwrap())
    }

    /// A command in the namespace.
    pub(crate) fn command(&self, program: &[&str]) -> Command {
        let of_keeper = |kind: &str| format!("/proc/{}/ns/{kind}", self.keeper.id());
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", of_keeper("net"))).arg(format!("--mount={}", of_keeper("mnt")));
        command.args(program).stdin(Stdio::null());
        command
    }

    /// The daemon, behind what comes before it on its command line.
    pub(crate) fn daemon(&self, before: &[&str], arguments: &[&str]) -> Command {
        let mut command = self.command(&[before, &[PROGRAM, "--config"]].concat());
        command.arg(self.configuration()).args(arguments);
        command
    }

    /// Runs the daemon in the expectation that it ends by itself.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        ended(self.daemon(&[], arguments))
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn start(&self) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let child = self.daemon(&[], &[]).stderr(log).stdout(Stdio::null()).spawn().unwrap();
        let mut daemon = Daemon { child };
        let socket = self.sockets().join("dpdk_netlink");
        wait_until("control socket", || {
            assert!(daemon.child.try_wait().unwrap().is_none(), "{}", self.messages());
            UnixStream::connect(&socket).is_ok()
        });
        daemon
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("log")
    }

    /// What the daemon has said.
    pub(crate) fn messages(&self) -> String {
        fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// An agent that has given the node its basic interfaces.
    pub(crate) fn agent(&self) -> Agent {
        let topology = Topology {
            networks: vec![Network {
                name: "net".to_owned(),
                vni: 5001,
                subnet: Ipv4Addr::new(10, 1, 0, 0),
                length: 24,
                router: Ipv4Addr::new(10, 1, 0, 1),
            }],
            nodes: vec![Entry {
                name: "node".to_owned(),
                device: "eth0".to_owned(),
                address: ADDRESS,
                mac: MAC,
                pods: Vec::new(),
                gateway: None,
            }],
            ..Topology::default()
        };
        Agent::start(&self.sockets(), &Arc::new(topology), 0, PATIENCE).unwrap()
    }

    pub(crate) fn control(&self) -> Control {
        Control::connect(&self.sockets(), PATIENCE).unwrap()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.keeper.kill().and_then(|()| self.keeper.wait());
        if let Err(error) = Namespace::delete(self.namespace.name()) {
            eprintln!("{error:#}");
        }
    }
}

/// A running daemon; it is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
}

impl Daemon {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits for its end; how long that took.
    pub(crate) fn wait(&mut self) -> (ExitStatus, Duration) {
        let start = Instant::now();
        let mut status = None;
        wait_until("end of the daemon", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        (status.unwrap(), start.elapsed())
    }

    /// Ends it as an administrator does.
    pub(crate) fn end(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait().0.code(), Some(0));
    }

    pub(crate) fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Open descriptors.
    pub(crate) fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    /// Open descriptors, once connections that were tried while it started are closed.
    pub(crate) fn settled_descriptors(&self) -> usize {
        let mut last = (self.descriptors(), 0);
        wait_until("descriptors at rest", || {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.descriptors();
            last = (now, if now == last.0 { last.1 + 1 } else { 0 });
            last.1 == 4
        });
        last.0
    }

    /// Processor time so far.
    pub(crate) fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let columns: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = columns[11..13].iter().map(|ticks| ticks.parse::<u64>().unwrap()).sum();
        // The kernel's USER_HZ is 100 everywhere.
        Duration::from_millis(10 * ticks)
    }

    /// Memory in use, in KiB.
    pub(crate) fn memory(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ended = self.child.kill().and_then(|()| self.child.wait());
    }
}

/// Runs a command to its end; kills it when that does not come.
pub(crate) fn ended(mut command: Command) -> Output {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let deadline = Instant::now() + PATIENCE;
    while child.try_wait().unwrap().is_none() {
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("it does not end: {:?}", child.wait_with_output().unwrap());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.wait_with_output().unwrap()
}

pub(crate) fn wait_until(what: &str, mut there: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < deadline, "no {what} within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
