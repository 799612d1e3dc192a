//! The node that packets are forwarded by: every type of interface, tunnel and nexthop.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    BridgeSpec, CommandError, Datapath, GivenMac, NexthopKind, NexthopSpec, Prefix, RouteSpec, Tables,
    VifSpec,
};
use vr_tables::fib::RouteFlags;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::snapshot::Mirror;
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{Label, Mac, MirrorId, NexthopId, VifId, Vni, VrfId};

/// The interfaces.
pub(super) const FABRIC: VifId = VifId(0);
pub(super) const HOST: VifId = VifId(1);
pub(super) const AGENT: VifId = VifId(2);
pub(super) const GUEST_A: VifId = VifId(3);
pub(super) const GUEST_B: VifId = VifId(4);
pub(super) const GATEWAY: VifId = VifId(5);
pub(super) const SUB: VifId = VifId(6);

pub(super) const NODE: [u8; 4] = [172, 16, 0, 1];
pub(super) const PEER: [u8; 4] = [172, 16, 0, 2];
pub(super) const PEER_2: [u8; 4] = [172, 16, 0, 3];
pub(super) const ANALYZER: [u8; 4] = [10, 9, 9, 9];
/// Address of guest A outside, for flows with NAT.
pub(super) const FLOATING: [u8; 4] = [172, 31, 0, 9];

const NODE_MAC: Mac = Mac([0, 0x11, 0x11, 0x11, 0x11, 0x11]);
const PEER_MAC: Mac = Mac([0, 0x22, 0x22, 0x22, 0x22, 0x22]);
const MAC_A: Mac = Mac([2, 0x0a, 0, 0, 0, 4]);
const MAC_B: Mac = Mac([2, 0x0a, 0, 0, 0, 5]);

pub(super) const VRF: VrfId = VrfId(1);
/// A VRF whose only route leads back into it.
pub(super) const CIRCLE: VrfId = VrfId(2);

/// Mirrored frames get metadata.
const DYNAMIC: u32 = 1;

/// The nexthops.
pub(super) mod nh {
    pub(crate) const L2_RECEIVE: u32 = 3;
    pub(crate) const HOST: u32 = 5;
    pub(crate) const AGENT: u32 = 6;
    pub(crate) const GATEWAY: u32 = 7;
    pub(crate) const RESOLVE: u32 = 8;
    pub(crate) const NEIGHBOUR: u32 = 9;
    pub(crate) const ROUTED_A: u32 = 20;
    pub(crate) const BRIDGED_A: u32 = 21;
    pub(crate) const ROUTED_B: u32 = 22;
    pub(crate) const BRIDGED_B: u32 = 23;
    pub(crate) const ROUTED_SUB: u32 = 24;
    pub(crate) const UDP: u32 = 30;
    pub(crate) const GRE: u32 = 31;
    pub(crate) const VXLAN: u32 = 32;
    pub(crate) const INET6_UNDERLAY: u32 = 33;
    pub(crate) const ROUTED_VXLAN: u32 = 34;
    pub(crate) const TWO_LABELS: u32 = 35;
    pub(crate) const TRANSLATE: u32 = 40;
    pub(crate) const TO_CIRCLE: u32 = 41;
    pub(crate) const LOCAL_MEMBERS: u32 = 50;
    pub(crate) const TREE_MEMBERS: u32 = 51;
    pub(crate) const PEER_MEMBERS: u32 = 52;
    pub(crate) const BROADCAST: u32 = 53;
    pub(crate) const ECMP: u32 = 54;
    pub(crate) const MIRROR: u32 = 60;
}

const POLICY: NexthopFlags = NexthopFlags::POLICY;
const NONE: NexthopFlags = NexthopFlags::empty();

fn vifs() -> Vec<VifSpec> {
    let vif = |id, kind, name, vrf: VrfId, mac: Mac, nexthop, flags: VifFlags| VifSpec {
        vrf: Some(vrf),
        mac: GivenMac::Mac(mac),
        nexthop: NexthopId(nexthop),
        flags: flags | VifFlags::L2 | VifFlags::L3,
        ..VifSpec::new(id, kind, name)
    };
    let router = Mac::VIRTUAL_ROUTER;
    let (policy, plain) = (VifFlags::POLICY, VifFlags::empty());
    vec![
        vif(FABRIC, VifKind::Physical, "fabric", VrfId::FABRIC, NODE_MAC, 0, plain),
        VifSpec {
            ip: Ipv4Addr::from(NODE),
            ..vif(HOST, VifKind::Host, "vhost0", VrfId::FABRIC, NODE_MAC, nh::HOST, plain)
        },
        vif(AGENT, VifKind::Agent, "pkt0", VrfId::NONE, router, 0, plain),
        vif(GUEST_A, VifKind::Virtual, "a", VRF, router, nh::ROUTED_A, policy | VifFlags::DHCP),
        VifSpec {
            mirror: MirrorId(0),
            mirror_in: vec![1, 2, 3],
            ..vif(
                GUEST_B,
                VifKind::Virtual,
                "b",
                VRF,
                router,
                nh::ROUTED_B,
                VifFlags::MIRROR_RX | VifFlags::MIRROR_TX | VifFlags::MAC_LEARN,
            )
        },
        vif(GATEWAY, VifKind::Gateway, "gateway", VRF, Mac::ZERO, nh::GATEWAY, plain),
        VifSpec {
            parent: GUEST_B,
            vlan: 100,
            outer_vlan: 100,
            ..vif(SUB, VifKind::VirtualVlan, "sub", VRF, router, nh::ROUTED_SUB, policy)
        },
    ]
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

fn encap(id: u32, family: NexthopFamily, vif: VifId, to: Mac, flags: NexthopFlags) -> NexthopSpec {
    let vrf = if vif == FABRIC { VrfId::FABRIC } else { VRF };
    NexthopSpec {
        interfaces: vec![vif],
        rewrite: to.0.into_iter().chain(NODE_MAC.0).chain([8, 0]).collect(),
        ..nexthop(id, NexthopKind::Encap, family, vrf, flags)
    }
}

fn tunnel(id: u32, to: [u8; 4], flags: NexthopFlags) -> NexthopSpec {
    NexthopSpec {
        interfaces: vec![FABRIC],
        rewrite: PEER_MAC.0.into_iter().chain(NODE_MAC.0).chain([8, 0]).collect(),
        source: Some(IpAddr::from(NODE)),
        destination: Some(IpAddr::from(to)),
        ..nexthop(id, NexthopKind::Tunnel, NexthopFamily::Inet, VrfId::FABRIC, flags)
    }
}

fn composite(id: u32, flags: NexthopFlags, members: &[(u32, i32)]) -> NexthopSpec {
    NexthopSpec {
        members: members.iter().map(|(id, _)| Some(NexthopId(*id))).collect(),
        labels: members.iter().map(|(_, label)| *label).collect(),
        ..nexthop(id, NexthopKind::Composite, NexthopFamily::Bridge, VRF, flags)
    }
}

fn tunnels() -> Vec<NexthopSpec> {
    let underlay6 = |last| Some(IpAddr::from(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, last)));
    vec![
        tunnel(nh::UDP, PEER, NexthopFlags::TUNNEL_UDP_MPLS),
        tunnel(nh::GRE, PEER, NexthopFlags::TUNNEL_GRE),
        tunnel(nh::VXLAN, PEER_2, NexthopFlags::TUNNEL_VXLAN),
        NexthopSpec {
            source: underlay6(0x101),
            destination: underlay6(0x102),
            ..tunnel(nh::INET6_UNDERLAY, PEER, NexthopFlags::TUNNEL_UDP_MPLS)
        },
        NexthopSpec {
            inner_mac: GivenMac::Mac(PEER_MAC),
            ..tunnel(nh::ROUTED_VXLAN, PEER, NexthopFlags::TUNNEL_VXLAN | NexthopFlags::L3_VXLAN)
        },
        NexthopSpec {
            transport_label: 99,
            ..tunnel(nh::TWO_LABELS, PEER, NexthopFlags::TUNNEL_UDP_MPLS | NexthopFlags::TUNNEL_MPLS_O_MPLS)
        },
        NexthopSpec {
            source: Some(IpAddr::from(NODE)),
            destination: Some(IpAddr::from(ANALYZER)),
            source_port: 8099,
            destination_port: 8099,
            ..nexthop(
                nh::MIRROR,
                NexthopKind::Tunnel,
                NexthopFamily::Inet,
                VrfId::FABRIC,
                NexthopFlags::TUNNEL_UDP,
            )
        },
    ]
}

fn nexthops() -> Vec<NexthopSpec> {
    use NexthopFamily::{Bridge, Inet};
    vec![
        nexthop(nh::L2_RECEIVE, NexthopKind::L2Receive, Inet, VrfId::FABRIC, NONE),
        NexthopSpec {
            interfaces: vec![HOST],
            ..nexthop(nh::HOST, NexthopKind::Receive, Inet, VrfId::FABRIC, NONE)
        },
        encap(nh::AGENT, Inet, AGENT, Mac::VIRTUAL_ROUTER, NONE),
        encap(nh::GATEWAY, Inet, GATEWAY, Mac([0, 0, 0, 0, 0, 1]), NONE),
        nexthop(nh::RESOLVE, NexthopKind::Resolve, Inet, VrfId::FABRIC, NONE),
        encap(nh::NEIGHBOUR, Inet, FABRIC, PEER_MAC, NONE),
        encap(nh::ROUTED_A, Inet, GUEST_A, MAC_A, POLICY),
        encap(nh::BRIDGED_A, Bridge, GUEST_A, MAC_A, POLICY),
        encap(nh::ROUTED_B, Inet, GUEST_B, MAC_B, NONE),
        encap(nh::BRIDGED_B, Bridge, GUEST_B, MAC_B, NONE),
        encap(nh::ROUTED_SUB, Inet, SUB, MAC_B, POLICY),
        nexthop(nh::TRANSLATE, NexthopKind::VrfTranslate, Bridge, VRF, NONE),
        nexthop(nh::TO_CIRCLE, NexthopKind::VrfTranslate, Inet, CIRCLE, NexthopFlags::ROUTE_LOOKUP),
        composite(
            nh::LOCAL_MEMBERS,
            NexthopFlags::COMPOSITE_ENCAP,
            &[(nh::BRIDGED_A, -1), (nh::BRIDGED_B, -1)],
        ),
        composite(nh::TREE_MEMBERS, NexthopFlags::COMPOSITE_FABRIC, &[(nh::UDP, 44), (nh::GRE, 45)]),
        composite(nh::PEER_MEMBERS, NexthopFlags::COMPOSITE_EVPN, &[(nh::VXLAN, 5001)]),
        composite(
            nh::BROADCAST,
            NexthopFlags::MCAST,
            &[(nh::LOCAL_MEMBERS, -1), (nh::TREE_MEMBERS, -1), (nh::PEER_MEMBERS, -1)],
        ),
        NexthopSpec {
            family: Inet,
            ..composite(
                nh::ECMP,
                NexthopFlags::COMPOSITE_ECMP,
                &[(nh::UDP, 40), (nh::GRE, 40), (nh::ROUTED_B, -1)],
            )
        },
    ]
}

fn inet6(last: u8) -> [u8; 16] {
    let mut address = [0; 16];
    (address[0], address[15]) = (0xfd, last);
    address
}

fn routes() -> Vec<RouteSpec> {
    let guest = |last, nexthop, mac| route(VRF, Prefix::Inet([10, 0, 0, last], 32), nexthop, None, mac);
    let remote =
        |last, nexthop, label| route(VRF, Prefix::Inet([10, 0, 1, last], 32), nexthop, Some(label), None);
    vec![
        route(VrfId::FABRIC, Prefix::Inet(NODE, 32), nh::HOST, None, None),
        route(VrfId::FABRIC, Prefix::Inet([172, 16, 0, 0], 24), nh::RESOLVE, None, None),
        route(VrfId::FABRIC, Prefix::Inet(PEER, 32), nh::NEIGHBOUR, None, None),
        route(VrfId::FABRIC, Prefix::Inet(ANALYZER, 32), nh::NEIGHBOUR, None, None),
        route(VrfId::FABRIC, Prefix::Inet(FLOATING, 32), nh::ROUTED_A, None, None),
        guest(1, nh::AGENT, None),
        guest(4, nh::ROUTED_A, Some(MAC_A)),
        guest(5, nh::ROUTED_B, Some(MAC_B)),
        guest(6, nh::ROUTED_SUB, None),
        remote(7, nh::UDP, 40),
        remote(8, nh::GRE, 40),
        remote(9, nh::ROUTED_VXLAN, 5001),
        remote(10, nh::ECMP, 40),
        remote(11, nh::INET6_UNDERLAY, 40),
        remote(12, nh::TWO_LABELS, 40),
        route(VRF, Prefix::Inet([10, 2, 0, 0], 16), nh::TO_CIRCLE, None, None),
        route(VRF, Prefix::Inet([0; 4], 0), nh::GATEWAY, None, None),
        route(VRF, Prefix::Inet6(inet6(4), 128), nh::ROUTED_A, None, Some(MAC_A)),
        route(VRF, Prefix::Inet6(inet6(5), 128), nh::ROUTED_B, None, Some(MAC_B)),
        route(VRF, Prefix::Inet6(inet6(7), 128), nh::UDP, Some(40), None),
        route(CIRCLE, Prefix::Inet([0; 4], 0), nh::TO_CIRCLE, None, None),
    ]
}

fn bridge_entries() -> Vec<BridgeSpec> {
    let entry = |mac, nexthop, label: u32| BridgeSpec {
        vrf: VRF,
        mac: GivenMac::Mac(mac),
        nexthop: NexthopId(nexthop),
        label,
        flags: if label == 0 { BridgeFlags::empty() } else { BridgeFlags::LABEL_VALID },
    };
    let remote = |last| Mac([2, 0x0a, 0, 0, 1, last]);
    vec![
        entry(Mac::VIRTUAL_ROUTER, nh::L2_RECEIVE, 0),
        entry(NODE_MAC, nh::L2_RECEIVE, 0),
        entry(MAC_A, nh::BRIDGED_A, 0),
        entry(MAC_B, nh::BRIDGED_B, 0),
        entry(remote(7), nh::UDP, 41),
        entry(remote(8), nh::GRE, 41),
        entry(remote(9), nh::VXLAN, 5001),
        entry(remote(10), nh::ECMP, 41),
        entry(Mac::BROADCAST, nh::BROADCAST, 5001),
    ]
}

const LABELS: [(u32, u32); 10] = [
    (16, nh::ROUTED_A),
    (17, nh::BRIDGED_A),
    (18, nh::ROUTED_B),
    (19, nh::BRIDGED_B),
    (20, nh::ECMP),
    (21, nh::TO_CIRCLE),
    (22, nh::BROADCAST),
    (23, nh::HOST),
    // What tunnels of this node carry, so that its own packets may come back to it.
    (40, nh::ROUTED_A),
    (41, nh::BRIDGED_A),
];

/// Sets what there is not, or not like this: interfaces, nexthops, labels, routes, bridge entries.
///
/// # Errors
/// The first command that was refused; those behind it were not given.
pub(super) fn program(tables: &mut Tables, datapath: &mut dyn Datapath) -> Result<(), CommandError> {
    for vif in vifs() {
        tables.vif_add(&vif, datapath)?;
    }
    for nexthop in tunnels().into_iter().chain(nexthops()) {
        tables.nexthop_add(&nexthop)?;
    }
    for (label, nexthop) in LABELS {
        tables.label_add(Label(label), NexthopId(nexthop))?;
    }
    tables.vni_add(Vni(5001), NexthopId(nh::TRANSLATE))?;
    let mirror = Mirror { nexthop: NexthopId(nh::MIRROR), flags: DYNAMIC, vni: -1, vlan: -1 };
    tables.mirror_add(MirrorId(0), mirror)?;
    for entry in bridge_entries() {
        tables.bridge_add(&entry)?;
    }
    for route in routes() {
        tables.route_add(&route)?;
    }
    Ok(())
}

pub(super) fn route(
    vrf: VrfId,
    prefix: Prefix,
    nexthop: u32,
    label: Option<u32>,
    mac: Option<Mac>,
) -> RouteSpec {
    let flags = if label.is_some() { RouteFlags::LABEL_VALID } else { RouteFlags::empty() };
    RouteSpec {
        vrf,
        prefix,
        nexthop: NexthopId(nexthop),
        label: label.unwrap_or(0),
        flags: flags | RouteFlags::ARP_PROXY,
        mac: mac.map_or(GivenMac::Absent, GivenMac::Mac),
    }
}
