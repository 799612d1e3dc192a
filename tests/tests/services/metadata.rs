//! Services at link-local addresses, of the host and of another one, and the host's own way to a pod (forwarding.md
//! 11.8): addresses and ports of both ends are translated. The hosts' addresses are on vhost0.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

use agent_sim::program;
use agent_sim::service::{LinkLocal, Target, metadata_address};
use agent_sim::topology::PodId;
use vr_tests::daemon::Settings;
use vr_tests::echo::{Server, Session, ask};
use vr_tests::nodes::{Nodes, two_nodes};
use vr_tests::ping::{Plan, arriving_ttls, ping};

const METADATA: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 254), 80);
const ELSEWHERE: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(169, 254, 169, 253), 53);
const ELSEWHERE_PORT: u16 = 5353;
const HOST_PORT: u16 = 8097;
const POD_PORT: u16 = 9000;
const POD: PodId = PodId { node: 0, pod: 0 };
const BLOCKS: usize = 32;

fn nodes(title: &str) -> Nodes {
    let mut topology = two_nodes();
    let target = Target::Host(HOST_PORT);
    topology.link_local.push(LinkLocal { address: *METADATA.ip(), port: METADATA.port(), target });
    let target = Target::Underlay(SocketAddrV4::new(topology.nodes[1].address, ELSEWHERE_PORT));
    topology.link_local.push(LinkLocal { address: *ELSEWHERE.ip(), port: ELSEWHERE.port(), target });
    let mut nodes =
        Nodes::start(title, topology, |_| Settings { host: "vhost0", ..Settings::SMALL }).unwrap();
    for (own, agent) in nodes.agents.iter_mut().enumerate() {
        agent.control().apply(&program::underlay_routes(&nodes.topology, own)).unwrap();
    }
    nodes
}

fn block() -> Vec<u8> {
    (0..64 * 1024_u32).map(|number| (number % 251) as u8).collect()
}

#[test]
fn host_and_pod_reach_each_other_at_link_local_addresses() {
    let mut nodes = nodes("meta");
    let (host, pod) = (nodes.hosts[0].clone(), nodes.pod(POD).clone());
    host.ip(&["route", "add", "169.254.0.0/16", "dev", "vhost0"]).unwrap();
    let (own, pods) = (nodes.topology.nodes[0].address, nodes.topology.pod(POD).address);
    let _on_host = Server::start(&host, "host", (own, HOST_PORT).into()).unwrap();
    let _on_pod = Server::start(&pod, "pod", (pods, POD_PORT).into()).unwrap();

    let mut session = Session::open(&pod, METADATA.into()).unwrap();
    assert_eq!(session.greeting.seen, (metadata_address(POD.pod), session.greeting.own.port()).into());
    (0..BLOCKS).for_each(|_| session.exchange(&block()).unwrap());

    let to_pod = (metadata_address(POD.pod), POD_PORT).into();
    let mut session = Session::open(&host, to_pod).unwrap();
    assert_eq!(session.greeting.seen, (*METADATA.ip(), session.greeting.own.port()).into());
    (0..BLOCKS).for_each(|_| session.exchange(&block()).unwrap());

    let plan = Plan { target: metadata_address(POD.pod), count: 50, interval: Duration::from_millis(2) };
    let (outcome, arrived) = arriving_ttls(&pod, *METADATA.ip(), || ping(&host, plan)).unwrap();
    assert!(outcome.unwrap().complete());
    assert_eq!(arrived.len(), 50);
    nodes.check().unwrap();
}

/// The service sees the pod's host at a port that is the flow's; what it answers to that port is the pod's.
#[test]
fn a_service_of_another_host_is_reached_with_the_hosts_address() {
    let mut nodes = nodes("other");
    let (own, other) = (nodes.topology.nodes[0].address, nodes.topology.nodes[1].address);
    let _server = Server::start(&nodes.hosts[1], "other", (other, ELSEWHERE_PORT).into()).unwrap();
    let pod = nodes.pod(POD).clone();
    let mut session = Session::open(&pod, ELSEWHERE.into()).unwrap();
    assert_eq!(session.greeting.seen.ip(), own);
    assert!(session.greeting.seen.port() >= 61_000, "{:?}", session.greeting);
    (0..BLOCKS).for_each(|_| session.exchange(&block()).unwrap());
    assert_eq!(ask(&pod, ELSEWHERE.into()).unwrap().seen.ip(), own);

    // Everything else at the host's address is the host's.
    let _of_host = Server::start(&nodes.hosts[0], "host", (own, POD_PORT).into()).unwrap();
    let session = Session::open(&nodes.hosts[1], (own, POD_PORT).into()).unwrap();
    assert_eq!(session.greeting.server, "host");
    nodes.check().unwrap();
}
