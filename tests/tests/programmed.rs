//! The objects of every node are accepted by the control plane, in the order in which the agent sends them, again
//! after a reset, and when routes change.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test ends where something is wrong")]

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_sim::service::{FloatingIp, LinkLocal, Service, Target};
use agent_sim::statistics::{self, PortCounters};
use agent_sim::topology::{Gateway, Network, Node, Pod, PodId, Reach, Topology, Tunnel};
use agent_sim::{Agent, netlink, program};
use sandesh::messages::{
    InterfaceReq, MirrorReq, MplsReq, NexthopReq, RouteReq, VrfReq, VrouterOps, VxlanReq,
};
use sandesh::netlink::FrameReader;
use sandesh::{Compat, Record, SandeshOp};
use vr_shim::{About, Responder, Server};
use vr_tables::control::{AttachError, Attached, Datapath, GracefulRestart, Tables, TablesConfig};
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

/// A control plane in this thread.
struct Asked {
    tables: Tables,
    responder: Responder,
    compat: Compat,
}

impl Asked {
    fn new(graceful_restart: Option<GracefulRestart>) -> Self {
        let config = TablesConfig { graceful_restart, ..TablesConfig::default() };
        let responder = Responder::new(About::version("test"));
        Self { tables: Tables::new(config).unwrap(), responder, compat: Compat::Current }
    }

    /// The replies, byte by byte.
    fn ask(&mut self, payload: &[u8]) -> Vec<u8> {
        let framed = netlink::request(netlink::AGENT_TYPE, 1, 1, payload);
        let (mut reader, mut out) = (FrameReader::new(), Vec::new());
        reader.read_from(&mut &framed[..]).unwrap();
        let frame = reader.next_frame().unwrap().unwrap();
        self.responder.answer(&frame, &mut self.compat, &mut self.tables, &mut NoPackets, &mut out);
        self.tables.publish();
        self.tables.housekeep();
        out
    }
}

fn encoded(request: &impl Record) -> Vec<u8> {
    let mut payload = Vec::new();
    sandesh::encode(request, Compat::Current, &mut payload);
    payload
}

/// Dumps of everything.
fn dumps() -> Vec<Vec<u8>> {
    let h_op = SandeshOp::DUMP;
    let mut requests = vec![
        encoded(&InterfaceReq { h_op, vifr_marker: -1, ..InterfaceReq::default() }),
        encoded(&NexthopReq { h_op, ..NexthopReq::default() }),
        encoded(&MplsReq { h_op, mr_marker: -1, ..MplsReq::default() }),
        encoded(&VxlanReq { h_op, ..VxlanReq::default() }),
        encoded(&MirrorReq { h_op, mirr_marker: -1, ..MirrorReq::default() }),
        encoded(&VrfReq { h_op, vrf_marker: -1, ..VrfReq::default() }),
        encoded(&VrouterOps { h_op: SandeshOp::GET, ..VrouterOps::default() }),
    ];
    for (rtr_family, length) in [(2, 4), (10, 16), (7, 0)] {
        for rtr_vrf_id in 0..4 {
            let rtr_mac = if rtr_family == 7 { vec![0; 6] } else { Vec::new() };
            let rtr_prefix = vec![0; length];
            let dump = RouteReq { h_op, rtr_family, rtr_vrf_id, rtr_prefix, rtr_mac, ..RouteReq::default() };
            requests.push(encoded(&dump));
        }
    }
    requests
}

/// What the agent is answered while it restarts is, byte by byte, what it would be answered by empty tables.
#[test]
fn a_restarted_agent_sees_its_own_objects_only() {
    let day = Duration::from_hours(24);
    let mut graceful = Asked::new(Some(GracefulRestart { grace: day, quiet: day }));
    let mut strict = Asked::new(None);
    let mut other = topology();
    let former = program::node(&other, 0, Tunnel::MplsOverUdp, Reach::Bridged);
    other.nodes[0].pods.rotate_left(1);
    let program = program::node(&other, 0, Tunnel::Vxlan, Reach::Routed);
    let reset = agent_sim::Message::new("vrouter_ops").i32(1, 5).stop();
    let mut both = |request: &[u8]| {
        let replies = [&mut graceful, &mut strict].map(|asked| asked.ask(request));
        assert!(!replies[0].is_empty());
        assert_eq!(replies[0], replies[1]);
    };
    for request in &former {
        both(request);
    }
    for part in program.chunks(program.len().div_ceil(4)) {
        both(&reset);
        // Out of order: nexthops are missing.
        part.iter().rev().chain(part).for_each(|request| both(request));
        for request in &dumps() {
            both(request);
        }
    }
    both(&reset);
    for request in &program {
        both(request);
    }
    for request in &dumps() {
        both(request);
    }
    assert!(graceful.tables.is_restarting());
    graceful.tables.finish_restart(Instant::now(), &mut NoPackets).unwrap();
    for request in &dumps() {
        assert_eq!(graceful.ask(request), strict.ask(request));
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
