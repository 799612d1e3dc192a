//! Two nodes on one segment, each with a daemon, an agent and a pod.

use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_sim::topology::{Network, Node, Pod, Reach, Topology, Tunnel};
use agent_sim::{Agent, program};
use tempfile::TempDir;
use vr_tests::daemon::{Daemon, Place};
use vr_tests::netns::Namespace;
use vr_tests::ping::{Plan, ping};

/// How long anything may take on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Small tables and few buffers start quickly.
const SIZES: &str = "[tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 65536\n\
                     flow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
                     [buffers]\npackets = 4096\nsuper_frames = 64\n";

pub(crate) struct Pair {
    pub(crate) topology: Arc<Topology>,
    // Agents end before the daemons that they talk to.
    pub(crate) agents: Vec<Agent>,
    pub(crate) daemons: Vec<Daemon>,
    places: Vec<Place>,
    /// Where the underlay's frames pass.
    pub(crate) segment: Namespace,
    pub(crate) pods: Vec<Namespace>,
    namespaces: Vec<Namespace>,
    directory: TempDir,
}

fn topology() -> Topology {
    let node = |number: u8| Node {
        name: format!("node{number}"),
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [2, 0, 0, 0, 1, number],
        pods: vec![Pod {
            name: format!("pod{number}"),
            port: "pod".to_owned(),
            network: 0,
            address: Ipv4Addr::new(10, 1, 0, 10 + number),
            mac: [2, 0, 0, 1, 0, number],
        }],
        gateway: None,
    };
    Topology {
        networks: vec![Network {
            name: "net".to_owned(),
            vni: 5001,
            subnet: Ipv4Addr::new(10, 1, 0, 0),
            length: 24,
            router: Ipv4Addr::new(10, 1, 0, 1),
        }],
        nodes: vec![node(1), node(2)],
        ..Topology::default()
    }
}

/// `vrouterd` is built two folders above the test programs.
fn daemon_program() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    let program = own.parent().and_then(|deps| deps.parent()).unwrap().join("vrouterd");
    assert!(program.is_file(), "{} is missing; build it with `cargo build -p vrouterd`", program.display());
    program
}

impl Pair {
    pub(crate) fn new(title: &str) -> Self {
        let topology = Arc::new(topology());
        let mut namespaces = Vec::new();
        let mut create = |name: &str| {
            let namespace =
                Namespace::create(&format!("vrx-n-{title}-{}-{name}", std::process::id())).unwrap();
            namespaces.push(namespace.clone());
            namespace
        };
        let segment = create("net");
        segment.ip(&["link", "add", "segment", "type", "bridge", "mcast_snooping", "0"]).unwrap();
        segment.up("segment", 1500, None).unwrap();
        let directory = tempfile::Builder::new().prefix("vrx-n-").tempdir().unwrap();
        let (mut places, mut pods) = (Vec::new(), Vec::new());
        for node in &topology.nodes {
            let (own, pod) = (create(&node.name), create(&node.pods[0].name));
            own.veth("eth0", &segment, &node.name).unwrap();
            segment.ip(&["link", "set", &node.name, "master", "segment"]).unwrap();
            segment.up(&node.name, 1500, None).unwrap();
            own.up("eth0", 1500, Some(node.mac)).unwrap();
            address(&own, node.address);
            own.veth("pod", &pod, "eth0").unwrap();
            own.up("pod", 1450, None).unwrap();
            pod.up("eth0", 1450, Some(node.pods[0].mac)).unwrap();
            address(&pod, node.pods[0].address);
            pod.ip(&["route", "add", "default", "via", &topology.networks[0].router.to_string()]).unwrap();
            places.push(Place {
                program: daemon_program(),
                namespace: own,
                directory: directory.path().join(&node.name),
            });
            pods.push(pod);
        }
        let mut pair = Self {
            topology,
            agents: Vec::new(),
            daemons: Vec::new(),
            places,
            segment,
            pods,
            namespaces,
            directory,
        };
        for node in 0..2 {
            pair.start(node);
        }
        pair
    }

    fn start(&mut self, node: usize) {
        let place = &self.places[node];
        place.configure(&format!("pair-{node}"), "eth0").unwrap();
        let file = place.directory.join("vrouterd.toml");
        // The first node has one worker, the second one two, which hand packets to each other.
        let text = fs::read_to_string(&file).unwrap().replace("count = 1", &format!("count = {}", node + 1));
        assert!(text.contains(&format!("count = {}", node + 1)));
        fs::write(&file, text + SIZES).unwrap();
        let mut daemon = place.start().unwrap();
        daemon.wait_ready(&place.sockets(), PATIENCE).unwrap();
        self.daemons.push(daemon);
        self.agents.push(Agent::start(&place.sockets(), &self.topology, node, PATIENCE).unwrap());
    }

    /// The address of a node's pod.
    pub(crate) fn pod_address(&self, node: usize) -> Ipv4Addr {
        self.topology.nodes[node].pods[0].address
    }

    pub(crate) fn sockets(&self, node: usize) -> PathBuf {
        self.places[node].sockets()
    }

    /// A folder for files.
    pub(crate) fn directory(&self) -> &std::path::Path {
        self.directory.path()
    }

    /// Changes how the pods reach each other; they ask for MAC addresses anew.
    pub(crate) fn use_way(&mut self, tunnel: Tunnel, reach: Reach) {
        let topology = Arc::clone(&self.topology);
        for (own, peer) in [(0, 1), (1, 0)] {
            let routes = [
                program::remote_bridge_route(&topology, peer, 0, tunnel),
                program::remote_inet_route(&topology, peer, 0, tunnel, reach),
            ];
            self.agents[own].control().apply(&routes).unwrap();
            self.pods[own].ip(&["neigh", "flush", "dev", "eth0"]).unwrap();
        }
    }

    /// Whether every one of so many pings from the first pod to the second is answered.
    pub(crate) fn pings(&self, count: u16) -> bool {
        let plan = Plan { target: self.pod_address(1), count, interval: Duration::from_millis(2) };
        ping(&self.pods[0], plan).unwrap().complete()
    }

    /// Waits until the pods reach each other.
    pub(crate) fn wait_connected(&mut self) {
        let start = Instant::now();
        while !self.pings(1) {
            self.check();
            assert!(start.elapsed() < PATIENCE, "the pods do not reach each other: {:?}", self.errors());
        }
    }

    /// Both daemons live.
    pub(crate) fn check(&mut self) {
        self.daemons.iter_mut().for_each(|daemon| daemon.check().unwrap());
    }

    fn errors(&self) -> Vec<String> {
        self.agents.iter().flat_map(Agent::errors).collect()
    }
}

fn address(namespace: &Namespace, address: Ipv4Addr) {
    namespace.ip(&["address", "add", &format!("{address}/24"), "dev", "eth0"]).unwrap();
}

impl Drop for Pair {
    fn drop(&mut self) {
        self.agents.clear();
        self.daemons.clear();
        for namespace in &self.namespaces {
            if let Err(error) = Namespace::delete(namespace.name()) {
                eprintln!("{error:#}");
            }
        }
    }
}
