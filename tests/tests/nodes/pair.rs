//! Two nodes on one segment, each with a daemon, an agent and a pod.

use std::net::Ipv4Addr;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;
use std::time::Duration;

use agent_sim::program;
use agent_sim::topology::{PodId, Reach, Tunnel};
use vr_tests::daemon::Settings;
pub(crate) use vr_tests::nodes::PATIENCE;
use vr_tests::nodes::{Nodes, two_nodes};
use vr_tests::ping::{Plan, ping};

pub(crate) struct Pair(Nodes);

impl Deref for Pair {
    type Target = Nodes;

    fn deref(&self) -> &Nodes {
        &self.0
    }
}

impl DerefMut for Pair {
    fn deref_mut(&mut self) -> &mut Nodes {
        &mut self.0
    }
}

impl Pair {
    pub(crate) fn new(title: &str) -> Self {
        // The first node has one worker, the second one two, which hand packets to each other.
        let settings = |node| Settings { workers: node + 1, ..Settings::SMALL };
        Self(Nodes::start(&format!("n-{title}"), two_nodes(), settings).unwrap())
    }

    /// The address of a node's pod.
    pub(crate) fn pod_address(&self, node: usize) -> Ipv4Addr {
        self.topology.nodes[node].pods[0].address
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
        let target = self.pod_address(1);
        self.0.wait_connected(PodId { node: 0, pod: 0 }, target).unwrap();
    }

    /// Both daemons live.
    pub(crate) fn check(&mut self) {
        self.daemons.iter_mut().for_each(|daemon| daemon.check().unwrap());
    }
}
