//! `vr_flow_req`: the table, and flows in it (control.md 4.15, last paragraph).

use crate::node::{FLOWS, Node};
use crate::requests::{ADD, Flow, Interface, Nexthop};

const EBADF: i64 = -9;
const EINVAL: i64 = -22;

/// Positions that a flow may have.
const INDEX: i16 = 3;

#[test]
fn the_table_is_found_by_vr_flow_req() {
    let mut node = Node::new();
    let table = node.client.object(&Flow { op: 2, ..Flow::set(0, 0) }.encode());
    assert_eq!((table.name.as_str(), table.number(1)), ("vr_flow_req", 2));
    assert_eq!(table.number(6) as u64, FLOWS * 128);
    assert_eq!(table.text(26), node.sockets().join("flow.shmem").to_str().unwrap());
    assert_eq!(table.number(30), 1, "a worker");
    node.flow_entry(0);
    // The current release asks in another way, which R2.20 does not know.
    let other = agent_sim::Message::new("vr_flow_table_data").i32(1, 2).stop();
    node.client.refused(&other, -1);
    let listed = Flow { op: 1, ..Flow::set(0, 0) }.encode();
    assert_eq!(node.client.ask(&listed).0, EINVAL);
}

#[test]
fn a_flow_is_made_changed_and_removed() {
    let mut node = Node::new();
    node.client.done(&Interface { name: "tap1", ..Interface::new(ADD, 5) }.encode());
    let nexthop = Nexthop { interface: 5, encap: vec![2; 14], ..Nexthop::new(ADD, 2, 20) };
    node.client.done(&nexthop.encode());

    let made = node.client.object(&Flow::set(-1, 1000).encode());
    assert_eq!((made.name.as_str(), made.number(1), made.number(4)), ("vr_flow_req", 0, 2));
    let index = made.number(INDEX);
    let entry = node.flow_entry(index);
    let key = [0x03, 0xe8, 0, 80, 10, 0, 0, 1, 10, 0, 0, 2, 20, 0, 0, 0, 6, 17];
    assert_eq!((&entry[21..39], entry[20]), (&key[..], 1));
    assert_eq!((&entry[54..58], &entry[66..70]), (&[2, 0, 1, 0][..], &[20, 0, 255, 255][..]));

    // Without a generation: the key tells whether the agent means this entry.
    let reverse = node.client.object(&Flow::set(-1, 2000).encode()).number(INDEX) as i32;
    let dropped =
        Flow { action: 0, flags: 0x1001, reverse, drop_reason: 0x0d, ..Flow::set(index as i32, 1000) };
    let changed = node.client.object(&dropped.encode());
    assert_eq!((changed.number(INDEX), changed.number(25)), (index, 0x0d));
    let entry = node.flow_entry(index);
    assert_eq!(entry[54..62], [&[0, 0, 1, 0x10][..], &reverse.to_le_bytes()].concat());
    assert_eq!(entry[82], 0x0d, "the number of its own release");

    let (code, objects) = node.client.ask(&Flow::set(index as i32, 1001).encode());
    assert_eq!((code, objects.len(), objects[0].number(INDEX)), (EBADF, 1, index), "another key");
    let gone = Flow { flags: 0, ..Flow::set(index as i32, 1000) };
    assert_eq!(node.client.object(&gone.encode()).number(INDEX), index);
    for absent in [index as i32, -1] {
        let (code, objects) =
            node.client.ask(&Flow { index: absent, ..Flow { flags: 0, ..Flow::set(0, 1000) } }.encode());
        assert_eq!((code, objects.len()), (EINVAL, 1), "nothing to remove at {absent}");
    }
    assert_eq!(node.flow_entry(index)[20..40], [0; 20]);
}
