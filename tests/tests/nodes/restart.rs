//! The agent of a node restarts gracefully: pods notice nothing, or next to nothing when it numbers them anew.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_sim::topology::{PodId, Topology};
use vr_tests::daemon::Settings;
use vr_tests::echo::{Server, Session};
use vr_tests::netns::Namespace;
use vr_tests::nodes::{Nodes, network, node, pod, wait_until};
use vr_tests::ping::{Outcome, Plan, ping};

const GRACEFUL: &str = "[agent]\ngraceful_restart = true\nrestart_quiet = 2\n\
                        [tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 65536\n\
                        flow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
                        [buffers]\npackets = 4096\nsuper_frames = 128\n";
const PORT: u16 = 7000;
/// The node whose agent restarts; it has the first three pods.
const OWN: usize = 0;
const CLIENT: PodId = PodId { node: OWN, pod: 0 };
const NEIGHBOUR: PodId = PodId { node: OWN, pod: 1 };
const REMOTE: PodId = PodId { node: 1, pod: 0 };
/// Between two parts of what the agent programs.
const PAUSE: Duration = Duration::from_secs(1);
/// So long there are pings, one each millisecond: longer than the agent takes.
const SECONDS: u16 = 10;

/// Two pods of one network and one of another on the first node, a pod on the second one.
fn topology() -> Topology {
    Topology {
        networks: vec![network(0), network(1)],
        nodes: vec![
            node(1, vec![pod("client", 0, 1), pod("neighbour", 0, 2), pod("other", 1, 3)]),
            node(2, vec![pod("remote", 0, 4)]),
        ],
        ..Topology::default()
    }
}

/// The same with other numbers of interfaces, nexthops, labels and VRFs on the first node.
fn renumbered() -> Topology {
    let mut topology = topology();
    topology.networks.reverse();
    for pod in topology.nodes.iter_mut().flat_map(|node| &mut node.pods) {
        pod.network = 1 - pod.network;
    }
    topology.nodes[OWN].pods.rotate_left(1);
    topology
}

struct Cluster {
    nodes: Nodes,
    _servers: Vec<Server>,
}

impl Cluster {
    fn new(title: &str) -> Self {
        // Two workers, which hand packets to each other.
        let settings = |_| Settings { workers: 2, more: GRACEFUL, ..Settings::SMALL };
        let mut nodes = Nodes::start(&format!("r-{title}"), topology(), settings).unwrap();
        let servers = [NEIGHBOUR, REMOTE].map(|id| {
            nodes.wait_connected(CLIENT, nodes.topology.pod(id).address).unwrap();
            Server::start(nodes.pod(id), "server", Self::of(&nodes, id)).unwrap()
        });
        Self { nodes, _servers: servers.into() }
    }

    fn of(nodes: &Nodes, id: PodId) -> SocketAddr {
        (nodes.topology.pod(id).address, PORT).into()
    }

    /// The agent restarts while there are pings and TCP sessions from the client to these pods. What became of the
    /// pings.
    fn restart(&mut self, agents_picture: Topology, targets: &[PodId]) -> Vec<Outcome> {
        let client = self.nodes.pod(CLIENT).clone();
        let stop = AtomicBool::new(false);
        let addresses: Vec<SocketAddr> = targets.iter().map(|id| Self::of(&self.nodes, *id)).collect();
        let sessions: Vec<Session> =
            addresses.iter().map(|address| Session::open(&client, *address).unwrap()).collect();
        std::thread::scope(|scope| {
            let ended = EndSessions(&stop);
            let sessions: Vec<_> = sessions
                .into_iter()
                .map(|session| {
                    scope.spawn(|| {
                        let mut own = session;
                        own.exchange_until(&stop)
                    })
                })
                .collect();
            let pings: Vec<_> = addresses
                .iter()
                .map(|address| {
                    let SocketAddr::V4(address) = address else { panic!("not IPv4") };
                    let (target, client) = (*address.ip(), client.clone());
                    let plan = Plan { target, count: SECONDS * 1000, interval: Duration::from_millis(1) };
                    scope.spawn(move || ping(&client, plan).unwrap())
                })
                .collect();
            std::thread::sleep(Duration::from_millis(500));
            self.nodes.restart_agent(OWN, &Arc::new(agents_picture), PAUSE).unwrap();
            assert!(!self.is_over(), "the agent has just fallen silent");
            wait_until("the switch", || self.is_over());
            let outcomes = pings.into_iter().map(|ping| ping.join().unwrap()).collect();
            drop(ended);
            for session in sessions {
                assert!(session.join().unwrap().unwrap() > 1000, "exchanges of a session");
            }
            outcomes
        })
    }

    fn is_over(&self) -> bool {
        self.nodes.log(OWN).contains("what the restarted agent has programmed is in force")
    }

    /// New connections are made, by flows that the new agent has decided about.
    fn serves_new_connections(&mut self, targets: &[PodId]) {
        for id in targets {
            let mut session = Session::open(self.nodes.pod(CLIENT), Self::of(&self.nodes, *id)).unwrap();
            session.exchange(b"hello").unwrap();
        }
        self.nodes.check().unwrap();
    }
}

/// Ends sessions, also when the test fails meanwhile.
struct EndSessions<'a>(&'a AtomicBool);

impl Drop for EndSessions<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Packets that a pod has received.
fn received(pod: &Namespace) -> u64 {
    let text = pod.run(|| std::fs::read_to_string("/proc/thread-self/net/dev")).unwrap().unwrap();
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn established_traffic_loses_nothing() {
    let mut cluster = Cluster::new("same");
    let targets = [NEIGHBOUR, REMOTE];
    for outcome in cluster.restart(topology(), &targets) {
        assert!(outcome.complete(), "{} of {} lost: {:?}", outcome.lost.len(), outcome.sent, outcome.lost);
    }
    let decisions = cluster.nodes.agents[OWN].decisions();
    assert!(decisions.len() >= 4, "the agent has learnt the flows anew: {decisions:?}");
    cluster.serves_new_connections(&targets);
}

#[test]
fn an_agent_that_numbers_anew_is_hardly_noticed_and_leads_nobody_astray() {
    let mut cluster = Cluster::new("other");
    let other = cluster.nodes.pod(PodId { node: OWN, pod: 2 }).clone();
    let before = received(&other);
    let outcomes = cluster.restart(renumbered(), &[NEIGHBOUR]);
    eprintln!("lost: {:?} of {}", outcomes[0].lost, outcomes[0].sent);
    assert!(outcomes[0].lost.len() <= 30, "lost: {:?}", outcomes[0].lost);
    assert_eq!(received(&other), before, "packets of one network came to the other");
    cluster.serves_new_connections(&[NEIGHBOUR]);
}
