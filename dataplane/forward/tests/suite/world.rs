//! The node's tables: two guests, three kinds of tunnels to one peer, replication and mirroring.

use std::net::{IpAddr, Ipv4Addr};

use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    BridgeSpec, Datapath, GivenMac, NexthopKind, NexthopSpec, Prefix, RouteSpec, Tables, VifSpec,
};
use vr_tables::fib::RouteFlags;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::snapshot::Mirror;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{Label, Mac, MirrorId, NexthopId, VifId, Vni, VrfId};

pub(crate) const FABRIC: VifId = VifId(0);
pub(crate) const HOST: VifId = VifId(1);
pub(crate) const AGENT: VifId = VifId(2);
pub(crate) const GUESTS: [VifId; 2] = [VifId(3), VifId(4)];

pub(crate) const NODE: [u8; 4] = [172, 16, 0, 1];
pub(crate) const PEER: [u8; 4] = [172, 16, 0, 2];
pub(crate) const GUEST_ADDRESS: [[u8; 4]; 2] = [[10, 0, 0, 4], [10, 0, 0, 5]];
/// Addresses behind the tunnels: MPLS over UDP, MPLS over GRE, VXLAN.
pub(crate) const REMOTE: [[u8; 4]; 3] = [[10, 0, 1, 7], [10, 0, 1, 8], [10, 0, 1, 9]];

pub(crate) const NODE_MAC: Mac = Mac([0, 0x11, 0x11, 0x11, 0x11, 0x11]);
pub(crate) const PEER_MAC: Mac = Mac([0, 0x22, 0x22, 0x22, 0x22, 0x22]);
pub(crate) const GUEST_MAC: [Mac; 2] = [Mac([2, 10, 0, 0, 0, 4]), Mac([2, 10, 0, 0, 0, 5])];
pub(crate) const REMOTE_MAC: [Mac; 3] =
    [Mac([2, 10, 0, 0, 1, 7]), Mac([2, 10, 0, 0, 1, 8]), Mac([2, 10, 0, 0, 1, 9])];

pub(crate) const VRF: VrfId = VrfId(1);
/// Where flows may go on; its routes lead elsewhere.
pub(crate) const OTHER_VRF: VrfId = VrfId(2);
/// Labels of the guests, routed and bridged.
pub(crate) const LABELS: [[u32; 2]; 2] = [[16, 17], [18, 19]];
pub(crate) const VNI: u32 = 5001;
const REMOTE_LABEL: u32 = 40;

const L2_RECEIVE: u32 = 3;
pub(crate) const TO_HOST: u32 = 5;
const NEIGHBOUR: u32 = 9;
pub(crate) const ROUTED: [u32; 2] = [20, 22];
pub(crate) const BRIDGED: [u32; 2] = [21, 23];
pub(crate) const TUNNEL: [u32; 3] = [30, 31, 32];
const TRANSLATE: u32 = 40;
/// Replication: guests, neighbours in the multicast tree, a peer that replicates itself, and their root.
const LOCAL_MEMBERS: u32 = 50;
const TREE_MEMBERS: u32 = 51;
const PEER_MEMBERS: u32 = 52;
const BROADCAST: u32 = 53;
pub(crate) const ANALYZER_TUNNEL: u32 = 60;
const INET6_ANALYZER_TUNNEL: u32 = 61;
/// Labels of the multicast tree: those of its neighbours, and ours.
pub(crate) const TREE_LABELS: [u32; 2] = [2000, 2001];
pub(crate) const OWN_TREE_LABEL: u32 = 1500;
/// Where mirrored frames go, by UDP to port 8099.
pub(crate) const ANALYZER: [u8; 4] = [172, 16, 0, 50];
/// Fabric, host and agent interfaces: 14 bytes of Ethernet and 1,500.
pub(crate) const UNDERLAY_MTU: usize = 1500;

fn vif(id: VifId, kind: VifKind, vrf: VrfId, mac: Mac, nexthop: u32, flags: VifFlags) -> VifSpec {
    VifSpec {
        vrf: Some(vrf),
        mac: GivenMac::Mac(mac),
        nexthop: NexthopId(nexthop),
        flags: flags | VifFlags::L2 | VifFlags::L3,
        ..VifSpec::new(id, kind, &format!("vif{}", id.0))
    }
}

pub(crate) fn guest(which: usize, flags: VifFlags) -> VifSpec {
    vif(GUESTS[which], VifKind::Virtual, VRF, Mac::VIRTUAL_ROUTER, ROUTED[which], flags)
}

pub(crate) fn nexthop(
    id: u32,
    kind: NexthopKind,
    family: NexthopFamily,
    vrf: VrfId,
    flags: NexthopFlags,
) -> NexthopSpec {
    NexthopSpec::new(NexthopId(id), kind, family, flags | NexthopFlags::VALID, vrf)
}

fn encap(id: u32, family: NexthopFamily, vif: VifId, to: Mac, flags: NexthopFlags) -> NexthopSpec {
    let (vrf, from) = if vif == FABRIC { (VrfId::FABRIC, NODE_MAC) } else { (VRF, Mac::VIRTUAL_ROUTER) };
    NexthopSpec {
        interfaces: vec![vif],
        rewrite: to.0.into_iter().chain(from.0).chain([8, 0]).collect(),
        ..nexthop(id, NexthopKind::Encap, family, vrf, flags)
    }
}

pub(crate) fn tunnel(which: usize) -> NexthopSpec {
    let flags = [NexthopFlags::TUNNEL_UDP_MPLS, NexthopFlags::TUNNEL_GRE, NexthopFlags::TUNNEL_VXLAN][which];
    NexthopSpec {
        interfaces: vec![FABRIC],
        rewrite: PEER_MAC.0.into_iter().chain(NODE_MAC.0).chain([8, 0]).collect(),
        source: Some(IpAddr::from(NODE)),
        destination: Some(IpAddr::from(PEER)),
        ..nexthop(TUNNEL[which], NexthopKind::Tunnel, NexthopFamily::Inet, VrfId::FABRIC, flags)
    }
}

/// What receives packets for the host.
pub(crate) fn to_host(flags: NexthopFlags) -> NexthopSpec {
    NexthopSpec {
        interfaces: vec![HOST],
        ..nexthop(TO_HOST, NexthopKind::Receive, NexthopFamily::Inet, VrfId::FABRIC, flags)
    }
}

/// The guest's two nexthops, with policy or without.
pub(crate) fn to_guest(which: usize, flags: NexthopFlags) -> [NexthopSpec; 2] {
    [(ROUTED, NexthopFamily::Inet), (BRIDGED, NexthopFamily::Bridge)]
        .map(|(ids, family)| encap(ids[which], family, GUESTS[which], GUEST_MAC[which], flags))
}

fn composite(id: u32, flags: NexthopFlags, members: &[(u32, u32)]) -> NexthopSpec {
    NexthopSpec {
        members: members.iter().map(|(id, _)| Some(NexthopId(*id))).collect(),
        labels: members.iter().map(|(_, label)| *label as i32).collect(),
        ..nexthop(id, NexthopKind::Composite, NexthopFamily::Bridge, VRF, flags)
    }
}

/// The analyzer's tunnel.
pub(crate) fn analyzer(flags: NexthopFlags) -> NexthopSpec {
    NexthopSpec {
        source: Some(IpAddr::from(NODE)),
        destination: Some(IpAddr::from(ANALYZER)),
        source_port: 8099,
        destination_port: 8099,
        ..nexthop(
            ANALYZER_TUNNEL,
            NexthopKind::Tunnel,
            NexthopFamily::Inet,
            VrfId::FABRIC,
            flags | NexthopFlags::TUNNEL_UDP,
        )
    }
}

/// Adds a tunnel to the analyzer by IPv6, with its route.
pub(crate) fn add_inet6_analyzer(tables: &mut Tables) -> NexthopId {
    let end = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
    let id = NexthopId(INET6_ANALYZER_TUNNEL);
    let spec = NexthopSpec {
        id,
        source: Some(IpAddr::from(end(1))),
        destination: Some(IpAddr::from(end(2))),
        family: NexthopFamily::Other(10),
        ..analyzer(NexthopFlags::empty())
    };
    tables.nexthop_add(&spec).unwrap();
    let route = route(VrfId::FABRIC, ANALYZER, NEIGHBOUR, None);
    tables.route_add(&RouteSpec { prefix: Prefix::Inet6(end(2), 128), ..route }).unwrap();
    id
}

/// The broadcast tree and the analyzer's tunnel.
fn replication() -> [NexthopSpec; 5] {
    let tree = [(TUNNEL[0], TREE_LABELS[0]), (TUNNEL[1], TREE_LABELS[1])];
    [
        composite(LOCAL_MEMBERS, NexthopFlags::COMPOSITE_ENCAP, &BRIDGED.map(|id| (id, 0))),
        composite(TREE_MEMBERS, NexthopFlags::COMPOSITE_FABRIC, &tree),
        composite(PEER_MEMBERS, NexthopFlags::COMPOSITE_EVPN, &[(TUNNEL[2], VNI)]),
        composite(
            BROADCAST,
            NexthopFlags::MCAST,
            &[(LOCAL_MEMBERS, 0), (TREE_MEMBERS, 0), (PEER_MEMBERS, 0)],
        ),
        analyzer(NexthopFlags::empty()),
    ]
}

pub(crate) fn route(vrf: VrfId, address: [u8; 4], nexthop: u32, label: Option<u32>) -> RouteSpec {
    RouteSpec {
        vrf,
        prefix: Prefix::Inet(address, 32),
        nexthop: NexthopId(nexthop),
        label: label.unwrap_or(0),
        flags: if label.is_some() { RouteFlags::LABEL_VALID } else { RouteFlags::empty() },
        mac: GivenMac::Absent,
    }
}

fn bridge(mac: Mac, nexthop: u32, label: Option<u32>) -> BridgeSpec {
    BridgeSpec {
        vrf: VRF,
        mac: GivenMac::Mac(mac),
        nexthop: NexthopId(nexthop),
        label: label.unwrap_or(0),
        flags: if label.is_some() { BridgeFlags::LABEL_VALID } else { BridgeFlags::empty() },
    }
}

/// Routed there by MPLS, VXLAN carries bridged frames only.
pub(crate) fn remote_route(which: usize, by: usize) -> RouteSpec {
    route(VRF, REMOTE[which], TUNNEL[by % 2], Some(REMOTE_LABEL + which as u32))
}

pub(crate) fn remote_bridge(which: usize, by: usize) -> BridgeSpec {
    let label = if by == 2 { VNI } else { REMOTE_LABEL + which as u32 };
    bridge(REMOTE_MAC[which], TUNNEL[by], Some(label))
}

pub(crate) fn program(tables: &mut Tables, datapath: &mut dyn Datapath) {
    program_devices(tables, datapath, ["vif3", "vif4"]);
}

/// The same for guests behind these devices.
pub(crate) fn program_devices(tables: &mut Tables, datapath: &mut dyn Datapath, devices: [&str; 2]) {
    use NexthopFamily::{Bridge, Inet};
    let none = VifFlags::empty();
    let host = VifSpec {
        ip: Ipv4Addr::from(NODE),
        ..vif(HOST, VifKind::Host, VrfId::FABRIC, NODE_MAC, TO_HOST, none)
    };
    for spec in [
        vif(FABRIC, VifKind::Physical, VrfId::FABRIC, NODE_MAC, 0, none),
        host,
        vif(AGENT, VifKind::Agent, VrfId::NONE, Mac::VIRTUAL_ROUTER, 0, none),
        VifSpec { name: devices[0].to_owned(), ..guest(0, VifFlags::POLICY) },
        VifSpec { name: devices[1].to_owned(), ..guest(1, VifFlags::POLICY) },
    ] {
        tables.vif_add(&spec, datapath).unwrap();
    }
    let plain = NexthopFlags::empty();
    let fixed = [
        nexthop(L2_RECEIVE, NexthopKind::L2Receive, Inet, VrfId::FABRIC, plain),
        to_host(plain),
        encap(NEIGHBOUR, Inet, FABRIC, PEER_MAC, plain),
        nexthop(TRANSLATE, NexthopKind::VrfTranslate, Bridge, VRF, plain),
    ];
    let policy = NexthopFlags::POLICY;
    let guests = to_guest(0, policy).into_iter().chain(to_guest(1, policy));
    for spec in fixed.into_iter().chain((0..3).map(tunnel)).chain(guests).chain(replication()) {
        tables.nexthop_add(&spec).unwrap();
    }
    for which in 0..2 {
        for (label, nexthop) in LABELS[which].into_iter().zip([ROUTED[which], BRIDGED[which]]) {
            tables.label_add(Label(label), NexthopId(nexthop)).unwrap();
        }
        tables.bridge_add(&bridge(GUEST_MAC[which], BRIDGED[which], None)).unwrap();
        for vrf in [VRF, OTHER_VRF] {
            tables.route_add(&route(vrf, GUEST_ADDRESS[which], ROUTED[which], None)).unwrap();
        }
    }
    tables.vni_add(Vni(VNI), NexthopId(TRANSLATE)).unwrap();
    tables.bridge_add(&bridge(Mac::VIRTUAL_ROUTER, L2_RECEIVE, None)).unwrap();
    tables.route_add(&route(VrfId::FABRIC, NODE, TO_HOST, None)).unwrap();
    tables.route_add(&route(VrfId::FABRIC, PEER, NEIGHBOUR, None)).unwrap();
    tables.route_add(&route(VrfId::FABRIC, ANALYZER, NEIGHBOUR, None)).unwrap();
    tables.label_add(Label(OWN_TREE_LABEL), NexthopId(BROADCAST)).unwrap();
    tables.bridge_add(&bridge(Mac::BROADCAST, BROADCAST, Some(VNI))).unwrap();
    let analyzer = Mirror { nexthop: NexthopId(ANALYZER_TUNNEL), flags: 0, vni: -1, vlan: -1 };
    tables.mirror_add(MirrorId(0), analyzer).unwrap();
    for which in 0..3 {
        let other = route(OTHER_VRF, REMOTE[which], TUNNEL[(which + 1) % 2], Some(REMOTE_LABEL + 3));
        tables.route_add(&other).unwrap();
        tables.route_add(&remote_route(which, which)).unwrap();
        tables.bridge_add(&remote_bridge(which, which)).unwrap();
    }
}

/// A sub-interface of the first guest's, with a VLAN.
pub(crate) const SUB: VifId = VifId(5);
pub(crate) const SUB_VLAN: u16 = 100;
pub(crate) const SUB_ADDRESS: [u8; 4] = [10, 0, 0, 6];
pub(crate) const SUB_MAC: Mac = Mac([2, 10, 0, 0, 0, 6]);

/// Adds the sub-interface with its routes.
pub(crate) fn add_sub_interface(tables: &mut Tables, datapath: &mut dyn Datapath) {
    let plain = vif(SUB, VifKind::VirtualVlan, VRF, Mac::VIRTUAL_ROUTER, 24, VifFlags::empty());
    let sub = VifSpec { parent: GUESTS[0], vlan: SUB_VLAN, outer_vlan: SUB_VLAN, ..plain };
    tables.vif_add(&sub, datapath).unwrap();
    tables.nexthop_add(&encap(24, NexthopFamily::Inet, SUB, SUB_MAC, NexthopFlags::empty())).unwrap();
    tables.route_add(&route(VRF, SUB_ADDRESS, 24, None)).unwrap();
}

/// Removes the first guest's routed nexthop with all that refers to it.
pub(crate) fn remove_routed_nexthop(tables: &mut Tables) {
    tables.label_delete(Label(LABELS[0][0])).unwrap();
    tables.route_delete(&route(VRF, GUEST_ADDRESS[0], 0, None)).unwrap();
    tables.nexthop_delete(NexthopId(ROUTED[0])).unwrap();
}

/// Adds a nexthop of another id that leads to the second guest.
pub(crate) fn add_other_nexthop(tables: &mut Tables) {
    let spec = encap(70, NexthopFamily::Inet, GUESTS[1], GUEST_MAC[1], NexthopFlags::empty());
    tables.nexthop_add(&spec).unwrap();
}

/// Adds the first guest's routed nexthop again.
pub(crate) fn add_routed_nexthop(tables: &mut Tables) {
    let [routed, _] = to_guest(0, NexthopFlags::POLICY);
    tables.nexthop_add(&routed).unwrap();
}
