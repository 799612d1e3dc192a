//! What voids the compiled actions of which flows.

use std::net::{IpAddr, Ipv6Addr};

use vr_tables::control::{NexthopSpec, Tables, VifSpec};
use vr_tables::epochs::NexthopGroup;
use vr_tables::flow::Source;
use vr_tables::nexthop::NexthopSlot;
use vr_tables::vif::VifKind;
use vr_types::{NexthopId, VifId, VrfId};

use crate::support::{
    COMPOSITE, ENCAP, FABRIC, GUEST, L2_RECEIVE, NoPorts, TUNNEL, VRF, bridge, composite, encap, node, route,
    tunnel,
};

/// What was voided by a change.
#[derive(Debug, PartialEq, Eq)]
struct Voided {
    /// Flows of these VRFs.
    vrfs: Vec<u16>,
    /// Flows whose source was checked by nexthops of these groups.
    groups: Vec<u32>,
    /// Flows from these guests.
    guests: Vec<u16>,
}

const NOTHING: Voided = Voided { vrfs: vec![], groups: vec![], guests: vec![] };

fn state(tables: &Tables) -> (Vec<u32>, Vec<u32>, Vec<Option<Source>>) {
    let snapshot = tables.snapshot();
    let group = |slot| snapshot.nexthop_epochs.of(NexthopGroup::of(NexthopSlot(slot)));
    let source = |id| snapshot.vif(VifId(id)).map(vr_tables::vif::Vif::source);
    (
        (0..4).map(|vrf| snapshot.flow_epoch(VrfId(vrf))).collect(),
        (0..256).map(group).collect(),
        (3..6).map(source).collect(),
    )
}

fn change(tables: &mut Tables, command: impl FnOnce(&mut Tables)) -> Voided {
    let before = state(tables);
    command(tables);
    tables.publish();
    let after = state(tables);
    let differ = |a: &[u32], b: &[u32]| -> Vec<u32> {
        (0..a.len()).filter(|i| a[*i] != b[*i]).map(|i| i as u32).collect()
    };
    let guests = (0..3).filter(|i| before.2[*i].is_some() && before.2[*i] != after.2[*i]);
    Voided {
        vrfs: differ(&before.0, &after.0).into_iter().map(|vrf| vrf as u16).collect(),
        groups: differ(&before.1, &after.1),
        guests: guests.map(|i| i as u16 + 3).collect(),
    }
}

fn slot(tables: &Tables, id: NexthopId) -> u32 {
    tables.snapshot().nexthop_slot(id).unwrap().0
}

fn all() -> Voided {
    Voided { vrfs: vec![0, 1, 2, 3], ..NOTHING }
}

#[test]
fn a_route_or_bridge_entry_voids_its_vrf() {
    let mut tables = node();
    let vrf = || Voided { vrfs: vec![VRF.0], ..NOTHING };
    assert_eq!(change(&mut tables, |t| t.route_add(&route([10, 1, 0, 0], 16, ENCAP, None)).unwrap()), vrf());
    assert_eq!(
        change(&mut tables, |t| t.route_delete(&route([10, 1, 0, 0], 16, ENCAP, None)).unwrap()),
        vrf()
    );
    assert_eq!(change(&mut tables, |t| t.bridge_add(&bridge(2, ENCAP)).unwrap()), vrf());
    assert_eq!(change(&mut tables, |t| t.bridge_delete(VRF, bridge(2, ENCAP).mac).unwrap()), vrf());
}

#[test]
fn a_nexthop_that_comes_or_gets_another_header_voids_nothing() {
    let mut tables = node();
    let new = encap(NexthopId(60), GUEST);
    assert_eq!(change(&mut tables, |t| t.nexthop_add(&new).unwrap()), NOTHING);
    let neighbour = NexthopSpec { rewrite: vec![9; 14], ..tunnel(TUNNEL, [172, 16, 0, 2]) };
    assert_eq!(change(&mut tables, |t| t.nexthop_add(&neighbour).unwrap()), NOTHING);
}

#[test]
fn a_nexthop_that_goes_or_leads_elsewhere_voids_its_group() {
    let mut tables = node();
    tables.nexthop_add(&encap(NexthopId(60), GUEST)).unwrap();
    let group = Voided { groups: vec![slot(&tables, NexthopId(60))], ..NOTHING };
    assert_eq!(change(&mut tables, |t| t.nexthop_add(&encap(NexthopId(60), FABRIC)).unwrap()), group);
    assert_eq!(change(&mut tables, |t| t.nexthop_delete(NexthopId(60)).unwrap()), group);
    let members = Voided { groups: vec![slot(&tables, COMPOSITE)], ..NOTHING };
    assert_eq!(change(&mut tables, |t| t.nexthop_add(&composite(COMPOSITE, &[TUNNEL])).unwrap()), members);
}

#[test]
fn rare_changes_void_everything() {
    let mut tables = node();
    let group = slot(&tables, TUNNEL);
    let moved = change(&mut tables, |t| t.nexthop_add(&tunnel(TUNNEL, [172, 16, 0, 3])).unwrap());
    assert_eq!(moved, Voided { groups: vec![group], ..all() }, "a composite has it as a member");
    let again = tables.nexthop(L2_RECEIVE).unwrap().spec.clone();
    assert_eq!(change(&mut tables, |t| t.nexthop_add(&again).unwrap()), all());
    let fabric = VifSpec::new(FABRIC, VifKind::Physical, "fabric");
    assert_eq!(change(&mut tables, |t| t.vif_add(&fabric, &mut NoPorts).unwrap()), all());
}

#[test]
fn a_guests_interface_voids_its_own_flows() {
    let mut tables = node();
    let guest = |id: u16| VifSpec::new(VifId(id), VifKind::Virtual, "guest");
    assert_eq!(change(&mut tables, |t| t.vif_add(&guest(4), &mut NoPorts).unwrap()), NOTHING);
    let own = |id| Voided { guests: vec![id], ..NOTHING };
    assert_eq!(change(&mut tables, |t| t.vif_add(&guest(4), &mut NoPorts).unwrap()), own(4));
    let before = state(&tables).2[1];
    assert_eq!(change(&mut tables, |t| t.vif_delete(VifId(4), "", &mut NoPorts).unwrap()), own(4));
    tables.vif_add(&guest(4), &mut NoPorts).unwrap();
    assert_ne!(state(&tables).2[1], before, "a successor is another source");
    let sub = VifSpec { parent: VifId(4), vlan: 5, ..VifSpec::new(VifId(5), VifKind::VirtualVlan, "sub") };
    assert_eq!(change(&mut tables, |t| t.vif_add(&sub, &mut NoPorts).unwrap()), own(4));
}

/// The version of an interface has sixteen bits.
#[test]
fn versions_of_interfaces_that_come_again_void_everything() {
    let mut tables = node();
    let mut guest = VifSpec::new(GUEST, VifKind::Virtual, "guest");
    let before = state(&tables);
    for round in 0..=u16::MAX {
        guest.isid = u32::from(round);
        tables.vif_add(&guest, &mut NoPorts).unwrap();
    }
    let after = state(&tables);
    assert_eq!(after.2[0], before.2[0]);
    assert!((0..4).all(|vrf| after.0[vrf] != before.0[vrf]));
}

#[test]
fn a_reset_never_comes_back_to_an_earlier_epoch() {
    let mut tables = node();
    for _ in 0..5 {
        tables.route_add(&route([10, 1, 0, 0], 16, ENCAP, None)).unwrap();
    }
    let before = tables.snapshot().flow_epoch(VRF);
    tables.reset(&mut NoPorts);
    assert!((0..16).all(|vrf| tables.snapshot().flow_epoch(VrfId(vrf)) > before));
}

#[test]
fn tunnels_to_inet6_peers_are_told_apart() {
    let mut tables = node();
    let peer = |n: u16| Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 1, n);
    let source = |tables: &Tables, n| tables.snapshot().peer(IpAddr::V6(peer(n)));
    for n in 0..3 {
        tables.nexthop_add(&tunnel(NexthopId(60 + u32::from(n)), peer(n))).unwrap();
    }
    let [a, b, c] = [0, 1, 2].map(|n| source(&tables, n));
    assert!(a != b && b != c && a != c && ![a, b, c].contains(&Source::UNKNOWN));
    assert_eq!(source(&tables, 3), Source::UNKNOWN, "no nexthop leads there");
    // The nexthop leads elsewhere.
    tables.nexthop_add(&tunnel(NexthopId(61), peer(3))).unwrap();
    assert_eq!(source(&tables, 1), Source::UNKNOWN);
    tables.nexthop_delete(NexthopId(60)).unwrap();
    assert_eq!(source(&tables, 0), Source::UNKNOWN);
    let new = source(&tables, 3);
    assert!(![a, b, c, Source::UNKNOWN].contains(&new));
    assert_eq!(source(&tables, 2), c);
    assert_eq!(tables.snapshot().peer(IpAddr::from([172, 16, 0, 2])), Source::inet([172, 16, 0, 2]));
}
