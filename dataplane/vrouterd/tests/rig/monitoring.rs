//! What `vifdump` needs: a device on which all frames of an interface can be read.

use std::time::{Duration, Instant};

use sandesh::messages::InterfaceReq;
use sandesh::{Compat, Message, SandeshOp, encode};
use vr_frame::{Batch, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};

use crate::daemon::PATIENCE;
use crate::life::program_from;
use crate::node::Node;

/// A number that nobody else uses, near the top as the script chooses it.
const NUMBER: i32 = 4350;
const MONITORING: i32 = 9;
const VIRTUAL: u8 = 0;

fn request(op: SandeshOp, name: &str, watched: i32) -> Vec<u8> {
    let request = InterfaceReq {
        h_op: op,
        vifr_type: MONITORING,
        vifr_transport: VIRTUAL,
        vifr_idx: NUMBER,
        vifr_os_idx: watched,
        vifr_name: name.to_owned(),
        ..InterfaceReq::default()
    };
    let mut payload = Vec::new();
    encode(&request, Compat::Current, &mut payload);
    payload
}

/// The number of the interface of this name.
fn number_of(node: &mut Node, name: &str) -> i32 {
    let dump = InterfaceReq { h_op: SandeshOp::DUMP, vifr_marker: -1, ..InterfaceReq::default() };
    let mut payload = Vec::new();
    encode(&dump, Compat::Current, &mut payload);
    let is_it = |message| match message {
        Message::InterfaceReq(vif) if vif.vifr_name.trim_end_matches('\0') == name => Some(vif.vifr_idx),
        _ => None,
    };
    node.exchange(&payload).objects.into_iter().find_map(is_it).unwrap()
}

#[test]
fn frames_of_an_interface_are_seen_on_a_device() {
    let mut node = Node::new();
    let [(name, frame), _] = program_from(&mut node, "09-local-forwarding.jsonl");
    let watched = number_of(&mut node, &name);
    let device = format!("vrx-m{}", std::process::id());
    assert_eq!(node.exchange(&request(SandeshOp::ADD, &device, watched)).codes, [0]);

    let mut port = PacketPort::open(&PacketConfig::new(&device)).unwrap().remove(0);
    let mut pool = PoolSet::new(1, PoolSizes { packets: 64, supers: 1 }).unwrap().1.remove(0);
    node.inject(&name, &frame);
    let (mut batch, start) = (Batch::new(), Instant::now());
    while batch.is_empty() {
        assert!(start.elapsed() < PATIENCE, "no copy on {device}");
        port.receive(&mut pool, &mut batch);
        std::thread::sleep(Duration::from_millis(1));
    }
    let seen: Vec<Vec<u8>> = batch.iter().map(|packet| packet.frame.bytes().to_vec()).collect();
    batch.drain().for_each(|packet| pool.free(packet.frame));
    Box::new(port).close(&mut pool);
    assert_eq!(seen, [frame]);

    assert_eq!(node.exchange(&request(SandeshOp::DEL, &device, watched)).codes, [0]);
    assert!(vr_io::netdev::index(&device).is_err(), "the device goes with the interface");
    node.close();
}
