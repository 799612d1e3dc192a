//! A service as Kubernetes has it (forwarding.md 11.10): three backends on two nodes, clients on one of these and on a
//! third node.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_sim::packet::FiveTuple;
use agent_sim::service::Service;
use agent_sim::table::{self, Entry};
use agent_sim::topology::{PodId, Topology, inet6};
use vr_tests::daemon::Settings;
use vr_tests::echo::{Greeting, Server, Session, ask};
use vr_tests::nodes::{Nodes, network, node, pod};

use crate::whole_checksums;

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const PORT: u16 = 80;
const UDP: u8 = 17;
const TARGET_PORT: u16 = 8080;
/// With three backends chosen at random, one of them gets none of so many with a probability of 3 * (2/3)^60 < 1e-10.
const CONNECTIONS: usize = 60;
/// Of each client and family, established while backends come and go.
const SESSIONS: usize = 8;
/// Time in which sessions exchange blocks, before and after a change.
const WHILE: Duration = Duration::from_millis(300);

/// All backends are elsewhere: the vrouter chooses.
const FAR_CLIENT: PodId = PodId { node: 0, pod: 0 };
/// Two backends are on its node: the agent chooses.
const NEAR_CLIENT: PodId = PodId { node: 1, pod: 0 };
const BACKENDS: [PodId; 4] = [
    PodId { node: 1, pod: 1 },
    PodId { node: 1, pod: 2 },
    PodId { node: 2, pod: 0 },
    PodId { node: 2, pod: 1 },
];

fn topology() -> Topology {
    Topology {
        networks: vec![network(0), network(1)],
        nodes: vec![
            node(1, vec![pod("far", 0, 1)]),
            node(2, vec![pod("near", 0, 2), pod("backend0", 1, 1), pod("backend1", 1, 2)]),
            node(3, vec![pod("backend2", 1, 3), pod("backend3", 1, 4)]),
        ],
        services: vec![Service {
            address: VIP,
            clients: 0,
            port: PORT,
            target_port: TARGET_PORT,
            backends: BACKENDS[..3].iter().copied().map(Some).collect(),
        }],
        inet6: true,
        ..Topology::default()
    }
}

#[derive(Clone, Copy, Debug)]
enum Family {
    Inet,
    Inet6,
}

const FAMILIES: [Family; 2] = [Family::Inet, Family::Inet6];

impl Family {
    fn socket(self, address: Ipv4Addr, port: u16) -> SocketAddr {
        match self {
            Self::Inet => (address, port).into(),
            Self::Inet6 => (inet6(address), port).into(),
        }
    }

    fn service(self) -> SocketAddr {
        self.socket(VIP, PORT)
    }
}

struct Cluster {
    nodes: Nodes,
    _servers: Vec<Server>,
}

impl Cluster {
    fn new(title: &str) -> Self {
        let workers = |node| Settings { workers: 1 + node % 2, ..Settings::SMALL };
        let nodes = Nodes::start(title, topology(), workers).unwrap();
        // Some hand out whole checksums, the others leave them to be completed.
        for id in [FAR_CLIENT, BACKENDS[0], BACKENDS[2]] {
            whole_checksums(nodes.pod(id), "eth0");
        }
        let server = |(id, family): (PodId, Family)| {
            let pod = nodes.topology.pod(id);
            Server::start(nodes.pod(id), &pod.name, family.socket(pod.address, TARGET_PORT)).unwrap()
        };
        let both = BACKENDS.into_iter().flat_map(|id| FAMILIES.map(|family| (id, family)));
        let servers = both.map(server).collect();
        Self { nodes, _servers: servers }
    }

    /// Puts pods behind the service, on all nodes.
    fn set_backends(&mut self, backends: &[Option<PodId>]) {
        let mut topology = Topology::clone(&self.nodes.topology);
        topology.services[0].backends = backends.to_vec();
        let topology = Arc::new(topology);
        self.nodes.agents.iter_mut().for_each(|agent| agent.change_services(&topology).unwrap());
        self.nodes.topology = topology;
    }

    fn connect(&self, client: PodId, family: Family) -> Session {
        Session::open(self.nodes.pod(client), family.service()).unwrap()
    }

    /// Makes some new connections and sends as many datagrams; every backend sees the client itself.
    fn spread(&self, client: PodId, family: Family) -> Spread {
        let mut counts = BTreeMap::<String, [usize; 2]>::new();
        let mut asked_from = BTreeSet::new();
        let address = self.nodes.topology.pod(client).address;
        let mut count = |greeting: &Greeting, kind: usize| {
            assert_eq!(greeting.seen, family.socket(address, greeting.own.port()), "{greeting:?}");
            counts.entry(greeting.server.clone()).or_default()[kind] += 1;
        };
        for _ in 0..CONNECTIONS {
            let mut session = self.connect(client, family);
            session.exchange(&[7; 3000]).unwrap();
            count(&session.greeting, 0);
            let answer = ask(self.nodes.pod(client), family.service()).unwrap();
            asked_from.insert(answer.own.port());
            count(&answer, 1);
        }
        println!("{} {family:?}: sessions and datagrams {counts:?}", self.nodes.topology.pod(client).name);
        Spread { counts, datagram_flows: asked_from.len() }
    }
}

/// Where connections and datagrams of a client went.
struct Spread {
    /// How many of each each backend got.
    counts: BTreeMap<String, [usize; 2]>,
    /// Flows of the datagrams: now and then the kernel gives a socket the port of an earlier one.
    datagram_flows: usize,
}

impl Spread {
    /// Names of backends that got something of each kind.
    fn chosen(&self) -> Vec<&str> {
        let of_both = self.counts.iter().filter(|(_, count)| count[0] > 0 && count[1] > 0);
        of_both.map(|(name, _)| name.as_str()).collect()
    }
}

#[test]
fn each_backend_is_chosen_and_sees_the_client() {
    let mut cluster = Cluster::new("svc");
    let mut far_flows = 0;
    for (client, family) in clients() {
        let spread = cluster.spread(client, family);
        assert_eq!(spread.chosen(), ["backend0", "backend1", "backend2"]);
        far_flows += if client == FAR_CLIENT { spread.datagram_flows } else { 0 };
    }
    chosen_by_the_vrouter(&cluster, far_flows);
    let other_port = FAMILIES.map(|family| family.socket(VIP, PORT + 1));
    for address in other_port {
        let connect = || TcpStream::connect_timeout(&address, WHILE);
        assert!(cluster.nodes.pod(FAR_CLIENT).run(connect).unwrap().is_err(), "the service has no such port");
    }
    cluster.nodes.check().unwrap();
}

/// The agent has left the member open; the first packet's choice stands in the entry. Of the datagrams' entries: those
/// of closed connections are evicted, sooner or later.
fn chosen_by_the_vrouter(cluster: &Cluster, datagram_flows: usize) {
    let entries = table::entries(&cluster.nodes.sockets(FAR_CLIENT.node)).unwrap();
    let to_service = |entry: &&Entry| {
        let FiveTuple { protocol, destination, destination_port, .. } = entry.tuple;
        protocol == UDP && destination == VIP && destination_port == PORT.to_be_bytes()
    };
    let members: Vec<i8> = entries.iter().filter(to_service).map(|entry| entry.member).collect();
    assert_eq!(members.len(), datagram_flows);
    assert!(members.iter().all(|member| (0..3).contains(member)), "{members:?}");
}

fn clients() -> impl Iterator<Item = (PodId, Family)> {
    [FAR_CLIENT, NEAR_CLIENT].into_iter().flat_map(|client| FAMILIES.map(|family| (client, family)))
}

#[test]
fn sessions_stick_to_their_backend_while_others_come_and_go() {
    let mut cluster = Cluster::new("stick");
    let connect = |(client, family)| cluster.connect(client, family);
    let mut sessions: Vec<Session> =
        clients().flat_map(|client| std::iter::repeat_n(client, SESSIONS)).map(connect).collect();
    let leaves = BACKENDS[0];
    let leaving = &cluster.nodes.topology.pod(leaves).name;
    // Nobody promises anything to the sessions of the one that leaves.
    sessions.retain(|session| session.greeting.server != *leaving);
    assert!(sessions.len() >= SESSIONS, "{} sessions", sessions.len());
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        let running: Vec<_> = sessions
            .iter_mut()
            .map(|session| {
                scope.spawn(move || {
                    let name = session.greeting.server.clone();
                    session.exchange_until(stop).map_err(|error| format!("{name}: {error:#}"))
                })
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            std::thread::sleep(WHILE);
            cluster.set_backends(&BACKENDS.map(Some));
            for (client, family) in clients() {
                let spread = cluster.spread(client, family);
                assert_eq!(spread.chosen(), ["backend0", "backend1", "backend2", "backend3"]);
            }
            let mut left = BACKENDS.map(Some);
            left[0] = None;
            cluster.set_backends(&left);
            for (client, family) in clients() {
                let spread = cluster.spread(client, family);
                assert_eq!(spread.chosen(), ["backend1", "backend2", "backend3"]);
            }
            std::thread::sleep(WHILE);
        }));
        stop.store(true, Ordering::Relaxed);
        let rounds: Vec<usize> = running.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
        println!("{} sessions went on, {} blocks", rounds.len(), rounds.iter().sum::<usize>());
        outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    cluster.nodes.check().unwrap();
}
