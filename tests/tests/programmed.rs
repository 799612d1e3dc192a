//! The objects of every node are accepted by the control plane, in the order in which the agent sends them, again
//! after a reset, and when routes change.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use agent_sim::service::{FloatingIp, LinkLocal, Service, Target};
use agent_sim::statistics::{self, PortCounters};
use agent_sim::topology::{Gateway, Network, Node, Pod, PodId, Reach, Topology, Tunnel};
use agent_sim::{Agent, program};
use vr_shim::{About, Server};
use vr_tables::control::{AttachError, Attached, Datapath, Tables, TablesConfig};
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId};

/// A datapath without ports, which accepts every interface.
struct NoPackets;

impl Datapath for NoPackets {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

/// Serves a directory while `work` runs.
fn with_server(directory: &Path, work: impl FnOnce()) {
    let finished = AtomicBool::new(false);
    let config = TablesConfig { directory: Some(directory.to_owned()), ..TablesConfig::default() };
    std::thread::scope(|scope| {
        let server = scope.spawn(|| {
            let mut tables = Tables::new(config).unwrap();
            let mut server = Server::bind(directory, About::version("test")).unwrap();
            while !finished.load(Ordering::Relaxed) {
                server.poll(&mut tables, &mut NoPackets, Duration::from_millis(10), None).unwrap();
            }
        });
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
        finished.store(true, Ordering::Relaxed);
        server.join().unwrap();
        outcome.unwrap();
    });
}

fn topology() -> Topology {
    let network = |number: u8| Network {
        name: format!("net{number}"),
        vni: 5000 + i32::from(number),
        subnet: Ipv4Addr::new(10, number, 0, 0),
        length: 24,
        router: Ipv4Addr::new(10, number, 0, 1),
    };
    let pod = |network: usize, number: u8| Pod {
        name: format!("pod{number}"),
        port: format!("port{number}"),
        network,
        address: Ipv4Addr::new(10, network as u8 + 1, 0, number),
        mac: [2, 0, 0, 1, network as u8, number],
    };
    let node = |number: u8, pods: Vec<Pod>, gateway: Option<Gateway>| Node {
        name: format!("node{number}"),
        device: "eth0".to_owned(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [2, 0, 0, 0, 1, number],
        pods,
        gateway,
    };
    let gateway = Gateway { port: "vgw".to_owned(), network: 0 };
    Topology {
        networks: vec![network(1), network(2)],
        nodes: vec![
            node(1, vec![pod(0, 11), pod(0, 12), pod(1, 11)], None),
            node(2, vec![pod(0, 13), pod(1, 12)], None),
            node(3, Vec::new(), Some(gateway)),
        ],
        services: vec![Service {
            address: Ipv4Addr::new(10, 96, 0, 10),
            clients: 0,
            port: 80,
            target_port: 8080,
            backends: vec![Some(PodId { node: 0, pod: 2 }), None, Some(PodId { node: 1, pod: 1 })],
        }],
        floating: vec![FloatingIp {
            address: Ipv4Addr::new(10, 1, 0, 99),
            network: 0,
            pod: PodId { node: 1, pod: 1 },
            port_map: None,
        }],
        link_local: vec![LinkLocal {
            address: Ipv4Addr::new(169, 254, 169, 254),
            port: 80,
            target: Target::Host(8097),
        }],
        inet6: true,
    }
}

#[test]
fn every_node_is_accepted_twice() {
    let topology = Arc::new(topology());
    for own in 0..topology.nodes.len() {
        let directory = tempfile::tempdir().unwrap();
        with_server(directory.path(), || {
            for _ in 0..2 {
                let mut agent =
                    Agent::start(directory.path(), &topology, own, Duration::from_secs(10)).unwrap();
                let ports =
                    3 + topology.nodes[own].pods.len() + usize::from(topology.nodes[own].gateway.is_some());
                for index in 0..ports as i32 {
                    assert_eq!(statistics::port(agent.control(), index).unwrap(), PortCounters::default());
                }
                statistics::port(agent.control(), ports as i32).expect_err("one vif more than was added");
                assert_eq!(statistics::drops(agent.control()).unwrap(), BTreeMap::new());
                for kind in Tunnel::ALL {
                    assert_eq!(statistics::tunnelled(agent.control(), &topology, kind).unwrap(), 0);
                }
                assert_eq!(agent.errors(), Vec::<String>::new());
            }
        });
    }
}

#[test]
fn routes_change_tunnel_and_reach() {
    let topology = Arc::new(topology());
    let directory = tempfile::tempdir().unwrap();
    with_server(directory.path(), || {
        let mut agent = Agent::start(directory.path(), &topology, 0, Duration::from_secs(10)).unwrap();
        for tunnel in Tunnel::ALL {
            for reach in [Reach::Bridged, Reach::Routed] {
                let routes = [
                    program::remote_bridge_route(&topology, 1, 0, tunnel),
                    program::remote_inet_route(&topology, 1, 0, tunnel, reach),
                ];
                agent.control().apply(&routes).unwrap();
            }
        }
    });
}
