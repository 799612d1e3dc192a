//! A service of the host at a link-local address, and the host's own way to a pod (forwarding.md 11.8): addresses and
//! ports of both ends are translated. The host's address is on vhost0.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use agent_sim::service::{LinkLocal, metadata_address};
use agent_sim::topology::PodId;
use vr_tests::daemon::Settings;
use vr_tests::echo::{Server, Session};
use vr_tests::nodes::{Nodes, two_nodes};
use vr_tests::ping::{Plan, arriving_ttls, ping};

const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);
const HOST_PORT: u16 = 8097;
const POD_PORT: u16 = 9000;
const POD: PodId = PodId { node: 0, pod: 0 };
const BLOCKS: usize = 32;

fn address(socket: SocketAddr) -> Ipv4Addr {
    match socket.ip() {
        IpAddr::V4(address) => address,
        IpAddr::V6(address) => panic!("{address}"),
    }
}

#[test]
fn host_and_pod_reach_each_other_at_link_local_addresses() {
    let mut topology = two_nodes();
    let service = LinkLocal { address: address(METADATA), port: METADATA.port(), host_port: HOST_PORT };
    topology.link_local.push(service);
    let mut nodes =
        Nodes::start("meta", topology, |_| Settings { host: "vhost0", ..Settings::SMALL }).unwrap();
    let (host, pod) = (nodes.hosts[0].clone(), nodes.pod(POD).clone());
    host.ip(&["route", "add", "169.254.0.0/16", "dev", "vhost0"]).unwrap();
    let (own, pods) = (nodes.topology.nodes[0].address, nodes.topology.pod(POD).address);
    let _on_host = Server::start(&host, "host", (own, HOST_PORT).into()).unwrap();
    let _on_pod = Server::start(&pod, "pod", (pods, POD_PORT).into()).unwrap();
    let block: Vec<u8> = (0..64 * 1024_u32).map(|number| (number % 251) as u8).collect();

    let mut session = Session::open(&pod, METADATA).unwrap();
    assert_eq!(session.greeting.seen, (metadata_address(POD.pod), session.greeting.own.port()).into());
    (0..BLOCKS).for_each(|_| session.exchange(&block).unwrap());

    let to_pod = (metadata_address(POD.pod), POD_PORT).into();
    let mut session = Session::open(&host, to_pod).unwrap();
    assert_eq!(session.greeting.seen, (METADATA.ip(), session.greeting.own.port()).into());
    (0..BLOCKS).for_each(|_| session.exchange(&block).unwrap());

    let plan = Plan { target: metadata_address(POD.pod), count: 50, interval: Duration::from_millis(2) };
    let (outcome, arrived) = arriving_ttls(&pod, address(METADATA), || ping(&host, plan)).unwrap();
    assert!(outcome.unwrap().complete());
    assert_eq!(arrived.len(), 50);
    nodes.check().unwrap();
}
