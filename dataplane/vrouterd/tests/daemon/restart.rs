//! Devices of pods that go, or are made anew, while the agent restarts.

use agent_sim::Message;

use crate::node::{Node, wait_until};

/// An agent of a DPDK node says so of all guests.
const TRANSPORT_PMD: u8 = 2;

fn add(node: &Node, index: i32, name: &str) {
    let guest = Message::new("vr_interface_req").i32(1, 0).i32(3, 3).i32(4, 1).i32(5, 1).i32(6, index);
    let guest = guest.i32(8, -1).string(10, name).bytes(38, &[0, 0, 0x5e, 0, 1, 0]).byte(53, TRANSPORT_PMD);
    let guest = guest.i16(55, -1).i32(63, -1).stop();
    node.control().apply(&[guest]).unwrap();
}

fn make(node: &Node, name: &str) {
    node.namespace.ip(&["link", "add", name, "type", "veth", "peer", "name", &format!("{name}-in")]).unwrap();
}

fn remove(node: &Node, name: &str) {
    node.namespace.ip(&["link", "delete", name]).unwrap();
}

/// How often a packet socket was opened for a device.
fn opened(node: &Node, name: &str) -> usize {
    let messages = node.messages();
    let of_device = |line: &&str| line.contains("port opened") && line.contains(name);
    messages.lines().filter(of_device).inspect(|line| assert!(!line.contains("uvh_vif_"), "{line}")).count()
}

#[test]
fn a_device_made_anew_gets_a_port_and_one_that_is_gone_is_not_waited_for() {
    let node = Node::new("anew");
    node.configure(
        "[fabric]\ndevice = \"eth0\"\n[agent]\ngraceful_restart = true\nrestart_quiet = 1\nrestart_grace = 3600\n",
    );
    let daemon = node.start();
    for (index, name) in (3..).zip(["stays", "anew", "goes"]) {
        make(&node, name);
        add(&node, index, name);
    }
    node.control().apply(&[Message::new("vrouter_ops").i32(1, 5).stop()]).unwrap();
    remove(&node, "goes");
    remove(&node, "anew");
    make(&node, "anew");
    add(&node, 3, "stays");
    add(&node, 4, "anew");
    wait_until("the switch", || {
        node.messages().contains("what the restarted agent has programmed is in force")
    });
    assert_eq!(["stays", "anew", "goes"].map(|name| opened(&node, name)), [1, 2, 1], "{}", node.messages());
    daemon.end();
}
