//! What has another meaning in R2.20 (control.md 9.1), row by row.

use std::net::Ipv4Addr;

use agent_sim::Message;

use crate::node::Node;
use crate::requests::{ADD, DEL, DUMP, GET, Interface, Nexthop, RESET, mirror, router};

const EINVAL: i64 = -22;
const ENODEV: i64 = -19;
const EOPNOTSUPP: i64 = -95;

/// 10.1.2.3 as a number.
const ADDRESS: u32 = 0x0a01_0203;

/// A node with a guest, interface 5.
fn node() -> Node {
    let mut node = Node::new();
    let guest = Interface { name: "tap1", ip: ADDRESS, nexthop: 40_000_u16 as i16, ..Interface::new(ADD, 5) };
    // A bit that R2.20 has no meaning for is none of the current release's flags.
    node.client.done(&Interface { flags: 0x4_0000, ..guest }.encode());
    node
}

#[test]
fn clients_are_served_on_tcp_alone() {
    let mut node = Node::new();
    assert!(!node.sockets().join("dpdk_netlink").exists());
    assert!(node.sockets().join("flow.shmem").exists());
    // How an agent of R2.20 begins, and beside it a utility.
    node.client.done(&Interface::new(DUMP, 0).encode());
    let mut other = node.connect();
    other.done(&Interface::new(DUMP, 0).encode());
    node.client.done(&router(RESET));
}

#[test]
fn a_port_that_is_taken_is_named() {
    let said = Node::new().rival();
    assert!(
        said.contains("127.0.0.1:") && said.contains("`control_port`") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn interfaces() {
    let mut node = node();
    let shown = node.client.object(&Interface::new(GET, 5).encode());
    assert_eq!((shown.name.as_str(), shown.text(9)), ("vr_interface_req", "tap1".to_owned()));
    assert_eq!((shown.number(2), shown.number(5), shown.number(8)), (3, 5, 1514));
    assert_eq!(shown.number(19), i64::from(ADDRESS), "a number in host order");
    assert_eq!(shown.number(26), i64::from(40_000_u16 as i16), "an id of 16 bits");
    assert_eq!(shown.number(3) & !0x1_ffff, 0, "flags that R2.20 has");
    assert_eq!((shown.number(31), shown.number(33)), (2, 0), "32 fields");

    node.client.refused(&Interface::new(RESET, 5).encode(), EOPNOTSUPP);
    let (count, objects) = node.client.ask(&Interface::new(DUMP, 0).encode());
    assert_eq!((count, objects.len(), objects[0].number(19)), (1, 1, i64::from(ADDRESS)));

    // By index only: the name does not count.
    node.client.refused(&Interface { name: "tap1", ..Interface::new(DEL, 6) }.encode(), ENODEV);
    node.client.done(&Interface { name: "another", ..Interface::new(DEL, 5) }.encode());
}

#[test]
fn nexthops() {
    let mut node = node();
    let encap = Nexthop { interface: 5, encap: vec![2; 14], ..Nexthop::new(ADD, 2, 20) };
    node.client.done(&encap.encode());
    let shown = node.client.object(&Nexthop::new(GET, 0, 20).encode());
    assert_eq!((shown.number(2), shown.number(3), shown.number(4)), (2, 2, 20));
    assert_eq!((shown.number(6), shown.bytes(17), shown.number(16)), (5, &[2; 14][..], 1));

    // A frame for the interface: in R2.20 a flag, now a family.
    let bridged = Nexthop { id: 21, flags: 0x1 | 0x4, encap: Vec::new(), ..encap };
    node.client.done(&bridged.encode());
    let shown = node.client.object(&Nexthop::new(GET, 0, 21).encode());
    assert_eq!((shown.number(3), shown.number(16)), (7, 0x5));

    // The last id of the table, and the first behind it.
    node.client.done(&Nexthop::new(ADD, 5, 65_535).encode());
    node.client.refused(&Nexthop::new(ADD, 5, 65_536).encode(), EINVAL);

    // Source from the packet, unknown MACs flooded, route lookup: all have moved.
    let all = 0x1_0000 | 0x2_0000 | 0x4_0000;
    node.client.done(&Nexthop { flags: 1 | all, ..Nexthop::new(ADD, 5, 22) }.encode());
    assert_eq!(node.client.object(&Nexthop::new(GET, 0, 22).encode()).number(16), i64::from(1 | all));
    let vnid = Nexthop { flags: 1 | 0x8000, ..Nexthop::new(ADD, 5, 23) };
    node.client.done(&vnid.encode());
    assert_eq!(node.client.object(&Nexthop::new(GET, 0, 23).encode()).number(16), 1, "no route lookup");
}

#[test]
fn composites() {
    let mut node = node();
    let encap = Nexthop { interface: 5, flags: 0x5, ..Nexthop::new(ADD, 2, 20) };
    node.client.done(&encap.encode());
    // Guests of a network, and the tree that has them: 0x2000 ENCAP, 0x800 L2.
    let guests = Nexthop { flags: 1 | 0x800 | 0x2000, members: vec![20], ..Nexthop::new(ADD, 6, 30) };
    node.client.done(&guests.encode());
    let tree = Nexthop { flags: 1 | 0x800, members: vec![30], ..Nexthop::new(ADD, 6, 31) };
    node.client.done(&tree.encode());
    let shown = node.client.object(&Nexthop::new(GET, 0, 30).encode());
    assert_eq!((shown.number(3), shown.number(16)), (7, 1 | 0x800 | 0x2000));
    let shown = node.client.object(&Nexthop::new(GET, 0, 31).encode());
    assert_eq!(
        (shown.number(16), shown.bytes(18)),
        (1 | 0x20 | 0x800, &[0, 0, 0, 30][..]),
        "a multicast tree"
    );
    // A tree has composites as members, and nothing else.
    node.client.refused(&Nexthop { members: vec![20], ..tree }.encode(), EINVAL);
}

#[test]
fn tunnels() {
    let mut node = Node::new();
    let fabric = Interface { kind: 1, name: "eth0", ..Interface::new(ADD, 0) };
    node.client.done(&fabric.encode());
    let ends = [Ipv4Addr::new(172, 16, 0, 1), Ipv4Addr::new(172, 16, 0, 2)];
    let tunnel =
        Nexthop { interface: 0, ends, flags: 1 | 0x40, encap: vec![4; 14], ..Nexthop::new(ADD, 3, 40) };
    node.client.done(&tunnel.encode());
    let shown = node.client.object(&Nexthop::new(GET, 0, 40).encode());
    let raw = |address: Ipv4Addr| i64::from(u32::from_le_bytes(address.octets()));
    assert_eq!((shown.number(10), shown.number(11), shown.number(6)), (raw(ends[0]), raw(ends[1]), 0));
}

#[test]
fn mirrors() {
    let mut node = node();
    node.client.done(&Nexthop { interface: 5, encap: vec![2; 14], ..Nexthop::new(ADD, 2, 20) }.encode());
    node.client.done(&mirror(ADD, 3, 1));
    let shown = node.client.object(&mirror(GET, 3, 0));
    assert_eq!((shown.number(2), shown.number(4), shown.number(6)), (3, 20, 1), "marked for deletion");
    // What the current release calls so.
    node.client.done(&mirror(ADD, 4, 2));
    assert_eq!(node.client.object(&mirror(GET, 4, 0)).number(6), 0);
}

#[test]
fn the_router() {
    let mut node = Node::new();
    let shown = node.client.object(&router(GET));
    assert_eq!((shown.number(3), shown.number(4), shown.number(9)), (5120, 65_536, 4352));
    assert_eq!((shown.number(7), shown.number(8), shown.number(13)), (4096, 1024, 0));
    assert!(shown.text(12).contains("build-version"));
    node.client.refused(&router(ADD), EOPNOTSUPP);
    node.client.done(&router(RESET));
}

#[test]
fn counters() {
    let mut node = Node::new();
    let request = Message::new("vr_drop_stats_req").i32(1, GET).i16(2, 0).stop();
    let shown = node.client.object(&request);
    assert_eq!((shown.name.as_str(), shown.number(48), shown.number(49)), ("vr_drop_stats_req", 0, 0));
    let request = Message::new("vr_vrf_stats_req").i32(1, GET).i16(2, 0).i16(3, 2).i16(4, 0).i32(5, 1).stop();
    assert_eq!(node.client.object(&request).number(5), 1);
}

#[test]
fn messages_of_the_current_release_are_unknown() {
    let mut node = Node::new();
    for name in ["vr_vrf_req", "vr_mem_stats_req", "vr_info_req", "vr_qos_map_req", "vr_bridge_table_data"] {
        node.client.refused(&Message::new(name).i32(1, GET).stop(), -1);
    }
    node.client.done(&router(RESET));
}

#[test]
fn what_has_not_changed() {
    let mut node = node();
    node.client.done(&Nexthop { interface: 5, encap: vec![2; 14], ..Nexthop::new(ADD, 2, 20) }.encode());
    let label = |op| Message::new("vr_mpls_req").i32(1, op).i32(2, 16).i16(3, 0).i32(4, 20).i32(5, -1).stop();
    node.client.done(&label(ADD));
    assert_eq!(node.client.object(&label(GET)).number(4), 20);
    let vni = |op| Message::new("vr_vxlan_req").i32(1, op).i16(2, 0).i32(3, 5001).i32(4, 20).stop();
    node.client.done(&vni(ADD));
    assert_eq!(node.client.object(&vni(GET)).number(4), 20);
    let route = |op| {
        let route = Message::new("vr_route_req").i32(1, op).i32(2, 1).i32(3, 2).bytes(4, &[10, 1, 1, 3]);
        route.i32(5, 32).i16(6, 0).i16(7, 0).i32(8, 0).i32(9, 20).stop()
    };
    node.client.done(&route(ADD));
    assert_eq!(node.client.object(&route(GET)).number(9), 20);
}
