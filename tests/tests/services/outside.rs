//! Two nodes, the second one a gateway, and hosts behind two routers with a narrow link in between:
//! pod - node1 = node2 (gateway) - near - far - server.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use agent_sim::service::FloatingIp;
use agent_sim::topology::{Gateway, PodId, Topology};
use vr_tests::daemon::Settings;
use vr_tests::netns::Namespace;
use vr_tests::nodes::{Nodes, network, node, pod, wait_until};

use crate::whole_checksums;

pub(crate) const POD: PodId = PodId { node: 0, pod: 0 };
/// In the public network.
pub(crate) const FLOATING: Ipv4Addr = Ipv4Addr::new(10, 2, 0, 99);
/// A port of the floating address, and the pod's port behind it.
pub(crate) const OUTER: SocketAddr = SocketAddr::new(IpAddr::V4(FLOATING), 8080);
pub(crate) const INNER_PORT: u16 = 80;

pub(crate) const NEAR: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);
pub(crate) const FAR: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 2);
/// Several addresses of one host: what is learnt about one does not hold for the others.
pub(crate) const SERVERS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(203, 0, 113, 2), Ipv4Addr::new(203, 0, 113, 3), Ipv4Addr::new(203, 0, 113, 4)];
/// Of the link between the routers. Between pod and gateway there is room for 1468 bytes.
pub(crate) const NARROW: u32 = 1280;

fn topology() -> Topology {
    let mut gateway = node(2, Vec::new());
    gateway.gateway = Some(Gateway { port: "vgw".to_owned(), network: 1 });
    Topology {
        networks: vec![network(0), network(1)],
        nodes: vec![node(1, vec![pod("pod", 0, 1)]), gateway],
        floating: vec![FloatingIp {
            address: FLOATING,
            network: 1,
            pod: POD,
            port_map: Some((OUTER.port(), INNER_PORT)),
        }],
        ..Topology::default()
    }
}

/// All of it.
pub(crate) struct Outside {
    pub(crate) nodes: Nodes,
    pub(crate) server: Namespace,
}

impl Outside {
    pub(crate) fn new(title: &str) -> Self {
        let mut nodes = Nodes::start(title, topology(), |_| Settings::SMALL).unwrap();
        let [near, far, server] = ["near", "far", "server"].map(|name| nodes.create(name).unwrap());
        let gateway = nodes.hosts[1].clone();
        link((&gateway, "eth1", Ipv4Addr::new(198, 51, 100, 1)), (&near, "eth0", NEAR), 1500);
        link((&near, "eth1", Ipv4Addr::new(192, 0, 2, 1)), (&far, "eth0", FAR), NARROW);
        link((&far, "eth1", Ipv4Addr::new(203, 0, 113, 1)), (&server, "eth0", SERVERS[0]), 1500);
        whole_checksums(&server, "eth0");
        for address in &SERVERS[1..] {
            server.address("eth0", *address, 24).unwrap();
        }
        wait_until("the device of the gateway", || gateway.ip(&["link", "show", "vgw"]).is_ok());
        gateway.up("vgw", 1450, None).unwrap();
        for router in [&gateway, &near, &far] {
            router.sysctl("net/ipv4/ip_forward", "1").unwrap();
            // Every error is sent, however many there are.
            router.sysctl("net/ipv4/icmp_ratelimit", "0").unwrap();
        }
        let route = |namespace: &Namespace, to: &str, via: &[&str]| {
            namespace.ip(&[&["route", "add", to], via].concat()).unwrap();
        };
        route(&gateway, "10.2.0.0/24", &["dev", "vgw"]);
        route(&gateway, "203.0.113.0/24", &["via", "198.51.100.2"]);
        route(&gateway, "192.0.2.0/24", &["via", "198.51.100.2"]);
        route(&near, "10.2.0.0/24", &["via", "198.51.100.1"]);
        route(&near, "203.0.113.0/24", &["via", "192.0.2.2"]);
        route(&far, "default", &["via", "192.0.2.1"]);
        route(&server, "default", &["via", "203.0.113.1"]);
        nodes.wait_connected(POD, SERVERS[0]).unwrap();
        Self { nodes, server }
    }

    pub(crate) fn pod(&self) -> &Namespace {
        self.nodes.pod(POD)
    }
}

type End<'a> = (&'a Namespace, &'a str, Ipv4Addr);

fn link(one: End<'_>, other: End<'_>, mtu: u32) {
    one.0.veth(one.1, other.0, other.1).unwrap();
    for (namespace, device, address) in [one, other] {
        namespace.up(device, mtu, None).unwrap();
        namespace.address(device, address, 24).unwrap();
    }
}
