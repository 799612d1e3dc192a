//! Who is where: three nodes on one underlay segment, six pods, a service, and a host outside.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent_sim::service::Service;
use agent_sim::topology::{Gateway, Mac, Network, Node, Pod, PodId, Topology};

/// Beginning of the names of all namespaces.
pub(crate) const PREFIX: &str = "vrx-demo-";
/// Sockets, configurations and logs.
pub(crate) const DIRECTORY: &str = "/tmp/vrx-demo";

pub(crate) const UNDERLAY_MTU: u32 = 1500;
pub(crate) const POD_MTU: u32 = 1450;

/// Positions in the topology.
pub(crate) const NODE1: usize = 0;
pub(crate) const NODE2: usize = 1;
pub(crate) const GATEWAY: usize = 2;

/// The gateway's device towards the outside, and both addresses there.
pub(crate) const OUTSIDE_DEVICE: &str = "eth1";
pub(crate) const OUTSIDE_ROUTER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
pub(crate) const OUTSIDE_HOST: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// A service of the red pods for the blue ones, and the port of its backends.
pub(crate) const SERVICE: SocketAddr = SocketAddr::new(IpAddr::V4(SERVICE_ADDRESS), 80);
pub(crate) const SERVICE_TARGET_PORT: u16 = 8080;
pub(crate) const BACKENDS: [PodId; 3] =
    [PodId { node: NODE1, pod: 2 }, PodId { node: NODE2, pod: 1 }, PodId { node: NODE2, pod: 2 }];
const SERVICE_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);

const BLUE: usize = 0;
const RED: usize = 1;

/// All of it.
pub(crate) fn topology() -> Topology {
    let network = |name: &str, vni, third| Network {
        name: name.to_owned(),
        vni,
        subnet: Ipv4Addr::new(10, third, 0, 0),
        length: 24,
        router: Ipv4Addr::new(10, third, 0, 1),
    };
    let gateway = Gateway { port: "vgw".to_owned(), network: BLUE };
    Topology {
        networks: vec![network("blue", 5001, 1), network("red", 5002, 2)],
        nodes: vec![
            node(
                "node1",
                1,
                vec![pod("blue-1", BLUE, 11), pod("blue-2", BLUE, 12), pod("red-1", RED, 11)],
                None,
            ),
            node(
                "node2",
                2,
                vec![pod("blue-3", BLUE, 13), pod("red-2", RED, 12), pod("red-3", RED, 13)],
                None,
            ),
            node("gw", 3, Vec::new(), Some(gateway)),
        ],
        services: vec![Service {
            address: SERVICE_ADDRESS,
            clients: BLUE,
            port: SERVICE.port(),
            target_port: SERVICE_TARGET_PORT,
            backends: BACKENDS.map(Some).to_vec(),
        }],
        ..Topology::default()
    }
}

fn node(name: &str, number: u8, pods: Vec<Pod>, gateway: Option<Gateway>) -> Node {
    Node {
        name: name.to_owned(),
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [2, 0, 0, 0, 1, number],
        pods,
        gateway,
    }
}

fn pod(name: &str, network: usize, number: u8) -> Pod {
    let mac: Mac = [2, 0, 0, 1, network as u8, number];
    let address = Ipv4Addr::new(10, network as u8 + 1, 0, number);
    Pod { name: name.to_owned(), port: name.to_owned(), network, address, mac }
}
