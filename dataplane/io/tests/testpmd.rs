//! vhost-user ports against DPDK's virtio driver, which is written by others.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;
use vr_frame::{Batch, FramePool, Offload, Packet, PoolSet, PoolSizes};
use vr_io::{Port, PortFigures, VhostUser, VhostUserConfig, VhostUserPort, VhostUserRole};

const PACKETS: u32 = 1024;
/// Packets that travel to the guest and back.
const ROUNDS: usize = 40;
/// Of each size; fewer than the guest's rings hold.
const BURST: usize = 24;
const PATIENCE: Duration = Duration::from_secs(15);

/// The guest: a DPDK program that sends back what it receives.
struct Guest(Child);

impl Guest {
    fn start(path: &Path, device: &str) -> Self {
        let device = format!("net_virtio_user0,path={},{device}", path.display());
        let child = Command::new("dpdk-testpmd")
            .args([
                "--no-huge",
                "-m",
                "128",
                "--no-pci",
                "--no-shconf",
                "--no-telemetry",
                "-l",
                "0,1",
                "--vdev",
            ])
            .arg(device)
            .args(["--", "--forward-mode=io", "--port-topology=loop", "--total-num-mbufs=4096"])
            .args(["--rxq=2", "--txq=2", "--no-lsc-interrupt"])
            // Where it would make a folder of its own.
            .env("RUNTIME_DIRECTORY", path.parent().unwrap())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("dpdk-testpmd of Debian's package dpdk-dev");
        Self(child)
    }

    /// Ends it; returns what it has said.
    fn end(mut self) -> String {
        drop(self.0.stdin.take());
        let end = Instant::now() + PATIENCE;
        while self.0.try_wait().unwrap().is_none() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(5));
        }
        let _ = self.0.kill();
        let mut said = String::new();
        let _ = self.0.stdout.take().unwrap().read_to_string(&mut said);
        let _ = self.0.stderr.take().unwrap().read_to_string(&mut said);
        self.0.wait().unwrap();
        said
    }
}

fn packet(len: usize, tag: u8) -> Vec<u8> {
    (0..len).map(|at| if at < 12 { tag } else { (at % 251) as u8 }).collect()
}

/// Sends packets until they come back; says which.
fn exchange(ports: &mut [VhostUserPort], pool: &mut FramePool, sent: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let (mut batch, mut back) = (Batch::new(), Vec::new());
    for (number, bytes) in sent.iter().enumerate() {
        batch.push(Packet { frame: pool.copy_of(bytes).unwrap(), offload: Offload::NONE }).unwrap();
        ports[number % 2].transmit(pool, &mut batch);
    }
    let end = Instant::now() + Duration::from_millis(300);
    while back.len() < sent.len() && Instant::now() < end {
        for port in &mut *ports {
            port.receive(pool, &mut batch);
        }
        for packet in batch.drain() {
            back.push(packet.frame.bytes().to_vec());
            pool.free(packet.frame);
        }
    }
    back.sort();
    back
}

fn figures(ports: &[VhostUserPort]) -> [PortFigures; 2] {
    [ports[0].counters().figures(), ports[1].counters().figures()]
}

fn loops_through_the_guest(role: VhostUserRole, device: &str) {
    let directory = TempDir::with_prefix("vrx-io-").unwrap();
    let mut thread = VhostUser::start().unwrap();
    let path = directory.path().join("uvh_vif_vm");
    let mut ports =
        thread.open(&VhostUserConfig { ports: 2, ..VhostUserConfig::new(path.clone(), role) }).unwrap();
    let mut pool = PoolSet::new(1, PoolSizes { packets: PACKETS, supers: 8 }).unwrap().1.remove(0);
    let mut guest = Guest::start(&path, device);

    let end = Instant::now() + PATIENCE;
    while exchange(&mut ports, &mut pool, &[packet(60, 0), packet(60, 0)]).len() < 2 {
        let is_there = Instant::now() < end && guest.0.try_wait().unwrap().is_none();
        assert!(is_there, "the guest sends nothing back; it says:\n{}", guest.end());
    }
    // What is under way still.
    exchange(&mut ports, &mut pool, &[]);
    // Before its rings were filled there was no room.
    let before = figures(&ports).map(|figures| figures.tx_full);
    for round in 0..ROUNDS {
        let mut sent: Vec<_> =
            (0..BURST).map(|number| packet(60 + 60 * number, (round + number) as u8)).collect();
        let back = exchange(&mut ports, &mut pool, &sent);
        sent.sort();
        assert_eq!(back, sent, "round {round}, {:?}", figures(&ports));
    }
    let said = guest.end();
    assert!(said.contains("TX-packets"), "{said}");
    for (port, full) in ports.into_iter().zip(before) {
        let figures = port.counters().figures();
        assert!(figures.rx_packets >= (ROUNDS * BURST / 2) as u64, "both pairs of rings: {figures:?}");
        assert_eq!((figures.rx_bad_descriptors, figures.rx_malformed, figures.tx_full), (0, 0, full));
        Box::new(port).close(&mut pool);
    }
    assert_eq!(pool.available(), PACKETS as usize);
}

#[test]
fn a_guest_of_dpdk_that_listens() {
    loops_through_the_guest(VhostUserRole::Client, "queues=2,server=1,mrg_rxbuf=1");
}

#[test]
fn a_guest_of_dpdk_that_connects() {
    loops_through_the_guest(VhostUserRole::Server, "queues=2,mrg_rxbuf=0,queue_size=256");
}
