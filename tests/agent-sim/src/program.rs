//! The objects of one node, in the order in which an agent sends them (control.md 7.2 to 7.5).

use std::net::Ipv4Addr;

use crate::message::Message;
use crate::requests::{ADD, BRIDGE, INET, InetRoute, Nexthop, Vif, bridge_route, label_add, nh, vrf_add};
use crate::service;
use crate::topology::{
    AGENT_VIF, FABRIC_VIF, HOST_VIF, Mac, ROUTER_MAC, Reach, Topology, Tunnel, label, nexthop, pod_vif, vrf,
};

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

/// Value of `rtr_label_flags` of bridge routes whose label is valid.
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
            messages.extend(remote_route(topology, peer, pod, tunnel, reach).add_both(topology));
        }
    }
    messages.extend(ways_out(topology, own));
    messages.extend(service::program(topology, own));
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
    remote_route(topology, peer, pod, tunnel, reach).add()
}

fn remote_route(topology: &Topology, peer: usize, pod: usize, tunnel: Tunnel, reach: Reach) -> InetRoute {
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
}

/// What an agent adds for the host's own traffic (control.md 7.5): the subnet of the underlay, whose neighbours are to be
/// resolved, and the other nodes, which are.
pub fn underlay_routes(topology: &Topology, own: usize) -> Vec<Vec<u8>> {
    let here = &topology.nodes[own];
    let route =
        |prefix, length, nexthop| InetRoute { vrf: 0, prefix, length, nexthop, label: None, mac: None };
    let subnet = Ipv4Addr::from_bits(here.address.to_bits() & !0xff);
    let mut messages = vec![
        Nexthop::new(nexthop::RESOLVE, nh::RESOLVE, INET, 0).port(FABRIC_VIF).add(),
        route(subnet, 24, nexthop::RESOLVE).add_unanswered(),
    ];
    for (peer, there) in topology.nodes.iter().enumerate().filter(|(peer, _)| *peer != own) {
        let id = nexthop::neighbour(peer);
        messages.push(Nexthop::new(id, nh::ENCAP, INET, 0).port(FABRIC_VIF).encap(there.mac, here.mac).add());
        messages.push(route(there.address, 32, id).add_unanswered());
    }
    messages
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
        host.message(vif::PMD).ipv4(39, node.address).i32(48, nexthop::HOST_RECEIVE).i32s(49, &[0]).stop(),
        agent.message(vif::SOCKET).stop(),
        Nexthop::new(nexthop::HOST_RECEIVE, nh::RECEIVE, INET, 0)
            .flags(nh::RELAXED_POLICY)
            .port(HOST_VIF)
            .add(),
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
    let router =
        InetRoute { vrf, prefix: entry.router, length: 32, nexthop: nexthop::AGENT, label: None, mac: None };
    let mut messages = vec![
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
    ];
    messages.extend(router.add_both(topology));
    messages
}

fn local_pod(topology: &Topology, own: usize, pod: usize) -> Vec<Vec<u8>> {
    let entry = &topology.nodes[own].pods[pod];
    let vrf = vrf(entry.network);
    let index = pod_vif(pod);
    let flags = vif::POLICY | vif::L3 | vif::L2 | vif::DHCP;
    let port = Vif { kind: vif::VIRTUAL, index, name: &entry.port, mac: ROUTER_MAC, vrf, flags };
    let (routed, bridged) = (nexthop::routed(pod), nexthop::bridged(pod));
    let route = InetRoute {
        vrf,
        prefix: entry.address,
        length: 32,
        nexthop: routed,
        label: None,
        mac: Some(entry.mac),
    };
    let mut messages = vec![
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
    ];
    messages.extend(route.add_both(topology));
    messages
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
