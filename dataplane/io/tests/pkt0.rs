//! The socket to an agent that is slow, dies and comes back.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use support::in_namespace;
use tempfile::TempDir;
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_io::{Pkt0Port, Pkt0Socket, Port};

const SIZES: PoolSizes = PoolSizes { packets: 4096, supers: 16 };

struct Rig {
    directory: TempDir,
    pool: FramePool,
    ours: Pkt0Socket,
}

impl Rig {
    fn new(sizes: PoolSizes) -> Self {
        // What a new namespace has; it may be more outside.
        std::fs::write("/proc/sys/net/unix/max_dgram_qlen", "10").unwrap();
        let directory = TempDir::with_prefix("vrx-io-").unwrap();
        let pool = PoolSet::new(1, sizes).unwrap().1.remove(0);
        let ours = Pkt0Socket::bind(directory.path()).unwrap();
        Self { directory, pool, ours }
    }

    /// Sends frames with these numbers, of some length.
    fn send(&mut self, port: &mut Pkt0Port, numbers: std::ops::Range<u16>, len: usize) {
        let mut batch = Batch::new();
        for number in numbers {
            let mut bytes = vec![0; len];
            bytes[12..14].copy_from_slice(&number.to_be_bytes());
            let frame = self.pool.copy_of(&bytes).unwrap();
            batch.push(Packet::plain(frame)).unwrap();
            if batch.len() == 8 {
                port.transmit(&mut self.pool, &mut batch);
            }
        }
        port.transmit(&mut self.pool, &mut batch);
    }

    fn close(self, port: Pkt0Port, sizes: PoolSizes) {
        let Self { mut pool, ours, .. } = self;
        Box::new(port).close(&mut pool);
        drop(ours);
        assert_eq!(pool.available(), sizes.packets as usize);
        assert_eq!(supers(&mut pool), sizes.supers as usize);
    }
}

/// Free super-frames.
fn supers(pool: &mut FramePool) -> usize {
    let free: Vec<_> = std::iter::from_fn(|| pool.super_frame()).collect();
    let count = free.len();
    for frame in free {
        pool.free(frame);
    }
    count
}

/// An agent that has not connected its socket to ours: the kernel keeps few datagrams for it.
fn agent(directory: &Path) -> UnixDatagram {
    let path = directory.join(Pkt0Port::AGENTS);
    // It may be the first.
    let _ = std::fs::remove_file(&path);
    let socket = UnixDatagram::bind(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn read(socket: &UnixDatagram) -> Vec<u16> {
    let mut bytes = [0; 16];
    let next = || socket.recv(&mut bytes).ok().map(|_| u16::from_be_bytes([bytes[12], bytes[13]]));
    std::iter::from_fn(next).collect()
}

#[test]
fn a_burst_waits_until_the_agent_reads_it() {
    in_namespace(|| {
        let mut rig = Rig::new(SIZES);
        let mut port = rig.ours.port().unwrap();
        let agent = agent(rig.directory.path());
        rig.send(&mut port, 0..900, 60);
        assert_eq!(port.counters().figures().tx_dropped(), 0);
        let mut got = Vec::new();
        while port.flush(&mut rig.pool) {
            let some = read(&agent);
            assert!(!some.is_empty(), "what waits was sent when there was room");
            got.extend(some);
        }
        got.extend(read(&agent));
        assert!(got.iter().copied().eq(0..900), "in order: {got:?}");
        assert_eq!(port.counters().figures().tx_packets, 900);
        rig.close(port, SIZES);
    });
}

#[test]
fn an_agent_that_does_not_read_takes_a_bounded_share_of_the_pool() {
    in_namespace(|| {
        let mut rig = Rig::new(SIZES);
        let mut port = rig.ours.port().unwrap();
        let agent = agent(rig.directory.path());
        rig.send(&mut port, 0..2000, 60);
        let held = SIZES.packets as usize - rig.pool.available();
        assert!((900..=1024).contains(&held), "{held}");
        let figures = port.counters().figures();
        assert_eq!(figures.tx_full + figures.tx_packets + held as u64, 2000);
        assert_eq!(read(&agent).first(), Some(&0), "the latest are dropped");
        rig.close(port, SIZES);

        let small = PoolSizes { packets: 256, supers: 16 };
        let mut rig = Rig::new(small);
        let mut port = rig.ours.port().unwrap();
        let _agent = self::agent(rig.directory.path());
        rig.send(&mut port, 0..1000, 60);
        assert!(rig.pool.available() >= 128 - 8, "{}", rig.pool.available());
        rig.close(port, small);

        let mut rig = Rig::new(SIZES);
        let mut port = rig.ours.port().unwrap();
        let _agent = self::agent(rig.directory.path());
        rig.send(&mut port, 0..1000, 4000);
        assert_eq!(supers(&mut rig.pool), 8);
        rig.close(port, SIZES);
    });
}

#[test]
fn an_agent_that_is_gone_keeps_nothing_waiting() {
    in_namespace(|| {
        let mut rig = Rig::new(SIZES);
        let mut port = rig.ours.port().unwrap();
        let agent = agent(rig.directory.path());
        rig.send(&mut port, 0..500, 60);
        assert!(port.flush(&mut rig.pool));
        drop(agent);
        assert!(!port.flush(&mut rig.pool));
        let figures = port.counters().figures();
        assert_eq!(figures.tx_packets + figures.tx_errors, 500);
        rig.close(port, SIZES);
    });
}

/// It connects before it asks for its interface, which is made anew by that.
#[test]
fn a_new_agent_is_reached_without_sending_anything() {
    in_namespace(|| {
        let mut rig = Rig::new(SIZES);
        let first = rig.ours.port().unwrap();
        let agents = [(); 2].map(|()| {
            let agent = agent(rig.directory.path());
            agent.connect(rig.directory.path().join(Pkt0Port::OURS)).unwrap();
            agent
        });
        let [_, agent] = agents;
        Box::new(first).close(&mut rig.pool);
        agent.send(&[1; 60]).unwrap();
        let mut port = rig.ours.port().unwrap();
        rig.send(&mut port, 7..8, 60);
        assert_eq!(read(&agent), [7]);
        let mut batch = Batch::new();
        port.receive(&mut rig.pool, &mut batch);
        assert_eq!(batch.len(), 0, "what came while there was no interface is lost");
        agent.send(&[2; 60]).unwrap();
        port.receive(&mut rig.pool, &mut batch);
        let packet = batch.drain().next().unwrap();
        assert_eq!(packet.frame.bytes(), [2; 60]);
        rig.pool.free(packet.frame);
        rig.close(port, SIZES);
    });
}

/// Datagrams go to whoever is there, and the successor of a dead agent can connect once that was noticed.
#[test]
fn an_agent_that_comes_back_is_connected_again() {
    in_namespace(|| {
        let mut rig = Rig::new(SIZES);
        let mut port = rig.ours.port().unwrap();
        let first = agent(rig.directory.path());
        rig.send(&mut port, 0..8, 60);
        assert_eq!(read(&first).len(), 8);
        rig.ours.let_go();
        rig.send(&mut port, 8..9, 60);
        assert_eq!(read(&first), [8], "it was not dead");

        drop(first);
        let second = agent(rig.directory.path());
        rig.send(&mut port, 9..19, 60);
        assert!(read(&second).into_iter().eq(9..19), "no datagram is lost");

        drop(second);
        let third = agent(rig.directory.path());
        let ours = rig.directory.path().join(Pkt0Port::OURS);
        assert!(
            third.connect(&ours).is_err(),
            "the kernel has begun to allow this: `let_go` is no longer needed"
        );
        rig.ours.let_go();
        third.connect(&ours).unwrap();
        third.send(&[2; 60]).unwrap();
        let mut batch = Batch::new();
        port.receive(&mut rig.pool, &mut batch);
        let packet = batch.drain().next().unwrap();
        rig.pool.free(packet.frame);

        drop(third);
        std::fs::remove_file(rig.directory.path().join(Pkt0Port::AGENTS)).unwrap();
        rig.ours.let_go();
        rig.ours.let_go();
        let figures = port.counters().figures();
        rig.send(&mut port, 0..8, 60);
        assert_eq!(port.counters().figures().tx_errors, figures.tx_errors + 8);
        rig.close(port, SIZES);
    });
}
