//! Nodes on one underlay segment, each with a daemon, an agent and pods, in namespaces of their own.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_sim::Agent;
use agent_sim::topology::{Network, Node, Pod, PodId, Topology, inet6};
use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::daemon::{Daemon, Place, Settings};
use crate::netns::Namespace;
use crate::ping::{Plan, ping};

/// How long anything may take on a slow day.
pub const PATIENCE: Duration = Duration::from_secs(20);
const UNDERLAY_MTU: u32 = 1500;
const POD_MTU: u32 = 1450;

/// Everything that runs. It is removed when this is dropped.
#[derive(Debug)]
pub struct Nodes {
    /// Who is where.
    pub topology: Arc<Topology>,
    // Agents end before the daemons that they talk to.
    /// The agent of each node.
    pub agents: Vec<Agent>,
    /// The daemon of each node.
    pub daemons: Vec<Daemon>,
    /// Where the underlay's frames pass.
    pub segment: Namespace,
    /// The namespace of each node.
    pub hosts: Vec<Namespace>,
    /// The pods of the first node, of the second one, and so on.
    pub pods: Vec<Namespace>,
    places: Vec<Place>,
    prefix: String,
    namespaces: Vec<Namespace>,
    directory: TempDir,
}

impl Nodes {
    /// Makes the namespaces, whose names begin with `vrx-` and the title, starts the daemons and programs them.
    pub fn start(title: &str, topology: Topology, settings: impl Fn(usize) -> Settings) -> Result<Self> {
        let prefix = format!("vrx-{title}-{}-", std::process::id());
        let segment = Namespace::create(&format!("{prefix}net"))?;
        let mut nodes = Self {
            topology: Arc::new(topology),
            agents: Vec::new(),
            daemons: Vec::new(),
            segment: segment.clone(),
            hosts: Vec::new(),
            pods: Vec::new(),
            places: Vec::new(),
            prefix,
            namespaces: vec![segment],
            directory: tempfile::Builder::new().prefix("vrx-").tempdir_in("/dev/shm")?,
        };
        nodes.segment.ip(&["link", "add", "segment", "type", "bridge", "mcast_snooping", "0"])?;
        nodes.segment.up("segment", UNDERLAY_MTU, None)?;
        for number in 0..nodes.topology.nodes.len() {
            nodes.add_node(number, &settings(number))?;
        }
        Ok(nodes)
    }

    fn add_node(&mut self, number: usize, settings: &Settings) -> Result<()> {
        let topology = Arc::clone(&self.topology);
        let node = &topology.nodes[number];
        let own = self.create(&node.name)?;
        own.veth(&node.device, &self.segment, &node.name)?;
        self.segment.ip(&["link", "set", &node.name, "master", "segment"])?;
        self.segment.up(&node.name, UNDERLAY_MTU, None)?;
        own.up(&node.device, UNDERLAY_MTU, Some(node.mac))?;
        for pod in &node.pods {
            let namespace = self.create(&pod.name)?;
            own.veth(&pod.port, &namespace, "eth0")?;
            own.up(&pod.port, POD_MTU, None)?;
            let network = &topology.networks[pod.network];
            namespace.up("eth0", POD_MTU, Some(pod.mac))?;
            namespace.address("eth0", pod.address, network.length)?;
            namespace.ip(&["route", "add", "default", "via", &network.router.to_string()])?;
            if topology.inet6 {
                add_inet6(&namespace, pod.address, network)?;
            }
            self.pods.push(namespace);
        }
        let place = Place {
            program: daemon_program()?,
            namespace: own.clone(),
            directory: self.directory.path().join(&node.name),
        };
        place.configure(&format!("{}{}", self.prefix, node.name), &node.device, settings)?;
        let mut daemon = place.start()?;
        daemon.wait_ready(&place.sockets(), PATIENCE)?;
        self.daemons.push(daemon);
        // The daemon has made vhost0.
        let of_host = if settings.host == "nic" { &node.device } else { settings.host };
        own.address(of_host, node.address, 24)?;
        self.agents.push(Agent::start(&place.sockets(), &topology, number, PATIENCE)?);
        self.hosts.push(own);
        self.places.push(place);
        Ok(())
    }

    /// The agent of a node ends, and another one programs the node by a picture, which may number everything in another
    /// way, with a pause after each part.
    pub fn restart_agent(&mut self, node: usize, topology: &Arc<Topology>, pause: Duration) -> Result<()> {
        drop(self.agents.remove(node));
        let agent = Agent::start_slowly(&self.sockets(node), topology, node, PATIENCE, pause)?;
        self.agents.insert(node, agent);
        Ok(())
    }

    /// The log of a node's daemon.
    pub fn log(&self, node: usize) -> String {
        std::fs::read_to_string(self.places[node].log()).unwrap_or_default()
    }

    /// Another namespace, removed with the others.
    pub fn create(&mut self, name: &str) -> Result<Namespace> {
        let namespace = Namespace::create(&format!("{}{name}", self.prefix))?;
        self.namespaces.push(namespace.clone());
        Ok(namespace)
    }

    /// The namespace of a pod.
    pub fn pod(&self, id: PodId) -> &Namespace {
        let before: usize = self.topology.nodes[..id.node].iter().map(|node| node.pods.len()).sum();
        &self.pods[before + id.pod]
    }

    /// The directory of a node's sockets.
    pub fn sockets(&self, node: usize) -> PathBuf {
        self.places[node].sockets()
    }

    /// A folder for files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Fails if a daemon has ended, or an agent could not set a flow.
    pub fn check(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)?;
        let errors: Vec<_> = self.agents.iter().flat_map(Agent::errors).collect();
        ensure!(errors.is_empty(), "{}", errors.join("; "));
        Ok(())
    }

    /// Waits until a pod reaches an address.
    pub fn wait_connected(&mut self, from: PodId, target: Ipv4Addr) -> Result<()> {
        let plan = Plan { target, count: 1, interval: Duration::from_millis(2) };
        let start = Instant::now();
        while !ping(self.pod(from), plan)?.complete() {
            self.check()?;
            ensure!(start.elapsed() < PATIENCE, "{from:?} does not reach {target}");
        }
        Ok(())
    }
}

fn add_inet6(pod: &Namespace, address: Ipv4Addr, network: &Network) -> Result<()> {
    pod.sysctl("net/ipv6/conf/eth0/disable_ipv6", "0")?;
    let own = format!("{}/{}", inet6(address), 96 + network.length);
    pod.ip(&["address", "add", &own, "dev", "eth0", "nodad"])?;
    pod.ip(&["-6", "route", "add", "default", "via", &inet6(network.router).to_string(), "dev", "eth0"])?;
    Ok(())
}

impl Drop for Nodes {
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

/// One network with a pod on each of two nodes.
pub fn two_nodes() -> Topology {
    Topology {
        networks: vec![network(0)],
        nodes: (1..=2).map(|number| node(number, vec![pod(&format!("pod{number}"), 0, number)])).collect(),
        ..Topology::default()
    }
}

/// The network with this index: 10.1.0.0/24 and so on.
pub fn network(index: u8) -> Network {
    Network {
        name: format!("net{index}"),
        vni: 5001 + i32::from(index),
        subnet: Ipv4Addr::new(10, index + 1, 0, 0),
        length: 24,
        router: Ipv4Addr::new(10, index + 1, 0, 1),
    }
}

/// The node with this number, from 1 on: 172.30.0.1 and so on.
pub fn node(number: u8, pods: Vec<Pod>) -> Node {
    Node {
        name: format!("node{number}"),
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [2, 0, 0, 0, 1, number],
        pods,
        gateway: None,
    }
}

/// A pod of a network, with a number from 1 on: 10.1.0.11 and so on. Its port has its name.
pub fn pod(name: &str, network: u8, number: u8) -> Pod {
    Pod {
        name: name.to_owned(),
        port: name.to_owned(),
        network: network.into(),
        address: Ipv4Addr::new(10, network + 1, 0, 10 + number),
        mac: [2, 0, 0, 1, network, number],
    }
}

/// `vrouterd`, which is built two folders above the test programs.
pub fn daemon_program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let folder = own.parent().and_then(Path::parent).context("no folder above")?;
    let program = folder.join("vrouterd");
    ensure!(program.is_file(), "{} is missing; build it with `cargo build -p vrouterd`", program.display());
    Ok(program)
}

/// Waits for something.
///
/// # Panics
///
/// When it does not come.
pub fn wait_until(what: &str, mut happened: impl FnMut() -> bool) {
    let start = Instant::now();
    while !happened() {
        assert!(start.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(10));
    }
}
