//! Composites of the node's tables: a service with members behind two peers, one with members that are local, and
//! underlay links.

use std::net::IpAddr;

use vr_tables::control::{NexthopKind, NexthopSpec, Tables};
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_types::{Label, NexthopId, VifId};

use crate::world::{FABRIC, ROUTED, TUNNEL, VRF, nexthop, route, tunnel};

pub(crate) const SECOND_PEER: [u8; 4] = [172, 16, 0, 3];
/// Address of the service, and the composite of its members.
pub(crate) const SERVICE: [u8; 4] = [10, 96, 0, 10];
pub(crate) const SERVICE_MEMBERS: u32 = 80;
const SECOND_TUNNEL: u32 = 33;
const TUNNEL_WITH_LINKS: u32 = 34;
pub(crate) const LOCAL_SERVICE: u32 = 81;
const OTHER_MEMBERS: u32 = 82;
/// No nexthop has this number.
pub(crate) const NO_MEMBER: u32 = 99;
/// Leads to both guests.
pub(crate) const LOCAL_SERVICE_LABEL: u32 = 60;

fn members(id: u32, flags: NexthopFlags, members: &[(u32, i32)]) -> NexthopSpec {
    NexthopSpec {
        members: members.iter().map(|(id, _)| Some(NexthopId(*id))).collect(),
        labels: members.iter().map(|(_, label)| *label).collect(),
        ..nexthop(id, NexthopKind::Composite, NexthopFamily::Inet, VRF, flags | NexthopFlags::COMPOSITE_ECMP)
    }
}

/// Adds a service with a member behind each peer, and a third one that is not there.
pub(crate) fn add_service(tables: &mut Tables) {
    let second = NexthopSpec {
        id: NexthopId(SECOND_TUNNEL),
        destination: Some(IpAddr::from(SECOND_PEER)),
        ..tunnel(0)
    };
    tables.nexthop_add(&second).unwrap();
    add_members(tables, TUNNEL[0]);
    tables.route_add(&route(VRF, SERVICE, SERVICE_MEMBERS, None)).unwrap();
}

fn add_members(tables: &mut Tables, first: u32) {
    let service = [(first, 50), (SECOND_TUNNEL, 51), (NO_MEMBER, 52)];
    tables.nexthop_add(&members(SERVICE_MEMBERS, NexthopFlags::empty(), &service)).unwrap();
}

/// Lets the first member of the service have three underlay links, of which the first is there.
pub(crate) fn add_underlay_links(tables: &mut Tables) {
    let plain = tunnel(0);
    let links = NexthopSpec {
        id: NexthopId(TUNNEL_WITH_LINKS),
        flags: plain.flags | NexthopFlags::TUNNEL_UNDERLAY_ECMP,
        interfaces: vec![FABRIC, VifId::NONE, VifId::NONE],
        link_valid: vec![true, false, false],
        rewrite: plain.rewrite.repeat(3),
        ..plain
    };
    tables.nexthop_add(&links).unwrap();
    add_members(tables, TUNNEL_WITH_LINKS);
}

/// Leads to the service by a composite of its own, whose members are this one and the second tunnel.
pub(crate) fn lead_to_service_by(tables: &mut Tables, first: u32) {
    let by = [(first, 60), (SECOND_TUNNEL, 61)];
    tables.nexthop_add(&members(OTHER_MEMBERS, NexthopFlags::empty(), &by)).unwrap();
    tables.route_add(&route(VRF, SERVICE, OTHER_MEMBERS, None)).unwrap();
}

/// Adds a label and a route for a service whose members are both guests.
pub(crate) fn add_local_service(tables: &mut Tables) {
    lead_to_guests(tables, ROUTED);
    tables.route_add(&route(VRF, SERVICE, LOCAL_SERVICE, None)).unwrap();
}

/// Leads the label of that service to another composite of the same number, whose members are in the other order. The route
/// keeps the first one.
pub(crate) fn renew_local_service(tables: &mut Tables) {
    tables.nexthop_delete(NexthopId(LOCAL_SERVICE)).unwrap();
    let [first, second] = ROUTED;
    lead_to_guests(tables, [second, first]);
}

fn lead_to_guests(tables: &mut Tables, guests: [u32; 2]) {
    let spec = members(LOCAL_SERVICE, NexthopFlags::POLICY, &guests.map(|id| (id, -1)));
    tables.nexthop_add(&spec).unwrap();
    tables.label_add(Label(LOCAL_SERVICE_LABEL), NexthopId(LOCAL_SERVICE)).unwrap();
}
