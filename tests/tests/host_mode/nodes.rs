//! Two nodes on one segment: the address of the first one's host is on vhost0, that of the second one's on its device.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use agent_sim::topology::{AGENT_VIF, Topology};
use agent_sim::{Agent, Message, program};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use vr_io::netdev::{Feature, set_feature};
use vr_observe::Steering;
use vr_tests::daemon::Settings;
use vr_tests::netns::Namespace;
pub(crate) use vr_tests::nodes::wait_until;
use vr_tests::nodes::{PATIENCE, daemon_program, two_nodes};
use vr_tests::ping::{Outcome, Plan, ping};

pub(crate) struct Nodes {
    pub(crate) topology: Arc<Topology>,
    pub(crate) hosts: [Host; 2],
    pub(crate) pods: Vec<Namespace>,
    segment: Namespace,
    /// Removed with it.
    _directory: TempDir,
}

/// A node's namespace and its daemon. A keeper holds what the daemon mounts, as a machine does when a daemon dies.
pub(crate) struct Host {
    pub(crate) namespace: Namespace,
    keeper: Child,
    daemon: Option<Child>,
    directory: PathBuf,
}

/// What the fabric devices can do.
#[derive(Clone, Copy)]
pub(crate) enum Driver {
    /// The driver runs XDP programs.
    Native,
    /// Nothing but sending and receiving.
    Plain,
}

impl Driver {
    /// Makes `eth0`, and connects it with the segment.
    fn connect(self, node: &Namespace, segment: &Namespace, port: &str) {
        let wire = match self {
            Self::Native => "eth0",
            Self::Plain => "wire",
        };
        node.veth(wire, segment, port).unwrap();
        segment.ip(&["link", "set", port, "master", "segment"]).unwrap();
        segment.up(port, 1500, None).unwrap();
        // As on a wire, frames arrive with complete checksums; a veth would leave that to the receiver.
        let plain = |device| {
            node.run(|| set_feature(device, Feature::TransmitChecksums, false)).unwrap().unwrap();
        };
        plain(wire);
        if wire != "eth0" {
            node.ip(&["link", "add", "eth0", "link", wire, "type", "macvlan", "mode", "passthru"]).unwrap();
            node.up(wire, 1500, None).unwrap();
        }
    }
}

impl Nodes {
    /// Both daemons run, no agent has come yet, and both hosts have their addresses.
    pub(crate) fn new(title: &str, driver: Driver) -> Self {
        let topology = Arc::new(two_nodes());
        let create =
            |name: &str| Namespace::create(&format!("vrx-h-{title}-{}-{name}", std::process::id())).unwrap();
        let segment = create("net");
        segment.ip(&["link", "add", "segment", "type", "bridge", "mcast_snooping", "0"]).unwrap();
        segment.up("segment", 1500, None).unwrap();
        let directory = tempfile::Builder::new().prefix("vrx-h-").tempdir().unwrap();
        let mut pods = Vec::new();
        let mut host = |number: usize| {
            let node = &topology.nodes[number];
            let (own, pod) = (create(&node.name), create(&node.pods[0].name));
            driver.connect(&own, &segment, &node.name);
            own.up("eth0", 1500, Some(node.mac)).unwrap();
            own.veth(&node.pods[0].port, &pod, "eth0").unwrap();
            own.up(&node.pods[0].port, 1450, None).unwrap();
            pod.up("eth0", 1450, Some(node.pods[0].mac)).unwrap();
            pod.address("eth0", node.pods[0].address, 24).unwrap();
            pods.push(pod);
            Host::new(own, directory.path().join(&node.name))
        };
        let hosts = [host(0), host(1)];
        let mut nodes = Self { topology, hosts, pods, segment, _directory: directory };
        nodes.hosts[1].namespace.address("eth0", nodes.topology.nodes[1].address, 24).unwrap();
        for (host, mode) in nodes.hosts.iter_mut().zip(["vhost0", "nic"]) {
            host.configure(&format!("{title}-{mode}"), mode);
            host.start();
        }
        // The daemon has made the device.
        nodes.hosts[0].namespace.address("vhost0", nodes.topology.nodes[0].address, 24).unwrap();
        nodes
    }

    /// An agent programs a node.
    pub(crate) fn agent(&self, node: usize) -> Agent {
        Agent::start(&self.hosts[node].sockets(), &self.topology, node, PATIENCE).unwrap()
    }

    /// What an agent adds for the host's own traffic.
    pub(crate) fn underlay_routes(&self, agent: &mut Agent) {
        agent.control().apply(&program::underlay_routes(&self.topology, 0)).unwrap();
    }

    /// Takes the agent's interface away, as nobody but an administrator does.
    pub(crate) fn delete_agent_interface(agent: &mut Agent) {
        agent.control().one(Message::new("vr_interface_req").i32(1, 2).i32(6, AGENT_VIF).stop()).unwrap();
    }

    /// Pings the first node from the second.
    pub(crate) fn ping_host(&self, count: u16, interval: Duration) -> Outcome {
        let target = self.topology.nodes[0].address;
        ping(&self.hosts[1].namespace, Plan { target, count, interval }).unwrap()
    }

    /// Whether the first pod reaches the second.
    pub(crate) fn ping_pods(&self, count: u16) -> bool {
        let target = self.topology.nodes[1].pods[0].address;
        let plan = Plan { target, count, interval: Duration::from_millis(2) };
        ping(&self.pods[0], plan).unwrap().complete()
    }

    /// What the steering program of the first node reports.
    pub(crate) fn steering(&self) -> Steering {
        vr_observe::fetch(&self.hosts[0].sockets()).unwrap().steering.remove(0)
    }

    /// A counter of it.
    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.steering().counters;
        counters.iter().find(|(counter, _)| counter == name).unwrap().1
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        self.hosts.iter_mut().for_each(Host::end);
        let hosts = self.hosts.iter().map(|host| &host.namespace);
        for namespace in hosts.chain(&self.pods).chain([&self.segment]) {
            if let Err(error) = Namespace::delete(namespace.name()) {
                eprintln!("{error:#}");
            }
        }
        if std::thread::panicking() {
            for host in &self.hosts {
                eprintln!("{}", fs::read_to_string(host.log()).unwrap_or_default());
            }
        }
    }
}

impl Host {
    fn new(namespace: Namespace, directory: PathBuf) -> Self {
        let keeper = namespace.command("sleep").arg("infinity").spawn().unwrap();
        let comm = format!("/proc/{}/comm", keeper.id());
        wait_until("the keeper", || fs::read_to_string(&comm).is_ok_and(|name| name.trim() == "sleep"));
        Self { namespace, keeper, daemon: None, directory }
    }

    fn configure(&self, instance: &str, mode: &str) {
        let sockets = self.sockets();
        fs::create_dir_all(&sockets).unwrap();
        let text = format!(
            "socket_dir = \"{}\"\ninstance = \"{instance}\"\n[fabric]\ndevice = \"eth0\"\nhost = \"{mode}\"\n{}",
            sockets.display(),
            Settings::SMALL.more
        );
        fs::write(self.directory.join("vrouterd.toml"), text).unwrap();
    }

    fn sockets(&self) -> PathBuf {
        self.directory.join("sockets")
    }

    fn log(&self) -> PathBuf {
        self.directory.join("log")
    }

    /// Starts the daemon and waits until it serves.
    pub(crate) fn start(&mut self) {
        let of_keeper = |kind: &str| format!("/proc/{}/ns/{kind}", self.keeper.id());
        let log = fs::File::options().create(true).append(true).open(self.log()).unwrap();
        let mut command = Command::new("nsenter");
        command.arg(format!("--net={}", of_keeper("net"))).arg(format!("--mount={}", of_keeper("mnt")));
        command.arg(daemon_program().unwrap()).arg("--config").arg(self.directory.join("vrouterd.toml"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let daemon = self.daemon.insert(command.spawn().unwrap());
        let socket = self.directory.join("sockets/dpdk_netlink");
        let log = self.directory.join("log");
        wait_until("the control socket", || {
            let ended = daemon.try_wait().unwrap();
            assert!(ended.is_none(), "{}", fs::read_to_string(&log).unwrap_or_default());
            std::os::unix::net::UnixStream::connect(&socket).is_ok()
        });
    }

    /// Kills the daemon without notice.
    pub(crate) fn kill(&mut self) {
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
    }

    /// Stops every thread of the daemon.
    pub(crate) fn stop(&self) {
        let pid = self.signal(Signal::SIGSTOP);
        wait_until("the stop of all threads", || {
            let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
            threads.all(|thread| fs::read_to_string(thread.path().join("stat")).unwrap().contains(") T "))
        });
    }

    /// Lets it go on.
    pub(crate) fn go_on(&self) {
        self.signal(Signal::SIGCONT);
    }

    fn signal(&self, signal: Signal) -> Pid {
        let pid = Pid::from_raw(self.daemon.as_ref().unwrap().id() as i32);
        kill(pid, signal).unwrap();
        pid
    }

    fn end(&mut self) {
        for child in self.daemon.iter_mut().chain([&mut self.keeper]) {
            let _ended = child.kill().and_then(|()| child.wait());
        }
    }
}
