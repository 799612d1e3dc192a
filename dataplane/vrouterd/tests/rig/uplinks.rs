//! Several uplinks: interfaces that the daemon adds by itself.

use sandesh::messages::InterfaceReq;
use sandesh::{Compat, Message, SandeshOp, encode};

use crate::daemon::wait_until;
use crate::node::Node;

const PHYSICAL: i32 = 2;
const PMD: u8 = 2;
const MOCK_DEVICE: u32 = 0x400_0000;
/// Of the first uplink.
const COMPANION: i32 = 4352;

fn request(op: SandeshOp, number: i32) -> InterfaceReq {
    InterfaceReq { h_op: op, vifr_idx: number, ..InterfaceReq::default() }
}

fn codes(node: &mut Node, request: &InterfaceReq) -> Vec<i64> {
    let mut payload = Vec::new();
    encode(request, Compat::Current, &mut payload);
    node.exchange(&payload).codes
}

fn add_uplink(node: &mut Node, number: i32) {
    let name = format!("eth{}", number + 1);
    let spec = InterfaceReq {
        vifr_type: PHYSICAL,
        vifr_transport: PMD,
        vifr_name: name,
        vifr_mac: vec![0x52, 0x54, 0, 0, 0, number as u8],
        ..request(SandeshOp::ADD, number)
    };
    assert_eq!(codes(node, &spec), [0]);
}

fn companion(node: &mut Node) -> InterfaceReq {
    match node.read(&request(SandeshOp::GET, COMPANION)) {
        Message::InterfaceReq(vif) => *vif,
        other => panic!("{other:?} is no interface"),
    }
}

/// As test rigs do it: read, clear and delete the companion of the first of two uplinks.
#[test]
fn companions_are_interfaces_with_a_socket_like_others() {
    let mut node = Node::new();
    add_uplink(&mut node, 0);
    let missing = codes(&mut node, &request(SandeshOp::GET, COMPANION));
    assert_eq!(missing, [-2], "one uplink has no companion");
    add_uplink(&mut node, 1);
    node.attach_all(&["tap0"]);
    let vif = companion(&mut node);
    assert_eq!(vif.vifr_name.trim_end_matches('\0'), "tap0");
    assert_eq!(vif.vifr_flags as u32 & MOCK_DEVICE, MOCK_DEVICE);

    let mut arp = vec![0xff; 6];
    arp.extend_from_slice(&[2, 0, 0, 0, 0, 9, 8, 6, 0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 9, 172, 16, 0, 9]);
    arp.resize(60, 0);
    node.sent.clear();
    node.inject("eth1", &arp);
    wait_until("ARP at the companion", || {
        node.settle();
        !node.sent.is_empty()
    });
    assert_eq!(node.sent, [("tap0".to_owned(), arp)]);
    assert_eq!(companion(&mut node).vifr_opackets, 1);

    assert_eq!(codes(&mut node, &request(SandeshOp::RESET, COMPANION)), [0]);
    assert_eq!(companion(&mut node).vifr_opackets, 0);
    assert_eq!(codes(&mut node, &request(SandeshOp::DEL, COMPANION)), [0]);
    assert_eq!(codes(&mut node, &request(SandeshOp::GET, COMPANION)), [-2]);
    node.close();
}
