//! What is particular to `AF_PACKET`.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::time::Duration;

use support::frames::frame;
use support::rig::{Kind, Rig};
use support::{in_namespace, wire};
use vr_frame::{Batch, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};

#[test]
fn vlan_tags_that_the_kernel_takes_out_are_put_back() {
    in_namespace(|| {
        let mut rig = Rig::new(Kind::Packet, &[]);
        for tag in [[0x81, 0x00, 0x20, 0x05], [0x88, 0xa8, 0x00, 0x07]] {
            let mut tagged = frame(1, 100);
            tagged.splice(12..12, tag);
            rig.peer.send(&tagged);
            let mut batch = Batch::new();
            for _ in 0..1000 {
                rig.port.receive(&mut rig.pool, &mut batch);
                if batch.iter().any(|packet| packet.frame.bytes() == tagged) {
                    break;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            assert!(batch.iter().any(|packet| packet.frame.bytes() == tagged), "{tag:02x?}");
            for packet in batch.drain() {
                rig.pool.free(packet.frame);
            }
        }
        rig.close();
    });
}

#[test]
fn own_transmissions_do_not_come_back() {
    in_namespace(|| {
        let mut rig = Rig::new(Kind::Packet, &[]);
        rig.transmit(&[frame(1, 100)]);
        assert!(rig.peer.receive(Duration::from_secs(3)).is_some());
        assert!(rig.receive_nothing());
        rig.close();
    });
}

#[test]
fn queues_share_the_frames_of_a_device() {
    in_namespace(|| {
        wire("vrx-a", "vrx-b", 1, 1500);
        let mut ports = PacketPort::open(&PacketConfig { queues: 3, ..PacketConfig::new("vrx-a") }).unwrap();
        assert_eq!(ports.len(), 3);
        let mut peer = support::raw::RawPeer::on("vrx-b");
        let mut pool = PoolSet::new(1, PoolSizes { packets: 512, supers: 64 }).unwrap().1.remove(0);
        let frames: Vec<_> = (0..100).map(|i| frame(i, 60)).collect();
        for frame in &frames {
            support::rig::Peer::send(&mut peer, frame);
        }
        std::thread::sleep(Duration::from_millis(20));
        let mut got = Vec::new();
        for port in &mut ports {
            for _ in 0..4 {
                got.extend(support::rig::receive_now(port, &mut pool));
            }
        }
        got.sort();
        let mut expected = frames;
        expected.sort();
        assert!(got == expected, "{} frames came once each", got.len());
        for port in ports {
            Box::new(port).close(&mut pool);
        }
        assert_eq!(pool.available(), 512);
    });
}
