//! The objects of one node, in the order in which an agent sends them (control.md 7.2 to 7.5).

use std::net::Ipv4Addr;

use crate::message::Message;
use crate::topology::{
    AGENT_VIF, FABRIC_VIF, HOST_VIF, Mac, ROUTER_MAC, Reach, Topology, Tunnel, label, nexthop, pod_vif, vrf,
};

const ADD: i32 = 0;
const INET: u8 = 2;
const BRIDGE: u8 = 7;
const BROADCAST: Mac = [0xff; 6];

/// Values of `vifr_type`, `vifr_transport` and `vifr_flags`.
mod vif {
    pub(super) const HOST: i32 = 0;
    pub(super) const AGENT: i32 = 1;
    pub(super) const PHYSICAL: i32 = 2;
    pub(super) const VIRTUAL: i32 = 3;
    pub(super) const GATEWAY: i32 = 5;

    pub(super) const ETHERNET: u8 = 1;
    pub(super) const PMD: u8 = 2;
    pub(super) const SOCKET: u8 = 3;

    pub(super) const POLICY: i32 = 0x1;
    pub(super) const L3: i32 = 0x40;
    pub(super) const L2: i32 = 0x80;
    pub(super) const DHCP: i32 = 0x100;
    pub(super) const PHYSICAL_FLAGS: i32 = 0x20_02C0;
}

/// Values of `nhr_type` and `nhr_flags`.
mod nh {
    pub(super) const RECEIVE: u8 = 1;
    pub(super) const ENCAP: u8 = 2;
    pub(super) const TUNNEL: u8 = 3;
    pub(super) const COMPOSITE: u8 = 6;
    pub(super) const VRF_TRANSLATE: u8 = 7;
    pub(super) const L2_RECEIVE: u8 = 8;

    pub(super) const VALID: u32 = 0x1;
    pub(super) const POLICY: u32 = 0x2;
    pub(super) const GRE: u32 = 0x8;
    pub(super) const MULTICAST: u32 = 0x20;
    pub(super) const UDP_MPLS: u32 = 0x40;
    pub(super) const VXLAN: u32 = 0x80;
    pub(super) const COMPOSITE_ENCAP: u32 = 0x2000;
}

/// Values of `rtr_label_flags` of inet routes; bridge routes have 2 for a valid label.
const LABEL_VALID: i16 = 1;
const ARP_PROXY: i16 = 2;
const BRIDGE_LABEL_VALID: i16 = 2;

/// Everything that one node of the topology needs, remote pods being reached as `tunnel` and `reach` say.
pub fn node(topology: &Topology, own: usize, tunnel: Tunnel, reach: Reach) -> Vec<Vec<u8>> {
    let mut messages = fabric(topology, own);
    for network in 0..topology.networks.len() {
        messages.extend(network_of_node(topology, own, network));
    }
    for pod in 0..topology.nodes[own].pods.len() {
        messages.extend(local_pod(topology, own, pod));
    }
    for network in 0..topology.networks.len() {
        messages.extend(broadcast(topology, own, network));
    }
    messages.extend(gateway_port(topology, own));
    for peer in (0..topology.nodes.len()).filter(|peer| *peer != own) {
        messages.extend(Tunnel::ALL.map(|kind| tunnel_nexthop(topology, own, peer, kind)));
        for pod in 0..topology.nodes[peer].pods.len() {
            messages.push(remote_bridge_route(topology, peer, pod, tunnel));
            messages.push(remote_inet_route(topology, peer, pod, tunnel, reach));
        }
    }
    messages.extend(ways_out(topology, own));
    messages
}

/// The bridge route to a remote pod: one ADD changes its tunnel.
pub fn remote_bridge_route(topology: &Topology, peer: usize, pod: usize, tunnel: Tunnel) -> Vec<u8> {
    let remote = &topology.nodes[peer].pods[pod];
    let number = match tunnel {
        Tunnel::Vxlan => topology.networks[remote.network].vni,
        Tunnel::MplsOverUdp | Tunnel::MplsOverGre => label::bridged(pod),
    };
    let target = nexthop::tunnel(peer, tunnel);
    bridge_route(vrf(remote.network), remote.mac, target, number, BRIDGE_LABEL_VALID)
}

/// The inet route to a remote pod: it decides whether the pod is bridged to or routed to.
///
/// A bridged packet never uses its tunnel, and VXLAN carries frames only; such a route gets MPLS over UDP.
pub fn remote_inet_route(
    topology: &Topology,
    peer: usize,
    pod: usize,
    tunnel: Tunnel,
    reach: Reach,
) -> Vec<u8> {
    let remote = &topology.nodes[peer].pods[pod];
    let kind = if tunnel == Tunnel::Vxlan { Tunnel::MplsOverUdp } else { tunnel };
    let mac = (reach == Reach::Bridged).then_some(remote.mac);
    InetRoute {
        vrf: vrf(remote.network),
        prefix: remote.address,
        length: 32,
        nexthop: nexthop::tunnel(peer, kind),
        label: Some(label::routed(pod)),
        mac,
    }
    .add()
}

fn fabric(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let node = &topology.nodes[own];
    let physical = Vif {
        kind: vif::PHYSICAL,
        index: FABRIC_VIF,
        name: &node.device,
        mac: node.mac,
        vrf: 0,
        flags: vif::PHYSICAL_FLAGS,
    };
    let host = Vif {
        kind: vif::HOST,
        index: HOST_VIF,
        name: "vhost0",
        mac: ROUTER_MAC,
        vrf: 0,
        flags: vif::L3 | vif::L2,
    };
    let agent =
        Vif { kind: vif::AGENT, index: AGENT_VIF, name: "unix", mac: ROUTER_MAC, vrf: 65535, flags: vif::L3 };
    vec![
        Nexthop::new(nexthop::L2_RECEIVE, nh::L2_RECEIVE, INET, 0).add(),
        vrf_add(0),
        bridge_route(0, ROUTER_MAC, nexthop::L2_RECEIVE, 0, 0),
        bridge_route(0, node.mac, nexthop::L2_RECEIVE, 0, 0),
        physical.message(vif::PMD).stop(),
        host.message(vif::PMD).ipv4(39, node.address).i32s(49, &[0]).stop(),
        agent.message(vif::SOCKET).stop(),
        Nexthop::new(nexthop::HOST_RECEIVE, nh::RECEIVE, INET, 0).port(HOST_VIF).add(),
        Nexthop::new(nexthop::AGENT, nh::ENCAP, INET, 0).port(AGENT_VIF).encap(ROUTER_MAC, ROUTER_MAC).add(),
        InetRoute {
            vrf: 0,
            prefix: node.address,
            length: 32,
            nexthop: nexthop::HOST_RECEIVE,
            label: None,
            mac: None,
        }
        .add(),
    ]
}

fn network_of_node(topology: &Topology, own: usize, network: usize) -> Vec<Vec<u8>> {
    let entry = &topology.networks[network];
    let vrf = vrf(network);
    vec![
        vrf_add(vrf),
        Nexthop::new(nexthop::translate(network), nh::VRF_TRANSLATE, BRIDGE, vrf).add(),
        Message::new("vr_vxlan_req")
            .i32(1, ADD)
            .i16(2, 0)
            .i32(3, entry.vni)
            .i32(4, nexthop::translate(network))
            .stop(),
        bridge_route(vrf, ROUTER_MAC, nexthop::L2_RECEIVE, 0, 0),
        bridge_route(vrf, topology.nodes[own].mac, nexthop::L2_RECEIVE, 0, 0),
        InetRoute { vrf, prefix: entry.router, length: 32, nexthop: nexthop::AGENT, label: None, mac: None }
            .add(),
    ]
}

fn local_pod(topology: &Topology, own: usize, pod: usize) -> Vec<Vec<u8>> {
    let entry = &topology.nodes[own].pods[pod];
    let vrf = vrf(entry.network);
    let index = pod_vif(pod);
    let flags = vif::POLICY | vif::L3 | vif::L2 | vif::DHCP;
    let port = Vif { kind: vif::VIRTUAL, index, name: &entry.port, mac: ROUTER_MAC, vrf, flags };
    let (routed, bridged) = (nexthop::routed(pod), nexthop::bridged(pod));
    vec![
        port.message(vif::ETHERNET).ipv4(39, entry.address).i32(48, routed).stop(),
        Nexthop::new(routed, nh::ENCAP, INET, vrf)
            .flags(nh::POLICY)
            .port(index)
            .encap(entry.mac, ROUTER_MAC)
            .add(),
        Nexthop::new(bridged, nh::ENCAP, BRIDGE, vrf)
            .flags(nh::POLICY)
            .port(index)
            .encap(entry.mac, ROUTER_MAC)
            .add(),
        label_add(label::routed(pod), routed),
        label_add(label::bridged(pod), bridged),
        bridge_route(vrf, entry.mac, bridged, 0, 0),
        InetRoute {
            vrf,
            prefix: entry.address,
            length: 32,
            nexthop: routed,
            label: None,
            mac: Some(entry.mac),
        }
        .add(),
    ]
}

/// The broadcast tree; without one the vrouter answers no ARP request of a pod.
fn broadcast(topology: &Topology, own: usize, network: usize) -> Vec<Vec<u8>> {
    let pods = topology.nodes[own].pods.iter().enumerate().filter(|(_, pod)| pod.network == network);
    let members: Vec<i32> = pods.map(|(pod, _)| nexthop::bridged(pod)).collect();
    let (vrf, tree) = (vrf(network), nexthop::broadcast(network));
    vec![
        Nexthop::new(nexthop::members(network), nh::COMPOSITE, BRIDGE, vrf)
            .flags(nh::COMPOSITE_ENCAP)
            .members(&members)
            .add(),
        Nexthop::new(tree, nh::COMPOSITE, BRIDGE, vrf)
            .flags(nh::MULTICAST)
            .members(&[nexthop::members(network)])
            .add(),
        bridge_route(vrf, BROADCAST, tree, 0, 0),
    ]
}

fn gateway_port(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let node = &topology.nodes[own];
    let Some(gateway) = &node.gateway else {
        return Vec::new();
    };
    let vrf = vrf(gateway.network);
    let index = pod_vif(node.pods.len());
    let port =
        Vif { kind: vif::GATEWAY, index, name: &gateway.port, mac: [0; 6], vrf, flags: vif::L3 | vif::L2 };
    vec![
        port.message(vif::PMD).i32(48, nexthop::GATEWAY).stop(),
        // The agent names its own end here; the vrouter has to put the device's MAC address in.
        Nexthop::new(nexthop::GATEWAY, nh::ENCAP, INET, vrf)
            .port(index)
            .encap([0, 0, 0, 0, 0, 1], ROUTER_MAC)
            .add(),
        label_add(label::GATEWAY, nexthop::GATEWAY),
        InetRoute {
            vrf,
            prefix: Ipv4Addr::UNSPECIFIED,
            length: 0,
            nexthop: nexthop::GATEWAY,
            label: None,
            mac: None,
        }
        .add(),
    ]
}

/// Default routes of the networks that leave through another node.
fn ways_out(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let gateways =
        (0..topology.networks.len()).filter_map(|network| Some((network, topology.gateway_of(network)?)));
    gateways
        .filter(|(_, gateway)| *gateway != own)
        .map(|(network, gateway)| {
            let nexthop = nexthop::tunnel(gateway, Tunnel::MplsOverUdp);
            let label = Some(label::GATEWAY);
            InetRoute {
                vrf: vrf(network),
                prefix: Ipv4Addr::UNSPECIFIED,
                length: 0,
                nexthop,
                label,
                mac: None,
            }
            .add()
        })
        .collect()
}

fn tunnel_nexthop(topology: &Topology, own: usize, peer: usize, kind: Tunnel) -> Vec<u8> {
    let (here, there) = (&topology.nodes[own], &topology.nodes[peer]);
    let flags = match kind {
        Tunnel::MplsOverUdp => nh::UDP_MPLS,
        Tunnel::MplsOverGre => nh::GRE,
        Tunnel::Vxlan => nh::VXLAN,
    };
    let mut nexthop = Nexthop::new(nexthop::tunnel(peer, kind), nh::TUNNEL, INET, 0);
    nexthop.ends = Some((here.address, there.address));
    nexthop.flags(flags).port(FABRIC_VIF).encap(there.mac, here.mac).add()
}

struct Vif<'a> {
    kind: i32,
    index: i32,
    name: &'a str,
    mac: Mac,
    vrf: i32,
    flags: i32,
}

impl Vif<'_> {
    fn message(&self, transport: u8) -> Message {
        Message::new("vr_interface_req")
            .i32(1, ADD)
            .i32(3, self.kind)
            .i32(4, self.flags)
            .i32(5, self.vrf)
            .i32(6, self.index)
            .i32(8, -1)
            .string(10, self.name)
            .bytes(38, &self.mac)
            .byte(53, transport)
            .i16(55, -1)
            .i32(63, -1)
    }
}

struct Nexthop {
    id: i32,
    kind: u8,
    family: u8,
    vrf: i32,
    flags: u32,
    ports: Vec<i32>,
    encap: Vec<u8>,
    members: Vec<i32>,
    ends: Option<(Ipv4Addr, Ipv4Addr)>,
}

impl Nexthop {
    fn new(id: i32, kind: u8, family: u8, vrf: i32) -> Self {
        Self {
            id,
            kind,
            family,
            vrf,
            flags: nh::VALID,
            ports: Vec::new(),
            encap: Vec::new(),
            members: Vec::new(),
            ends: None,
        }
    }

    fn flags(mut self, flags: u32) -> Self {
        self.flags |= flags;
        self
    }

    fn port(mut self, vif: i32) -> Self {
        self.ports = vec![vif];
        self
    }

    fn encap(mut self, destination: Mac, source: Mac) -> Self {
        self.encap = [&destination[..], &source, &[0x08, 0x00]].concat();
        self
    }

    fn members(mut self, members: &[i32]) -> Self {
        self.members = members.to_vec();
        self
    }

    fn add(self) -> Vec<u8> {
        let (source, destination) = self.ends.unwrap_or((Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED));
        Message::new("vr_nexthop_req")
            .i32(1, ADD)
            .byte(2, self.kind)
            .byte(3, self.family)
            .i32(4, self.id)
            .i32s(6, &self.ports)
            .i32(8, 0x0806)
            .i32(9, self.vrf)
            .ipv4(10, source)
            .ipv4(11, destination)
            .u32(16, self.flags)
            .bytes(17, &self.encap)
            .i32s(18, &self.members)
            .i32s(19, &vec![-1; self.members.len()])
            .stop()
    }
}

struct InetRoute {
    vrf: i32,
    prefix: Ipv4Addr,
    length: i32,
    nexthop: i32,
    label: Option<i32>,
    mac: Option<Mac>,
}

impl InetRoute {
    fn add(self) -> Vec<u8> {
        let flags = ARP_PROXY | if self.label.is_some() { LABEL_VALID } else { 0 };
        Message::new("vr_route_req")
            .i32(1, ADD)
            .i32(2, self.vrf)
            .i32(3, i32::from(INET))
            .bytes(4, &self.prefix.octets())
            .i32(5, self.length)
            .i16(7, flags)
            .i32(8, self.label.unwrap_or(0))
            .i32(9, self.nexthop)
            .bytes(12, &self.mac.map(Vec::from).unwrap_or_default())
            .stop()
    }
}

fn bridge_route(vrf: i32, mac: Mac, nexthop: i32, label: i32, flags: i16) -> Vec<u8> {
    Message::new("vr_route_req")
        .i32(1, ADD)
        .i32(2, vrf)
        .i32(3, i32::from(BRIDGE))
        .i16(7, flags)
        .i32(8, label)
        .i32(9, nexthop)
        .bytes(12, &mac)
        .stop()
}

fn label_add(label: i32, nexthop: i32) -> Vec<u8> {
    Message::new("vr_mpls_req").i32(1, ADD).i32(2, label).i16(3, 0).i32(4, nexthop).stop()
}

fn vrf_add(vrf: i32) -> Vec<u8> {
    Message::new("vr_vrf_req").i32(1, ADD).i16(2, 0).i32(3, vrf).i32(4, 6).i32(5, -1).i32(6, -1).stop()
}
