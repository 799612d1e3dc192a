//! The small world of the model test: three guests in two VRFs, two peers. What is written down here programs the
//! tables and is what the model reads.

use std::net::{IpAddr, Ipv4Addr};

use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    BridgeSpec, Datapath, GivenMac, NexthopKind, NexthopSpec, Prefix, RouteSpec, Tables, VifSpec,
};
use vr_tables::fib::RouteFlags;
use vr_tables::geometry::Geometry;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::snapshot::Mirror;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{Label, Mac, MirrorId, NexthopId, VifId, VrfId};

pub(crate) const FABRIC: VifId = VifId(0);
pub(crate) const HOST: VifId = VifId(1);
pub(crate) const AGENT: VifId = VifId(2);
/// Guests by number.
pub(crate) const GUESTS: [VifId; 3] = [VifId(3), VifId(4), VifId(5)];
pub(crate) const VRF_OF: [u16; 3] = [1, 1, 2];
pub(crate) const VIFS: u16 = 6;
/// VRF numbers from here on are refused.
pub(crate) const VRFS: u16 = 4;
/// Labels from here on are refused.
pub(crate) const LABEL_LIMIT: u32 = 64;

pub(crate) const NODE: [u8; 4] = [172, 16, 0, 1];
/// Peers, and a stranger behind them.
pub(crate) const PEERS: [[u8; 4]; 3] = [[172, 16, 0, 2], [172, 16, 0, 3], [172, 16, 0, 99]];
pub(crate) const ANALYZER: [u8; 4] = [172, 16, 0, 50];
pub(crate) const NODE_MAC: Mac = Mac([0, 0x11, 0x11, 0x11, 0x11, 0x11]);
pub(crate) const PEER_MAC: Mac = Mac([0, 0x22, 0x22, 0x22, 0x22, 0x22]);
pub(crate) const GUEST_MAC: [Mac; 3] =
    [Mac([2, 10, 0, 0, 0, 4]), Mac([2, 10, 0, 0, 0, 5]), Mac([2, 10, 0, 0, 0, 6])];
pub(crate) const REMOTE_MAC: Mac = Mac([2, 10, 0, 0, 0, 17]);

/// The first byte of the address of each guest.
pub(crate) const GUEST_HOST: [u8; 3] = [4, 5, 6];
/// An address that two guests serve, remote ones behind the first peer, the second, and both, one of the first guest in
/// the other VRF, and one that no route leads to.
pub(crate) const SERVICE: u8 = 9;
pub(crate) const REMOTE: [u8; 3] = [17, 18, 19];
pub(crate) const FLOATING: u8 = 44;
pub(crate) const NOWHERE: u8 = 66;

pub(crate) const L2_RECEIVE: u32 = 3;
pub(crate) const TO_HOST: u32 = 5;
const NEIGHBOUR: u32 = 9;
pub(crate) const ROUTED: [u32; 3] = [20, 22, 24];
pub(crate) const BRIDGED: [u32; 3] = [21, 23, 25];
pub(crate) const TUNNEL: [u32; 2] = [30, 31];
/// Two tunnels, and two guests; each with an empty position.
pub(crate) const BALANCED: u32 = 40;
pub(crate) const SERVED: u32 = 41;
const ANALYZER_TUNNEL: u32 = 50;
/// A number that no nexthop has.
pub(crate) const NO_NEXTHOP: u32 = 99;

/// Members of an ECMP nexthop by position: nexthop and label.
pub(crate) type Members = [Option<(u32, u32)>; 3];

pub(crate) const MEMBERS: [(u32, Members); 2] = [
    (BALANCED, [Some((TUNNEL[0], 70)), None, Some((TUNNEL[1], 71))]),
    (SERVED, [Some((ROUTED[0], 0)), Some((ROUTED[1], 0)), None]),
];
/// Labels that end here and their nexthops.
pub(crate) const LABELS: [(u32, u32); 7] = [
    (16, ROUTED[0]),
    (17, ROUTED[1]),
    (18, ROUTED[2]),
    (26, BRIDGED[0]),
    (27, BRIDGED[1]),
    (28, BRIDGED[2]),
    (36, SERVED),
];
/// Routes of both families: VRF, first byte of the address, nexthop, label.
pub(crate) const ROUTES: [(u16, u8, u32, Option<u32>); 11] = [
    (1, GUEST_HOST[0], ROUTED[0], None),
    (1, GUEST_HOST[1], ROUTED[1], None),
    (1, SERVICE, SERVED, None),
    (1, REMOTE[0], TUNNEL[0], Some(60)),
    (1, REMOTE[1], TUNNEL[1], Some(61)),
    (1, REMOTE[2], BALANCED, None),
    (2, GUEST_HOST[2], ROUTED[2], None),
    (2, FLOATING, ROUTED[0], None),
    (2, REMOTE[0], TUNNEL[1], Some(62)),
    (2, REMOTE[1], TUNNEL[0], Some(63)),
    (2, GUEST_HOST[1], ROUTED[1], None),
];
/// Bridge entries: VRF, MAC, nexthop, label.
pub(crate) const BRIDGES: [(u16, Mac, u32, Option<u32>); 6] = [
    (1, Mac::VIRTUAL_ROUTER, L2_RECEIVE, None),
    (2, Mac::VIRTUAL_ROUTER, L2_RECEIVE, None),
    (1, GUEST_MAC[0], BRIDGED[0], None),
    (1, GUEST_MAC[1], BRIDGED[1], None),
    (2, GUEST_MAC[2], BRIDGED[2], None),
    (1, REMOTE_MAC, TUNNEL[0], Some(64)),
];

/// Buckets fill up and chains form; the table becomes full.
pub(crate) const FLOWS: Geometry = Geometry { entries: 8, overflow: 2 };

/// The address of a host. Hosts differ in the first byte, so that routes are short.
pub(crate) const fn inet(host: u8) -> [u8; 4] {
    [host, 0, 0, 1]
}

/// The address of a host.
pub(crate) const fn inet6(host: u8) -> [u8; 16] {
    [host, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
}

fn vif(id: VifId, kind: VifKind, vrf: VrfId, mac: Mac, nexthop: u32, flags: VifFlags) -> VifSpec {
    VifSpec {
        vrf: Some(vrf),
        mac: GivenMac::Mac(mac),
        nexthop: NexthopId(nexthop),
        flags: flags | VifFlags::L2 | VifFlags::L3,
        ..VifSpec::new(id, kind, &format!("vif{}", id.0))
    }
}

/// A guest's interface.
pub(crate) fn guest(which: usize, flags: VifFlags) -> VifSpec {
    let vrf = VrfId(VRF_OF[which]);
    vif(GUESTS[which], VifKind::Virtual, vrf, Mac::VIRTUAL_ROUTER, ROUTED[which], flags)
}

fn nexthop(
    id: u32,
    kind: NexthopKind,
    family: NexthopFamily,
    vrf: VrfId,
    flags: NexthopFlags,
) -> NexthopSpec {
    NexthopSpec::new(NexthopId(id), kind, family, flags | NexthopFlags::VALID, vrf)
}

fn ethernet(to: Mac, from: Mac) -> Vec<u8> {
    to.0.into_iter().chain(from.0).chain([8, 0]).collect()
}

/// A nexthop to a guest.
pub(crate) fn to_guest(which: usize, (id, family): (u32, NexthopFamily)) -> NexthopSpec {
    NexthopSpec {
        interfaces: vec![GUESTS[which]],
        rewrite: ethernet(GUEST_MAC[which], Mac::VIRTUAL_ROUTER),
        ..nexthop(id, NexthopKind::Encap, family, VrfId(VRF_OF[which]), NexthopFlags::POLICY)
    }
}

/// A tunnel.
pub(crate) fn tunnel(id: u32, to: [u8; 4], flags: NexthopFlags) -> NexthopSpec {
    NexthopSpec {
        interfaces: vec![FABRIC],
        rewrite: ethernet(PEER_MAC, NODE_MAC),
        source: Some(IpAddr::from(NODE)),
        destination: Some(IpAddr::from(to)),
        ..nexthop(id, NexthopKind::Tunnel, NexthopFamily::Inet, VrfId::FABRIC, flags)
    }
}

/// An ECMP nexthop.
pub(crate) fn composite((id, members): (u32, Members)) -> NexthopSpec {
    NexthopSpec {
        members: members.iter().map(|member| member.map(|(id, _)| NexthopId(id))).collect(),
        labels: members.iter().map(|member| member.map_or(-1, |(_, label)| label as i32)).collect(),
        ..nexthop(
            id,
            NexthopKind::Composite,
            NexthopFamily::Inet,
            VrfId(1),
            NexthopFlags::COMPOSITE_ECMP | NexthopFlags::POLICY,
        )
    }
}

/// A route.
pub(crate) fn route(vrf: u16, prefix: Prefix, nexthop: u32, label: Option<u32>) -> RouteSpec {
    RouteSpec {
        vrf: VrfId(vrf),
        prefix,
        nexthop: NexthopId(nexthop),
        label: label.unwrap_or(0xff_ffff),
        flags: if label.is_some() { RouteFlags::LABEL_VALID } else { RouteFlags::empty() },
        mac: GivenMac::Absent,
    }
}

/// A bridge entry.
pub(crate) fn bridge((vrf, mac, nexthop, label): (u16, Mac, u32, Option<u32>)) -> BridgeSpec {
    let flags = if label.is_some() { BridgeFlags::LABEL_VALID } else { BridgeFlags::empty() };
    let (mac, nexthop, label) = (GivenMac::Mac(mac), NexthopId(nexthop), label.unwrap_or(0));
    BridgeSpec { vrf: VrfId(vrf), mac, nexthop, label, flags }
}

fn interfaces() -> [VifSpec; 6] {
    let (none, policy) = (VifFlags::empty(), VifFlags::POLICY);
    let host = VifSpec {
        ip: Ipv4Addr::from(NODE),
        ..vif(HOST, VifKind::Host, VrfId::FABRIC, NODE_MAC, TO_HOST, none)
    };
    [
        vif(FABRIC, VifKind::Physical, VrfId::FABRIC, NODE_MAC, 0, none),
        host,
        vif(AGENT, VifKind::Agent, VrfId::NONE, Mac::VIRTUAL_ROUTER, 0, none),
        guest(0, policy),
        guest(1, policy),
        guest(2, policy),
    ]
}

fn nexthops() -> Vec<NexthopSpec> {
    use NexthopFamily::{Bridge, Inet};
    let plain = NexthopFlags::empty();
    let mut nexthops = vec![
        nexthop(L2_RECEIVE, NexthopKind::L2Receive, Inet, VrfId::FABRIC, plain),
        NexthopSpec {
            interfaces: vec![HOST],
            ..nexthop(TO_HOST, NexthopKind::Receive, Inet, VrfId::FABRIC, plain)
        },
        NexthopSpec {
            interfaces: vec![FABRIC],
            rewrite: ethernet(PEER_MAC, NODE_MAC),
            ..nexthop(NEIGHBOUR, NexthopKind::Encap, Inet, VrfId::FABRIC, plain)
        },
        tunnel(TUNNEL[0], PEERS[0], NexthopFlags::TUNNEL_UDP_MPLS),
        tunnel(TUNNEL[1], PEERS[1], NexthopFlags::TUNNEL_GRE),
    ];
    for which in 0..3 {
        nexthops.push(to_guest(which, (ROUTED[which], Inet)));
        nexthops.push(to_guest(which, (BRIDGED[which], Bridge)));
    }
    nexthops.extend(MEMBERS.map(composite));
    nexthops.push(NexthopSpec {
        source: Some(IpAddr::from(NODE)),
        destination: Some(IpAddr::from(ANALYZER)),
        source_port: 8097,
        destination_port: 8099,
        ..nexthop(ANALYZER_TUNNEL, NexthopKind::Tunnel, Inet, VrfId::FABRIC, NexthopFlags::TUNNEL_UDP)
    });
    nexthops
}

/// Programs the tables.
pub(crate) fn program(tables: &mut Tables, datapath: &mut dyn Datapath) {
    for spec in interfaces() {
        tables.vif_add(&spec, datapath).unwrap();
    }
    for spec in nexthops() {
        tables.nexthop_add(&spec).unwrap();
    }
    for (label, nexthop) in LABELS {
        tables.label_add(Label(label), NexthopId(nexthop)).unwrap();
    }
    for entry in BRIDGES {
        tables.bridge_add(&bridge(entry)).unwrap();
    }
    for (vrf, host, nexthop, label) in ROUTES {
        tables.route_add(&route(vrf, Prefix::Inet(inet(host), 8), nexthop, label)).unwrap();
        tables.route_add(&route(vrf, Prefix::Inet6(inet6(host), 8), nexthop, label)).unwrap();
    }
    for (address, nexthop) in
        [(NODE, TO_HOST), (PEERS[0], NEIGHBOUR), (PEERS[1], NEIGHBOUR), (ANALYZER, NEIGHBOUR)]
    {
        tables.route_add(&route(0, Prefix::Inet(address, 32), nexthop, None)).unwrap();
    }
    let analyzer = Mirror { nexthop: NexthopId(ANALYZER_TUNNEL), flags: 1, vni: -1, vlan: -1 };
    tables.mirror_add(MirrorId(0), analyzer).unwrap();
}
