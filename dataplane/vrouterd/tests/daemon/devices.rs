//! Devices that change while the daemon has them.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use agent_sim::Message;
use vr_frame::{Batch, Packet, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};

use crate::node::{Node, wait_until};
use crate::traps::gratuitous_arp;

const FABRIC: i32 = 0;
const MTU: i16 = 9;
const STATUS: i16 = 85;
const DEVICE_IN_PACKETS: i16 = 30;

fn shown(node: &Node, field: i16) -> i64 {
    let get = Message::new("vr_interface_req").i32(1, 1).i32(6, FABRIC).stop();
    node.control().one(get).unwrap().objects[0].number(field)
}

fn set(node: &Node, device: &str, what: &[&str]) {
    node.namespace.ip(&[&["link", "set", "dev", device], what].concat()).unwrap();
}

fn has_mtu(node: &Node, device: &str, mtu: u32) -> bool {
    node.namespace.ip(&["link", "show", "dev", device]).unwrap().contains(&format!("mtu {mtu} "))
}

#[test]
fn interfaces_follow_the_mtu_of_the_fabric_device() {
    let node = Node::new("mtu");
    let daemon = node.start();
    let _agent = node.agent();
    assert_eq!(shown(&node, MTU), 1514);
    for mtu in [1400, 1480] {
        set(&node, "eth0", &["mtu", &mtu.to_string()]);
        wait_until("MTU of the interface", || shown(&node, MTU) == i64::from(mtu) + 14);
        wait_until("MTU of vhost0", || ["vhost0", "vhost0-dp"].iter().all(|end| has_mtu(&node, end, mtu)));
    }
    set(&node, "vhost0", &["mtu", "1300"]);
    wait_until("MTU of our end", || has_mtu(&node, "vhost0-dp", 1300));
    assert!(has_mtu(&node, "eth0", 1480), "the fabric device is the kernel's");
    daemon.end();
}

#[test]
fn the_fabric_device_follows_a_vhost0_with_the_address_of_the_host() {
    let node = Node::new("mtu2");
    node.configure("[fabric]\ndevice = \"eth0\"\nhost = \"vhost0\"\n");
    let daemon = node.start();
    let _agent = node.agent();
    set(&node, "vhost0", &["mtu", "1390"]);
    wait_until("MTU of the fabric", || ["eth0", "vhost0-dp"].iter().all(|end| has_mtu(&node, end, 1390)));
    wait_until("MTU of the interface", || shown(&node, MTU) == 1404);
    daemon.end();
}

#[test]
fn a_fabric_device_goes_down_and_comes_up() {
    let node = Node::new("down");
    let daemon = node.start();
    drop(node.agent());
    let path = node.sockets().join("agent_pkt0");
    std::fs::remove_file(&path).unwrap();
    let agent = UnixDatagram::bind(&path).unwrap();
    agent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut pool = PoolSet::new(1, PoolSizes { packets: 256, supers: 1 }).unwrap().1.remove(0);
    for _ in 0..2 {
        set(&node, "eth0", &["down"]);
        wait_until("state of the interface", || shown(&node, STATUS) == 0);
        let time = daemon.processor_time();
        std::thread::sleep(Duration::from_secs(1));
        let busy = daemon.processor_time().saturating_sub(time);
        assert!(busy < Duration::from_millis(300), "{busy:?} of a second");
        set(&node, "eth0", &["up"]);
        wait_until("state of the interface", || shown(&node, STATUS) == 1);
        let open = || PacketPort::open(&PacketConfig::new("eth1")).unwrap().remove(0);
        let mut wire = node.namespace.run(open).unwrap();
        let mut bytes = [0; 256];
        wait_until("trap", || {
            let mut batch = Batch::new();
            batch.push(Packet::plain(pool.copy_of(&gratuitous_arp()).unwrap())).unwrap();
            wire.transmit(&mut pool, &mut batch);
            agent.recv(&mut bytes).is_ok()
        });
        Box::new(wire).close(&mut pool);
    }
    assert!(shown(&node, DEVICE_IN_PACKETS) >= 2, "the kernel counts them too");
    daemon.end();
}
