//! Decisions for services and floating addresses.

use std::net::Ipv4Addr;

use super::{Rules, flag};
use crate::packet::FiveTuple;
use crate::service::{FloatingIp, Service};
use crate::topology::{Network, Node, Pod, PodId, Topology, nexthop};

const VIP: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
const OUTSIDE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 2);

/// Clients have network 0, backends network 1; a pod of each on both nodes.
fn topology(backends: &[PodId]) -> Topology {
    let network = |third: u8| Network {
        name: String::new(),
        vni: third.into(),
        subnet: Ipv4Addr::new(10, third, 0, 0),
        length: 24,
        router: Ipv4Addr::new(10, third, 0, 1),
    };
    let pod = |network: u8, number: u8| Pod {
        name: String::new(),
        port: String::new(),
        network: network.into(),
        address: Ipv4Addr::new(10, network, 0, number),
        mac: [0; 6],
    };
    let node = |number: u8| Node {
        name: String::new(),
        device: String::new(),
        address: Ipv4Addr::new(172, 30, 0, number),
        mac: [0; 6],
        pods: vec![pod(0, 10 + number), pod(1, 10 + number)],
        gateway: None,
    };
    Topology {
        networks: vec![network(0), network(1)],
        nodes: vec![node(1), node(2)],
        services: vec![Service {
            address: VIP,
            clients: 0,
            port: 53,
            target_port: 5353,
            backends: backends.iter().copied().map(Some).collect(),
        }],
        floating: vec![FloatingIp {
            address: Ipv4Addr::new(10, 1, 0, 99),
            network: 1,
            pod: PodId { node: 0, pod: 0 },
            port_map: None,
        }],
        ..Topology::default()
    }
}

fn tuple(source: [u8; 4], source_port: u16, destination: Ipv4Addr, port: u16) -> FiveTuple {
    FiveTuple {
        inet6: false,
        source: source.into(),
        destination,
        protocol: 17,
        source_port: source_port.to_be_bytes(),
        destination_port: port.to_be_bytes(),
    }
}

fn rules(topology: &Topology, own: usize, tuple: FiveTuple) -> Rules<'_> {
    Rules { topology, own, tuple }
}

/// forwarding.md 11.10, node 1: plain flows, and the vrouter may choose.
#[test]
fn a_service_elsewhere_is_forwarded_to_its_composite() {
    let topology = topology(&[PodId { node: 1, pod: 1 }]);
    let packet = tuple([10, 0, 0, 11], 40_000, VIP, 53);
    let pair = rules(&topology, 0, packet).from_pod(0, super::local(PodId { node: 0, pod: 0 }, 1));
    assert!(pair.allowed);
    assert_eq!((pair.forward.tuple, pair.reverse.tuple), (packet, packet.reversed()));
    assert_eq!((pair.forward.flags, pair.reverse.flags), (0, 0));
    assert_eq!((pair.forward.member, pair.forward.other_vrf), (None, None));
    assert_eq!(pair.forward.source_nexthop, nexthop::routed(0));
    assert_eq!(pair.reverse.source_nexthop, nexthop::backends(0));
}

/// forwarding.md 11.10, node 2: the keys and flags of the translating pair.
#[test]
fn the_node_of_the_backend_translates() {
    let topology = topology(&[PodId { node: 1, pod: 1 }]);
    let packet = tuple([10, 0, 0, 11], 40_000, VIP, 53);
    let from = super::End {
        key: nexthop::routed(1),
        source: nexthop::tunnel(0, super::Tunnel::MplsOverUdp),
        vrf: 2,
    };
    let pair = rules(&topology, 1, packet).from_fabric(from);
    assert_eq!(pair.forward.flags, flag::DNAT | flag::DPAT);
    assert_eq!(pair.reverse.flags, flag::SNAT | flag::SPAT);
    assert_eq!(pair.reverse.tuple, tuple([10, 1, 0, 12], 5353, Ipv4Addr::new(10, 0, 0, 11), 40_000));
    assert_eq!((pair.forward.vrf, pair.forward.other_vrf), (3, Some(2)));
    assert_eq!((pair.reverse.vrf, pair.reverse.other_vrf), (2, Some(3)));
}

#[test]
fn a_backend_of_the_same_node_is_chosen_and_translated_to_at_once() {
    let topology = topology(&[PodId { node: 1, pod: 1 }, PodId { node: 0, pod: 1 }]);
    let mut chosen = [0; 2];
    for port in 0..64 {
        let packet = tuple([10, 0, 0, 11], 40_000 + port, VIP, 53);
        let pair = rules(&topology, 0, packet).from_pod(0, super::local(PodId { node: 0, pod: 0 }, 1));
        let member = pair.forward.member.unwrap();
        chosen[member] += 1;
        assert_eq!(pair.forward.flags != 0, member == 1);
    }
    assert!(chosen.iter().all(|count| *count > 16), "{chosen:?}");
}

#[test]
fn a_port_that_the_service_does_not_have_is_dropped() {
    let topology = topology(&[PodId { node: 1, pod: 1 }]);
    let packet = tuple([10, 0, 0, 11], 40_000, VIP, 54);
    let pair = rules(&topology, 0, packet).from_pod(0, super::local(PodId { node: 0, pod: 0 }, 1));
    assert!(!pair.allowed);
}

#[test]
fn a_floating_address_is_the_source_outside_only() {
    let topology = topology(&[]);
    let from = super::local(PodId { node: 0, pod: 0 }, 1);
    let out = rules(&topology, 0, tuple([10, 0, 0, 11], 40_000, OUTSIDE, 80)).from_pod(0, from);
    assert_eq!((out.forward.flags, out.reverse.flags), (flag::SNAT, flag::DNAT));
    assert_eq!(out.reverse.tuple.destination, Ipv4Addr::new(10, 1, 0, 99));
    assert_eq!((out.forward.vrf, out.forward.other_vrf), (1, Some(2)));
    let inside = tuple([10, 0, 0, 11], 40_000, Ipv4Addr::new(10, 0, 0, 12), 80);
    assert_eq!(rules(&topology, 0, inside).from_pod(0, from).forward.flags, 0);
}
