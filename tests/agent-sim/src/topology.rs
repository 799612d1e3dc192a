//! What a cluster consists of, and the numbers under which each node's vrouter knows it.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::service::{FloatingIp, LinkLocal, Service};

/// A MAC address.
pub type Mac = [u8; 6];

/// The MAC address that every virtual router answers with.
pub const ROUTER_MAC: Mac = [0x00, 0x00, 0x5e, 0x00, 0x01, 0x00];

/// The vif of the fabric, which agents put into tunnel nexthops unasked (control.md 7.2).
pub const FABRIC_VIF: i32 = 0;
/// The vif of the host.
pub const HOST_VIF: i32 = 1;
/// The vif of the agent.
pub const AGENT_VIF: i32 = 2;

/// All nodes and networks. Every node is programmed from the same picture.
#[derive(Clone, Debug, Default)]
pub struct Topology {
    /// Virtual networks; the position gives the VRF.
    pub networks: Vec<Network>,
    /// Compute nodes and gateways.
    pub nodes: Vec<Node>,
    /// Services with virtual addresses; the position gives the VRF, behind those of the networks.
    pub services: Vec<Service>,
    /// Second addresses of pods in other networks.
    pub floating: Vec<FloatingIp>,
    /// Services of the hosts.
    pub link_local: Vec<LinkLocal>,
    /// Whether pods, routers and services have IPv6 addresses besides, see [`inet6`].
    pub inet6: bool,
}

/// One virtual network with one subnet.
#[derive(Clone, Debug)]
pub struct Network {
    /// Name for people.
    pub name: String,
    /// VXLAN network identifier.
    pub vni: i32,
    /// Address of the subnet.
    pub subnet: Ipv4Addr,
    /// Prefix length of the subnet.
    pub length: u32,
    /// Address of the virtual router in the subnet.
    pub router: Ipv4Addr,
}

/// One node that runs a vrouter.
#[derive(Clone, Debug)]
pub struct Node {
    /// Name for people.
    pub name: String,
    /// The network device towards the underlay.
    pub device: String,
    /// Underlay address.
    pub address: Ipv4Addr,
    /// MAC address of the underlay device.
    pub mac: Mac,
    /// Pods on this node.
    pub pods: Vec<Pod>,
    /// Present on a node that is the way out for a network.
    pub gateway: Option<Gateway>,
}

/// One pod.
#[derive(Clone, Debug)]
pub struct Pod {
    /// Name for people.
    pub name: String,
    /// Network device on the node's side.
    pub port: String,
    /// Index of its network.
    pub network: usize,
    /// Its address.
    pub address: Ipv4Addr,
    /// Its MAC address.
    pub mac: Mac,
}

/// A simple gateway (control.md 7.4).
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The network device that the vrouter makes.
    pub port: String,
    /// Index of the network that it serves.
    pub network: usize,
}

/// The three ways to carry a packet between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tunnel {
    /// MPLS over UDP, port 6635.
    MplsOverUdp,
    /// MPLS over GRE.
    MplsOverGre,
    /// VXLAN, port 4789.
    Vxlan,
}

impl Tunnel {
    /// All kinds.
    pub const ALL: [Self; 3] = [Self::MplsOverUdp, Self::MplsOverGre, Self::Vxlan];

    /// Name for people.
    pub fn name(self) -> &'static str {
        match self {
            Self::MplsOverUdp => "MPLSoUDP",
            Self::MplsOverGre => "MPLSoGRE",
            Self::Vxlan => "VXLAN",
        }
    }
}

/// How pods of one subnet reach each other across nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Frames keep their MAC addresses: a stitched route answers ARP with the pod's own.
    Bridged,
    /// The virtual router answers ARP with its own MAC address and routes.
    Routed,
}

/// The VRF of a network.
pub fn vrf(network: usize) -> i32 {
    network as i32 + 1
}

/// The IPv6 address that belongs to an IPv4 one: `fd00::/96` in front of it.
pub fn inet6(address: Ipv4Addr) -> Ipv6Addr {
    Ipv6Addr::from_bits(INET6_PREFIX | u128::from(address.to_bits()))
}

const INET6_PREFIX: u128 = 0xfd00 << 112;

/// The IPv4 address that an IPv6 address of ours belongs to.
pub fn embedded(address: [u8; 16]) -> Option<Ipv4Addr> {
    let bits = u128::from_be_bytes(address);
    (bits & !u128::from(u32::MAX) == INET6_PREFIX).then_some(Ipv4Addr::from_bits(bits as u32))
}

/// One pod: the position of its node, and its own there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PodId {
    /// Position of the node.
    pub node: usize,
    /// Position among the pods of the node.
    pub pod: usize,
}

/// The vif of a node's pod by position, or of its gateway port after the last pod.
pub fn pod_vif(pod: usize) -> i32 {
    AGENT_VIF + 1 + pod as i32
}

/// Numbers of nexthops. A number means the same on every node.
pub mod nexthop {
    use super::Tunnel;

    /// Takes frames for the router's MAC address up to the IP layer.
    pub const L2_RECEIVE: i32 = 3;
    /// Hands packets to the host.
    pub const HOST_RECEIVE: i32 = 5;
    /// Hands packets to the agent.
    pub const AGENT: i32 = 6;
    /// Hands packets to the kernel through the gateway port.
    pub const GATEWAY: i32 = 7;

    /// Asks for the neighbours in the underlay.
    pub const RESOLVE: i32 = 8;

    /// The host of another node, without a tunnel.
    pub fn neighbour(node: usize) -> i32 {
        600 + node as i32
    }

    /// A local pod's routed nexthop, which is its flow key too.
    pub fn routed(pod: usize) -> i32 {
        20 + 2 * pod as i32
    }

    /// A local pod's bridged nexthop.
    pub fn bridged(pod: usize) -> i32 {
        21 + 2 * pod as i32
    }

    /// The tunnel of one kind to another node.
    pub fn tunnel(node: usize, kind: Tunnel) -> i32 {
        100 + 4 * node as i32 + kind as i32
    }

    /// Where the VNI of a network leads.
    pub fn translate(network: usize) -> i32 {
        200 + network as i32
    }

    /// The local pods of a network.
    pub fn members(network: usize) -> i32 {
        300 + network as i32
    }

    /// The broadcast tree of a network.
    pub fn broadcast(network: usize) -> i32 {
        400 + network as i32
    }

    /// The backends of a service.
    pub fn backends(service: usize) -> i32 {
        500 + service as i32
    }
}

/// Numbers of MPLS labels, given out by the node that has the pod.
pub mod label {
    /// Leads to the pod's routed nexthop.
    pub fn routed(pod: usize) -> i32 {
        16 + 2 * pod as i32
    }

    /// Leads to the pod's bridged nexthop.
    pub fn bridged(pod: usize) -> i32 {
        17 + 2 * pod as i32
    }

    /// Leads to the gateway port.
    pub const GATEWAY: i32 = 15 + 256;
}

impl Topology {
    /// A pod by its positions.
    pub fn pod(&self, id: PodId) -> &Pod {
        &self.nodes[id.node].pods[id.pod]
    }

    /// The VRF of a service.
    pub fn service_vrf(&self, service: usize) -> i32 {
        vrf(self.networks.len() + service)
    }

    /// Index of the network whose subnet holds an address.
    pub fn network_of(&self, address: Ipv4Addr) -> Option<usize> {
        self.networks.iter().position(|network| {
            let mask = u32::MAX.checked_shl(32 - network.length).unwrap_or(0);
            address.to_bits() & mask == network.subnet.to_bits() & mask
        })
    }

    /// The node and position of the pod with an address in a network.
    pub fn find_pod(&self, network: usize, address: Ipv4Addr) -> Option<(usize, usize)> {
        self.nodes.iter().enumerate().find_map(|(node, entry)| {
            let pod = entry.pods.iter().position(|pod| pod.network == network && pod.address == address)?;
            Some((node, pod))
        })
    }

    /// The node that is the way out of a network.
    pub fn gateway_of(&self, network: usize) -> Option<usize> {
        self.nodes
            .iter()
            .position(|node| node.gateway.as_ref().is_some_and(|gateway| gateway.network == network))
    }

    /// Whether the policy lets an address talk to another: within a network and to the outside, not across networks.
    pub fn allows(&self, from: Ipv4Addr, to: Ipv4Addr) -> bool {
        match (self.network_of(from), self.network_of(to)) {
            (Some(from), Some(to)) => from == to,
            _ => true,
        }
    }
}
