//! Addresses that are not a pod's own: of services, floating and link-local ones (forwarding.md 11.8, 11.9).
//!
//! A service is a floating IP that several pods share. It has a VRF of its own, in which its address leads to an ECMP
//! composite of its pods, and the pods of the client's network to themselves. The address is leaked into the network
//! of the clients. What the flows look like stands in `rules.rs`.

use std::net::{Ipv4Addr, SocketAddrV4};

use crate::requests::{INET, InetRoute, Nexthop, nh, vrf_add};
use crate::topology::{PodId, Topology, Tunnel, label, nexthop, pod_vif, vrf};

/// A service as Kubernetes has it: a virtual address in front of several pods.
#[derive(Clone, Debug)]
pub struct Service {
    /// The virtual address.
    pub address: Ipv4Addr,
    /// The network of its clients.
    pub clients: usize,
    /// The port of the service, and that of its backends. There is no other.
    pub port: u16,
    /// The port of the backends.
    pub target_port: u16,
    /// The backends. The position is the ECMP index, so that who leaves leaves a gap.
    pub backends: Vec<Option<PodId>>,
}

/// A second address of one pod, in another network. All ports keep their numbers but one.
#[derive(Clone, Debug)]
pub struct FloatingIp {
    /// The address.
    pub address: Ipv4Addr,
    /// The network that it belongs to.
    pub network: usize,
    /// Whose it is.
    pub pod: PodId,
    /// A port of the address, and the one of the pod that stands for it.
    pub port_map: Option<(u16, u16)>,
}

/// A service that pods reach at a link-local address, as they do metadata (forwarding.md 11.8).
#[derive(Clone, Copy, Debug)]
pub struct LinkLocal {
    /// The link-local address.
    pub address: Ipv4Addr,
    /// The port that pods connect to.
    pub port: u16,
    /// What serves it.
    pub target: Target,
}

/// Where a link-local service really is.
#[derive(Clone, Copy, Debug)]
pub enum Target {
    /// At a port of the host of each pod. The host sees each pod under a metadata address, [`metadata_address`], and
    /// reaches the pod there; the pod then sees the link-local address of the first service.
    Host(u16),
    /// At an address of the underlay, which sees the host, with a port that belongs to the flow.
    Underlay(SocketAddrV4),
}

/// The address under which a host knows a pod of its node.
pub fn metadata_address(pod: usize) -> Ipv4Addr {
    Ipv4Addr::new(169, 254, 0, pod_vif(pod) as u8)
}

/// Everything that a node needs for all services and floating addresses.
pub(crate) fn program(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let mut messages = Vec::new();
    for (index, service) in topology.services.iter().enumerate() {
        let own_vrf = topology.service_vrf(index);
        messages.push(vrf_add(own_vrf));
        messages.push(composite(topology, own, index));
        for vrf in [own_vrf, vrf(service.clients)] {
            let nexthop = nexthop::backends(index);
            messages.extend(host_route(vrf, service.address, (nexthop, None)).add_both(topology));
        }
        for id in pods(topology).filter(|id| topology.pod(*id).network == service.clients) {
            let route = host_route(own_vrf, topology.pod(id).address, way_to(own, id));
            messages.extend(route.add_both(topology));
        }
    }
    for floating in &topology.floating {
        let vrf = vrf(floating.network);
        messages.push(host_route(vrf, floating.address, way_to(own, floating.pod)).add());
    }
    messages.extend(link_local(topology, own));
    messages
}

fn link_local(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let networks = (0..topology.networks.len()).map(vrf);
    let to_host = |vrf| {
        topology
            .link_local
            .iter()
            .map(move |service| host_route(vrf, service.address, (nexthop::HOST_RECEIVE, None)).add())
    };
    let mut messages: Vec<_> = networks.flat_map(to_host).collect();
    if !topology.link_local.is_empty() {
        let pods = 0..topology.nodes[own].pods.len();
        messages
            .extend(pods.map(|pod| host_route(0, metadata_address(pod), (nexthop::routed(pod), None)).add()));
    }
    messages
}

/// The ECMP composite of a service: one ADD changes its backends.
pub fn composite(topology: &Topology, own: usize, service: usize) -> Vec<u8> {
    let backends = topology.services[service].backends.iter();
    let members = backends.map(|backend| match backend.map(|id| way_to(own, id)) {
        Some((nexthop, label)) => (nexthop, label.unwrap_or(-1)),
        None => (-1, -1),
    });
    Nexthop::new(nexthop::backends(service), nh::COMPOSITE, INET, topology.service_vrf(service))
        .flags(nh::COMPOSITE_ECMP)
        .labelled_members(members)
        .add()
}

fn pods(topology: &Topology) -> impl Iterator<Item = PodId> {
    let count = |node: usize| topology.nodes[node].pods.len();
    (0..topology.nodes.len()).flat_map(move |node| (0..count(node)).map(move |pod| PodId { node, pod }))
}

/// The nexthop towards a pod, and the label behind a tunnel.
fn way_to(own: usize, id: PodId) -> (i32, Option<i32>) {
    if id.node == own {
        (nexthop::routed(id.pod), None)
    } else {
        (nexthop::tunnel(id.node, Tunnel::MplsOverUdp), Some(label::routed(id.pod)))
    }
}

fn host_route(vrf: i32, prefix: Ipv4Addr, (nexthop, label): (i32, Option<i32>)) -> InetRoute {
    InetRoute { vrf, prefix, length: 32, nexthop, label, mac: None }
}
