//! Builds the cluster: namespaces, daemons and agents.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_sim::topology::{Pod, Reach, Topology, Tunnel};
use agent_sim::{Agent, program};
use anyhow::{Context, Result, ensure};
use vr_tests::daemon::{Daemon, Place, Settings};
use vr_tests::netns::Namespace;

use crate::layout::{
    self, DIRECTORY, GATEWAY, NODE1, NODE2, OUTSIDE_DEVICE, OUTSIDE_HOST, OUTSIDE_ROUTER, POD_MTU, PREFIX,
    UNDERLAY_MTU,
};

/// How long a daemon may take until it serves.
const PATIENCE: Duration = Duration::from_secs(20);

/// Everything that runs.
pub(crate) struct Cluster {
    pub(crate) topology: Arc<Topology>,
    // Agents end before the daemons that they talk to.
    agents: Vec<Agent>,
    daemons: Vec<Daemon>,
    places: Vec<Place>,
}

impl Cluster {
    /// Makes the namespaces, starts the daemons and programs them.
    pub(crate) fn build() -> Result<Self> {
        let topology = Arc::new(layout::topology());
        println!("Making namespaces {PREFIX}* ...");
        underlay(&topology)?;
        pods(&topology)?;
        outside()?;
        let mut cluster = Self { topology, agents: Vec::new(), daemons: Vec::new(), places: Vec::new() };
        for node in 0..cluster.topology.nodes.len() {
            let entry = &cluster.topology.nodes[node];
            println!("Starting vrouterd on {} and programming it ...", entry.name);
            let place = Place {
                program: daemon_program()?,
                namespace: namespace(&entry.name),
                directory: Path::new(DIRECTORY).join(&entry.name),
            };
            place.configure(&format!("demo-{}", entry.name), &entry.device, &Settings::DEFAULT)?;
            cluster.places.push(place);
            let (daemon, agent) = cluster.bring_up(node)?;
            cluster.daemons.push(daemon);
            cluster.agents.push(agent);
        }
        cluster.finish_gateway()?;
        Ok(cluster)
    }

    fn bring_up(&self, node: usize) -> Result<(Daemon, Agent)> {
        let place = &self.places[node];
        let mut daemon = place.start()?;
        daemon.wait_ready(&place.sockets(), PATIENCE)?;
        let agent = Agent::start(&place.sockets(), &self.topology, node, PATIENCE);
        daemon.check()?;
        Ok((daemon, agent.with_context(|| format!("programming {}", self.topology.nodes[node].name))?))
    }

    /// Kills the daemon of a node without notice.
    pub(crate) fn kill(&mut self, node: usize) -> Result<()> {
        self.daemons[node].kill()
    }

    /// Starts a killed daemon and its agent again.
    pub(crate) fn restart(&mut self, node: usize) -> Result<()> {
        let (daemon, agent) = self.bring_up(node)?;
        self.daemons[node] = daemon;
        self.agents[node] = agent;
        Ok(())
    }

    /// The agent of a node.
    pub(crate) fn agent(&mut self, node: usize) -> &mut Agent {
        &mut self.agents[node]
    }

    /// What each daemon reports about itself.
    pub(crate) fn status(&self) -> Vec<(&str, Result<vr_observe::Report>)> {
        let names = self.topology.nodes.iter().map(|node| node.name.as_str());
        let fetch = |place: &Place| vr_observe::fetch(&place.sockets()).map_err(Into::into);
        names.zip(self.places.iter().map(fetch)).collect()
    }

    /// What went wrong in the agents.
    pub(crate) fn agent_errors(&self) -> Vec<String> {
        self.agents.iter().flat_map(Agent::errors).collect()
    }

    /// Fails if a daemon has ended.
    pub(crate) fn check_daemons(&mut self) -> Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// Changes the tunnel between the first two nodes with one bridge-route ADD per direction and pod.
    pub(crate) fn use_tunnel(&mut self, tunnel: Tunnel) -> Result<()> {
        let topology = Arc::clone(&self.topology);
        for (own, peer) in [(NODE1, NODE2), (NODE2, NODE1)] {
            let routes = |pod| program::remote_bridge_route(&topology, peer, pod, tunnel);
            let messages: Vec<_> = (0..topology.nodes[peer].pods.len()).map(routes).collect();
            self.agents[own].control().apply(&messages)?;
        }
        Ok(())
    }

    /// Changes how the pods of the first two nodes reach each other; they ask for MAC addresses anew.
    pub(crate) fn use_reach(&mut self, tunnel: Tunnel, reach: Reach) -> Result<()> {
        let topology = Arc::clone(&self.topology);
        for (own, peer) in [(NODE1, NODE2), (NODE2, NODE1)] {
            let routes = |pod| program::remote_inet_route(&topology, peer, pod, tunnel, reach);
            let messages: Vec<_> = (0..topology.nodes[peer].pods.len()).map(routes).collect();
            self.agents[own].control().apply(&messages)?;
            for pod in &topology.nodes[own].pods {
                namespace(&pod.name).ip(&["neigh", "flush", "dev", "eth0"])?;
            }
        }
        Ok(())
    }

    /// A pod by its name.
    pub(crate) fn pod(&self, name: &str) -> Result<Pod> {
        let mut pods = self.topology.nodes.iter().flat_map(|node| &node.pods);
        pods.find(|pod| pod.name == name).cloned().with_context(|| format!("no pod {name}"))
    }

    /// Gives the kernel of the gateway its side of the vrouter's device.
    fn finish_gateway(&self) -> Result<()> {
        let (gw, blue) = (namespace("gw"), &self.topology.networks[0]);
        let port = &self.topology.nodes[GATEWAY].gateway.as_ref().context("no gateway")?.port;
        let deadline = Instant::now() + Duration::from_secs(5);
        while gw.ip(&["link", "show", port]).is_err() {
            ensure!(Instant::now() < deadline, "vrouterd has not made the device {port}");
            std::thread::sleep(Duration::from_millis(50));
        }
        gw.sysctl("net/ipv4/ip_forward", "1")?;
        for scope in ["all", "default", port] {
            gw.sysctl(&format!("net/ipv4/conf/{scope}/rp_filter"), "0")?;
        }
        gw.up(port, POD_MTU, None)?;
        gw.ip(&["route", "add", &format!("{}/{}", blue.subnet, blue.length), "dev", port])?;
        Ok(())
    }
}

/// The namespace of a node, a pod or another place.
pub(crate) fn namespace(name: &str) -> Namespace {
    Namespace::existing(&format!("{PREFIX}{name}"))
}

fn create(name: &str) -> Result<Namespace> {
    Namespace::create(&format!("{PREFIX}{name}"))
}

fn underlay(topology: &Topology) -> Result<()> {
    let segment = create("net")?;
    segment.ip(&["link", "add", "segment", "type", "bridge"])?;
    segment.up("segment", UNDERLAY_MTU, None)?;
    for node in &topology.nodes {
        let own = create(&node.name)?;
        own.veth(&node.device, &segment, &node.name)?;
        segment.ip(&["link", "set", &node.name, "master", "segment"])?;
        segment.up(&node.name, UNDERLAY_MTU, None)?;
        own.up(&node.device, UNDERLAY_MTU, Some(node.mac))?;
        own.address(&node.device, node.address, 24)?;
    }
    Ok(())
}

fn pods(topology: &Topology) -> Result<()> {
    for node in &topology.nodes {
        let host = namespace(&node.name);
        for pod in &node.pods {
            let own = create(&pod.name)?;
            own.veth("eth0", &host, &pod.port)?;
            host.up(&pod.port, POD_MTU, None)?;
            own.up("eth0", POD_MTU, Some(pod.mac))?;
            own.address("eth0", pod.address, 24)?;
            let router = topology.networks[pod.network].router.to_string();
            own.ip(&["route", "add", "default", "via", &router])?;
        }
    }
    Ok(())
}

fn outside() -> Result<()> {
    let (gw, outside) = (namespace("gw"), create("ext")?);
    gw.veth(OUTSIDE_DEVICE, &outside, "eth0")?;
    gw.up(OUTSIDE_DEVICE, UNDERLAY_MTU, None)?;
    outside.up("eth0", UNDERLAY_MTU, None)?;
    gw.address(OUTSIDE_DEVICE, OUTSIDE_ROUTER, 24)?;
    outside.address("eth0", OUTSIDE_HOST, 24)?;
    outside.ip(&["route", "add", "default", "via", &OUTSIDE_ROUTER.to_string()])?;
    Ok(())
}

/// `vrouterd` is built next to this program.
fn daemon_program() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let program = own.with_file_name("vrouterd");
    ensure!(program.is_file(), "{} is missing; `cargo xtask demo` builds it", program.display());
    Ok(program)
}
