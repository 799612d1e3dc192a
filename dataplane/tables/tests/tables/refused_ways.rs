//! Interfaces, nexthops, routes, bridge entries, labels and VNIs that are refused (control.md 4.3 to 4.7).

use libc::{EEXIST, EFAULT, EINVAL, ENODEV, ENOENT, ENOMEM};
use vr_tables::control::{GivenMac, NexthopKind, NexthopSpec, Prefix, RouteSpec, Tables, VifSpec};
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::vif::VifKind;
use vr_types::{Label, NexthopId, VifId, Vni, VrfId};

use crate::support::{
    COMPOSITE, ENCAP, FABRIC, GUEST, L2_RECEIVE, LABELS, NEXTHOPS, NO_NEXTHOP, NoPorts, TUNNEL, VRF, VRFS,
    bridge, composite, dump, empty, encap, nexthop, node, refused, route, tunnel,
};

const FREE: VifId = VifId(20);
const NEW: NexthopId = NexthopId(50);

fn vif(kind: VifKind) -> VifSpec {
    VifSpec::new(FREE, kind, "new")
}

#[test]
fn interfaces() {
    let mut tables = node();
    let cases = [
        (EINVAL, VifSpec { id: VifId(32), ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { kind: None, ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { mac: GivenMac::Malformed, ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { fat_flow: None, ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { fat_flow: None, id: GUEST, ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { pbb_mac: GivenMac::Malformed, id: GUEST, ..vif(VifKind::Virtual) }),
        (EINVAL, VifSpec { parent: VifId(31), vlan: 5, ..vif(VifKind::VirtualVlan) }),
        (EINVAL, VifSpec { parent: GUEST, vlan: 5, source_macs: vec![2; 7], ..vif(VifKind::VirtualVlan) }),
        (EINVAL, VifSpec { parent: GUEST, vlan: 5, source_macs: vec![2; 30], ..vif(VifKind::VirtualVlan) }),
        (EINVAL, VifSpec { os_index: 31, ..vif(VifKind::Monitoring) }),
        (ENODEV, VifSpec::new(FREE, VifKind::Virtual, "missing")),
        (EFAULT, VifSpec::new(FREE, VifKind::Virtual, "strange")),
        (ENOMEM, VifSpec::new(FREE, VifKind::Virtual, "large")),
    ];
    for (errno, spec) in cases {
        refused(&mut tables, errno, |tables| tables.vif_add(&spec, &mut NoPorts));
    }
    refused(&mut tables, ENODEV, |tables| tables.vif_delete(FREE, "", &mut NoPorts));
    refused(&mut tables, ENODEV, |tables| tables.vif_delete(GUEST, "another", &mut NoPorts));
    let errno = |result: Result<&_, vr_tables::control::CommandError>| result.unwrap_err().errno();
    assert_eq!(errno(tables.vif(FREE)), ENOENT);
    assert_eq!(errno(tables.vif_by_os_index(77)), ENOENT);

    refused(&mut empty(), ENODEV, |tables| tables.vif_add(&vif(VifKind::Host), &mut NoPorts));
    tables.vif_add(&VifSpec::new(VifId(2), VifKind::Agent, "pkt0"), &mut NoPorts).unwrap();
    refused(&mut tables, EEXIST, |tables| tables.vif_add(&vif(VifKind::Agent), &mut NoPorts));
    let sub = VifSpec { parent: GUEST, vlan: 5, ..vif(VifKind::VirtualVlan) };
    tables.vif_add(&sub, &mut NoPorts).unwrap();
    let second = VifSpec { id: VifId(21), ..sub };
    refused(&mut tables, EEXIST, |tables| tables.vif_add(&second, &mut NoPorts));
}

#[test]
fn an_unknown_transport_is_taken_and_nothing_done() {
    let mut tables = node();
    let before = dump(&tables);
    tables.vif_add(&VifSpec { transport: 4, ..vif(VifKind::Virtual) }, &mut NoPorts).unwrap();
    assert_eq!(dump(&tables), before);
}

fn refuse_nexthops(tables: &mut Tables, cases: impl IntoIterator<Item = (i32, NexthopSpec)>) {
    for (errno, spec) in cases {
        refused(tables, errno, |tables| tables.nexthop_add(&spec));
    }
}

#[test]
fn simple_nexthops() {
    let plain = |kind, family| nexthop(NEW, kind, family, NexthopFlags::empty());
    let mut group = encap(NEW, GUEST);
    (group.family, group.flags) = (NexthopFamily::Bridge, group.flags | NexthopFlags::MCAST);
    let mut tables = node();
    refuse_nexthops(
        &mut tables,
        [
            (EINVAL, encap(NexthopId(NEXTHOPS), GUEST)),
            (EINVAL, plain(NexthopKind::Dead, NexthopFamily::Inet)),
            (EINVAL, plain(NexthopKind::Receive, NexthopFamily::Inet)),
            (
                ENODEV,
                NexthopSpec { interfaces: vec![FREE], ..plain(NexthopKind::Receive, NexthopFamily::Inet) },
            ),
            (EINVAL, encap(NEW, FREE)),
            (EINVAL, NexthopSpec { rewrite: vec![2; 5], ..encap(NEW, GUEST) }),
            (EINVAL, NexthopSpec { rewrite: vec![2; 33], ..encap(NEW, GUEST) }),
            (EINVAL, NexthopSpec { family: NexthopFamily::Other(1), ..encap(NEW, GUEST) }),
            (EINVAL, group),
            (
                EINVAL,
                NexthopSpec { flags: NexthopFlags::VALID | NexthopFlags::INDIRECT, ..encap(NEW, GUEST) },
            ),
            // Changes of what is there.
            (EINVAL, encap(TUNNEL, GUEST)),
            (EINVAL, NexthopSpec { rewrite: vec![2; 15], ..encap(ENCAP, GUEST) }),
            (EINVAL, encap(NexthopId::DISCARD, GUEST)),
        ],
    );
    refused(&mut tables, EINVAL, |tables| tables.nexthop_delete(NEW));
    assert_eq!(tables.nexthop(NexthopId(NEXTHOPS)).unwrap_err().errno(), ENODEV);
    assert_eq!(tables.nexthop(NEW).unwrap_err().errno(), ENOENT);
}

#[test]
fn tunnels() {
    let peer = [172, 16, 0, 2];
    let with = |flags: NexthopFlags| NexthopSpec { flags: flags | NexthopFlags::VALID, ..tunnel(NEW, peer) };
    let ecmp = with(NexthopFlags::TUNNEL_UDP_MPLS | NexthopFlags::TUNNEL_UNDERLAY_ECMP);
    let three = |valid: bool| NexthopSpec {
        interfaces: vec![FABRIC; 3],
        link_valid: vec![valid; 3],
        rewrite: vec![2; 42],
        ..ecmp.clone()
    };
    let pbb = NexthopSpec {
        pbb_mac: GivenMac::from_bytes(&[2; 6]),
        ..with(NexthopFlags::TUNNEL_PBB | NexthopFlags::INDIRECT)
    };
    refuse_nexthops(
        &mut node(),
        [
            (EINVAL, with(NexthopFlags::empty())),
            (EINVAL, NexthopSpec { source: None, ..tunnel(NEW, peer) }),
            (EINVAL, NexthopSpec { destination: None, ..tunnel(NEW, peer) }),
            (EINVAL, NexthopSpec { source: Some([0u16; 8].into()), ..tunnel(NEW, peer) }),
            (EINVAL, NexthopSpec { destination: None, ..with(NexthopFlags::TUNNEL_UDP) }),
            (EINVAL, NexthopSpec { interfaces: vec![], ..tunnel(NEW, peer) }),
            (ENODEV, NexthopSpec { interfaces: vec![FREE], ..tunnel(NEW, peer) }),
            (EINVAL, with(NexthopFlags::TUNNEL_VXLAN | NexthopFlags::L3_VXLAN)),
            (EINVAL, ecmp.clone()),
            (EINVAL, NexthopSpec { rewrite: vec![2; 41], ..three(true) }),
            (ENODEV, three(false)),
            (EINVAL, with(NexthopFlags::TUNNEL_PBB)),
            (EINVAL, NexthopSpec { pbb_mac: GivenMac::Absent, ..pbb.clone() }),
            (EINVAL, NexthopSpec { members: vec![Some(NO_NEXTHOP)], ..pbb.clone() }),
            (EINVAL, NexthopSpec { members: vec![Some(ENCAP); 2], ..pbb }),
        ],
    );
}

#[test]
fn composites() {
    let with = |flags: NexthopFlags, members: &[NexthopId]| NexthopSpec {
        flags: flags | NexthopFlags::VALID,
        ..composite(NEW, members)
    };
    let mut uneven = composite(NEW, &[ENCAP]);
    uneven.labels.clear();
    let strange = |flags| NexthopSpec { family: NexthopFamily::Other(1), ..with(flags, &[]) };
    let mut tables = node();
    refuse_nexthops(
        &mut tables,
        [
            (EINVAL, uneven),
            (EINVAL, strange(NexthopFlags::COMPOSITE_FABRIC)),
            (EINVAL, strange(NexthopFlags::MCAST)),
            (EINVAL, with(NexthopFlags::COMPOSITE_FABRIC, &[ENCAP])),
            (EINVAL, with(NexthopFlags::COMPOSITE_EVPN, &[ENCAP])),
            (EINVAL, with(NexthopFlags::COMPOSITE_TOR, &[TUNNEL])),
            (EINVAL, with(NexthopFlags::COMPOSITE_ENCAP, &[TUNNEL])),
            (EINVAL, with(NexthopFlags::COMPOSITE_ENCAP, &[ENCAP])),
            (EINVAL, with(NexthopFlags::MCAST, &[ENCAP])),
            (EINVAL, with(NexthopFlags::MCAST, &[COMPOSITE])),
            (EINVAL, composite(COMPOSITE, &[COMPOSITE])),
        ],
    );
    tables.nexthop_add(&composite(NEW, &[COMPOSITE, NO_NEXTHOP])).unwrap();
    refuse_nexthops(&mut tables, [(EINVAL, composite(COMPOSITE, &[ENCAP, NEW]))]);
}

#[test]
fn routes() {
    let mut tables = node();
    let good = route([10, 1, 0, 0], 16, ENCAP, None);
    let stitched = GivenMac::from_bytes(&[2, 9, 9, 9, 9, 9]);
    for (errno, spec) in [
        (EINVAL, RouteSpec { vrf: VrfId(VRFS as u16), ..good }),
        (ENOENT, RouteSpec { nexthop: NO_NEXTHOP, ..good }),
        (EINVAL, RouteSpec { nexthop: TUNNEL, ..good }),
        (ENOENT, RouteSpec { mac: stitched, ..good }),
    ] {
        refused(&mut tables, errno, |tables| tables.route_add(&spec));
    }
    for (errno, spec) in [
        (EINVAL, RouteSpec { vrf: VrfId(VRFS as u16), ..good }),
        (ENOENT, RouteSpec { vrf: VrfId(2), ..good }),
        (ENOENT, RouteSpec { prefix: Prefix::Inet6([0; 16], 64), ..good }),
        (ENOENT, RouteSpec { nexthop: NO_NEXTHOP, ..good }),
        (ENOENT, RouteSpec { mac: stitched, ..good }),
    ] {
        refused(&mut tables, errno, |tables| tables.route_delete(&spec));
    }
    let malformed =
        [(false, 3, 8), (false, 4, 33), (false, 4, -1), (true, 4, 8), (true, 16, 129), (false, 0, 0)];
    for (inet6, bytes, len) in malformed {
        assert_eq!(Prefix::new(inet6, &vec![0; bytes], len).unwrap_err().errno(), EINVAL);
    }
    assert_eq!(tables.inet_routes(VrfId(2), None).err().unwrap().errno(), EINVAL);
    assert!(tables.route(VrfId(2), good.prefix).unwrap().is_none());
}

#[test]
fn bridge_entries() {
    let mut tables = node();
    let good = bridge(2, ENCAP);
    for (errno, spec) in [
        (EINVAL, vr_tables::control::BridgeSpec { mac: GivenMac::Absent, ..good }),
        (EINVAL, vr_tables::control::BridgeSpec { mac: GivenMac::from_bytes(&[0; 6]), ..good }),
        (EINVAL, vr_tables::control::BridgeSpec { mac: GivenMac::Malformed, ..good }),
        (EINVAL, vr_tables::control::BridgeSpec { vrf: VrfId(VRFS as u16), ..good }),
        (ENOENT, vr_tables::control::BridgeSpec { nexthop: NO_NEXTHOP, ..good }),
    ] {
        refused(&mut tables, errno, |tables| tables.bridge_add(&spec));
    }
    refused(&mut tables, ENOENT, |tables| tables.bridge_delete(VRF, good.mac));
    refused(&mut tables, ENOENT, |tables| tables.bridge_delete(VrfId(2), bridge(1, ENCAP).mac));
    assert_eq!(tables.bridge_entry(VRF, good.mac).unwrap_err().errno(), ENOENT);
    // Two buckets of four and four entries besides.
    let full = (2..40).find(|n| tables.bridge_add(&bridge(*n, ENCAP)).is_err()).unwrap();
    refused(&mut tables, ENOMEM, |tables| tables.bridge_add(&bridge(full, ENCAP)));
}

#[test]
fn labels_and_vnis() {
    let mut tables = node();
    refused(&mut tables, EINVAL, |tables| tables.label_add(Label(LABELS), ENCAP));
    refused(&mut tables, EINVAL, |tables| tables.label_add(Label(21), NO_NEXTHOP));
    refused(&mut tables, EINVAL, |tables| tables.label_delete(Label(LABELS)));
    assert_eq!(tables.label(Label(LABELS)).unwrap_err().errno(), EINVAL);
    assert_eq!(tables.label(Label(21)).unwrap_err().errno(), ENOENT);
    tables.label_delete(Label(21)).unwrap();
    refused(&mut tables, EINVAL, |tables| tables.label_add(Label(20), NO_NEXTHOP));

    refused(&mut tables, EINVAL, |tables| tables.vni_add(Vni(1 << 24), ENCAP));
    refused(&mut tables, EINVAL, |tables| tables.vni_add(Vni(5000), NO_NEXTHOP));
    assert_eq!(tables.vni(Vni(5001)).unwrap_err().errno(), ENOENT);
    tables.vni_delete(Vni(5001));
    assert_eq!(tables.vni(Vni(5000)).unwrap(), ENCAP);
    assert_eq!(tables.nexthop(L2_RECEIVE).unwrap().references, 1, "its id");
}
