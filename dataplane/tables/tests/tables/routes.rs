//! Routes through commands (control.md 4.5).

use vr_tables::control::{GivenMac, Prefix, RouteSpec};
use vr_tables::fib::RouteFlags;
use vr_tables::nexthop::NexthopSlot;
use vr_types::{Mac, NexthopId, VrfId};

use crate::support::{COMPOSITE, ENCAP, TUNNEL, VRF, bridge, node, route};

#[test]
fn an_added_route_replaces_the_one_of_its_prefix() {
    let mut tables = node();
    let seen = |tables: &vr_tables::control::Tables, len| {
        let view = tables.route(VRF, Prefix::Inet([10, 0, 0, 0], len)).unwrap().unwrap();
        (view.nexthop, view.route.label(), view.route.prefix_len, view.route.flags())
    };
    assert_eq!(seen(&tables, 8), (TUNNEL, Some(40), 8, RouteFlags::LABEL_VALID));
    let references = tables.nexthop(TUNNEL).unwrap().references;
    let proxy = RouteSpec { flags: RouteFlags::ARP_PROXY, ..route([10, 1, 2, 3], 8, ENCAP, None) };
    tables.route_add(&proxy).unwrap();
    assert_eq!(
        seen(&tables, 8),
        (ENCAP, None, 8, RouteFlags::ARP_PROXY),
        "bits behind the length do not count"
    );
    assert_eq!(tables.route_count(), 1);
    assert_eq!(tables.nexthop(TUNNEL).unwrap().references, references - 1);
    tables.route_add(&route([10, 0, 0, 0], 24, COMPOSITE, None)).unwrap();
    assert_eq!(seen(&tables, 24).0, COMPOSITE);
    assert_eq!(seen(&tables, 23).0, ENCAP, "the longest match that is no longer than asked");
    tables.publish();
    let lookup = |tables: &vr_tables::control::Tables, address| {
        tables.nexthop_id(tables.snapshot().route(VRF, address).nexthop)
    };
    assert_eq!(lookup(&tables, [10, 0, 0, 255]), COMPOSITE);
    assert_eq!(lookup(&tables, [10, 0, 1, 0]), ENCAP);
    assert_eq!(tables.snapshot().route(VRF, [11, 0, 0, 0]).nexthop, NexthopSlot::DISCARD);
    assert_eq!(tables.snapshot().route(VrfId(2), [10, 0, 0, 0]).nexthop, NexthopSlot::DISCARD);
}

#[test]
fn a_removed_route_leaves_the_covering_one() {
    let mut tables = node();
    tables.route_add(&route([10, 0, 0, 0], 24, ENCAP, None)).unwrap();
    // The description of the covering route is checked and not believed.
    let removal = route([10, 0, 0, 0], 24, NexthopId::DISCARD, None);
    tables.route_delete(&removal).unwrap();
    assert_eq!(tables.nexthop_id(tables.snapshot().route(VRF, [10, 0, 0, 1]).nexthop), TUNNEL);
    tables.route_delete(&removal).unwrap();
    assert_eq!(tables.route_count(), 1, "a route that is not there is no error");
}

#[test]
fn a_route_names_the_mac_of_its_bridge_entry() {
    let mut tables = node();
    let mac = Mac([2, 0, 0, 0, 1, 1]);
    let spec = RouteSpec { mac: GivenMac::Mac(mac), ..route([10, 0, 0, 9], 32, ENCAP, None) };
    tables.route_add(&spec).unwrap();
    let view = tables.route(VRF, spec.prefix).unwrap().unwrap();
    assert_eq!(view.mac, Some(mac));
    tables.bridge_delete(VRF, bridge(1, ENCAP).mac).unwrap();
    assert_eq!(tables.route(VRF, spec.prefix).unwrap().unwrap().mac, None);
}
