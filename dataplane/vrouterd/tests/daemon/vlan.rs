//! An underlay that is one VLAN of its device.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};

use crate::node::{Node, wait_until};

/// A request for the sender's own address, as hosts send it when they come up; with a tag, or without.
fn gratuitous_arp(vlan: Option<u8>, last: u8) -> Vec<u8> {
    let (mac, address) = ([2, 0, 0, 0, 0, last], [172, 30, 0, last]);
    let mut frame = [&[0xff; 6][..], &mac].concat();
    if let Some(vlan) = vlan {
        frame.extend([0x81, 0, 0, vlan]);
    }
    frame.extend([8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
    frame.extend([&mac[..], &address, &[0; 6], &address].concat());
    frame.resize(64, 0);
    frame
}

fn open(node: &Node, name: &str) -> PacketPort {
    node.namespace.run(|| PacketPort::open(&PacketConfig::new(name)).unwrap().remove(0)).unwrap()
}

fn send(port: &mut PacketPort, pool: &mut FramePool, frame: &[u8]) {
    let mut batch = Batch::new();
    batch.push(Packet::plain(pool.copy_of(frame).unwrap())).unwrap();
    port.transmit(pool, &mut batch);
}

/// Not every kernel has VLAN devices. One that is there is taken, so a veth stands for it.
#[test]
fn the_underlay_is_the_device_of_the_vlan_and_the_rest_has_another() {
    let node = Node::new("vlan");
    node.namespace.ip(&["address", "flush", "dev", "eth0"]).unwrap();
    node.namespace.ip(&["link", "add", "eth0.100", "type", "veth", "peer", "name", "far"]).unwrap();
    node.namespace.up("far", 1500, None).unwrap();
    node.configure("[fabric]\ndevice = \"eth0\"\nvlan = 100\nothers = \"rest\"\n");
    let mut pool = PoolSet::new(1, PoolSizes { packets: 256, supers: 1 }).unwrap().1.remove(0);
    for _ in 0..2 {
        let daemon = node.start();
        let shown = node.namespace.ip(&["-details", "link", "show", "rest"]).unwrap();
        assert!(shown.contains("macvlan mode passthru"), "{shown}");
        drop(node.agent());
        let path = node.sockets().join("agent_pkt0");
        std::fs::remove_file(&path).unwrap();
        let agent = UnixDatagram::bind(&path).unwrap();
        agent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let [mut far, mut wire, mut rest] = ["far", "eth1", "rest"].map(|name| open(&node, name));

        let mut bytes = [0; 256];
        wait_until("trap", || {
            send(&mut far, &mut pool, &gratuitous_arp(None, 9));
            agent.recv(&mut bytes).is_ok()
        });
        while agent.recv(&mut bytes).is_ok() {}
        let others = [gratuitous_arp(None, 7), gratuitous_arp(Some(101), 8)];
        for frame in &others {
            send(&mut wire, &mut pool, frame);
        }
        let mut seen = Vec::new();
        wait_until("frames on the other device", || {
            let mut batch = Batch::new();
            rest.receive(&mut pool, &mut batch);
            seen.extend(batch.iter().map(|packet| packet.frame.bytes().to_vec()));
            batch.drain().for_each(|packet| pool.free(packet.frame));
            others.iter().all(|frame| seen.contains(frame))
        });
        assert!(agent.recv(&mut bytes).is_err(), "neither is of the underlay");
        for port in [far, wire, rest] {
            Box::new(port).close(&mut pool);
        }
        daemon.end();
    }
}

/// The host would be cut off.
#[test]
fn a_device_with_addresses_keeps_the_rest() {
    let node = Node::new("vlan2");
    node.namespace.ip(&["link", "add", "eth0.100", "type", "veth", "peer", "name", "far"]).unwrap();
    node.configure("[fabric]\ndevice = \"eth0\"\nvlan = 100\nothers = \"rest\"\n");
    let daemon = node.start();
    assert!(node.namespace.ip(&["link", "show", "rest"]).is_err());
    assert!(node.messages().contains("take them off it"), "{}", node.messages());
    daemon.end();
}
