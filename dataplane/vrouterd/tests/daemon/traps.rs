//! Packets for the agent.

use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use agent_sim::statistics;
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port};

use crate::node::{Daemon, Node, wait_until};

const BURST: usize = 64;
const BURSTS: usize = 20;
/// Longer than the pause between two bursts, and than a loaded machine takes.
const QUIET: Duration = Duration::from_secs(2);

/// A request for the sender's own address, as hosts send it when they come up.
pub(crate) fn gratuitous_arp() -> Vec<u8> {
    let (mac, address) = ([2, 0, 0, 0, 0, 9], [172, 30, 0, 9]);
    let mut frame = [&[0xff; 6][..], &mac, &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &mac, &address].concat();
    frame.extend([&[0; 6][..], &address].concat());
    frame.resize(60, 0);
    frame
}

/// The far end of the fabric.
struct Fabric {
    pool: FramePool,
    port: PacketPort,
}

impl Fabric {
    fn send(&mut self, count: usize) {
        let mut batch = Batch::new();
        for _ in 0..count {
            let frame = self.pool.copy_of(&gratuitous_arp()).unwrap();
            batch.push(Packet::plain(frame)).unwrap();
        }
        self.port.transmit(&mut self.pool, &mut batch);
    }
}

/// How many datagrams come.
fn count(agent: &UnixDatagram) -> usize {
    let mut bytes = [0; 256];
    std::iter::from_fn(|| agent.recv(&mut bytes).ok()).count()
}

/// A node, its far end, and the socket of an agent that has not connected it: the kernel keeps ten datagrams for it.
fn unconnected(title: &str) -> (Node, Daemon, Fabric, UnixDatagram) {
    let node = Node::new(title);
    let daemon = node.start();
    drop(node.agent());
    let path = node.sockets().join("agent_pkt0");
    std::fs::remove_file(&path).unwrap();
    let agent = UnixDatagram::bind(&path).unwrap();
    let open = || PacketPort::open(&PacketConfig::new("eth1")).unwrap().remove(0);
    let port = node.namespace.run(open).unwrap();
    let pool = PoolSet::new(1, PoolSizes { packets: 256, supers: 1 }).unwrap().1.remove(0);
    let mut fabric = Fabric { pool, port };

    let mut bytes = [0; 256];
    agent.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    wait_until("trap to the new agent", || {
        fabric.send(1);
        agent.recv(&mut bytes).is_ok()
    });
    while agent.recv(&mut bytes).is_ok() {}

    agent.set_read_timeout(Some(QUIET)).unwrap();
    (node, daemon, fabric, agent)
}

#[test]
fn bursts_reach_an_agent_that_reads_one_by_one() {
    let (_node, daemon, mut fabric, agent) = unconnected("traps");
    let reader = std::thread::spawn(move || count(&agent));
    for _ in 0..BURSTS {
        fabric.send(BURST);
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(reader.join().unwrap(), BURST * BURSTS);
    daemon.end();
}

#[test]
fn traps_that_an_agent_does_not_read_are_drops_of_its_interface() {
    let (node, daemon, mut fabric, agent) = unconnected("lost");
    for _ in 0..BURSTS {
        fabric.send(BURST);
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut control = node.control();
    let mut lost = || statistics::drops(&mut control).unwrap().get("interface_tx_discard").copied();
    wait_until("drops", || lost().is_some_and(|lost| lost > 0));
    let arrived = count(&agent);
    assert!(arrived >= 500, "{arrived} waited");
    assert_eq!(arrived + lost().unwrap() as usize, BURST * BURSTS);
    daemon.end();
}
