//! vhost-user ports with a front end that behaves, and with such as do not.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::io::{Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use support::front_end::{
    CSUM, FrontEnd, GUEST_CSUM, GUEST_TSO, HOST_TSO, MQ, MRG_RXBUF, Manners, PROTOCOL_FEATURES, accept,
};
use tempfile::TempDir;
use vr_frame::{Batch, FramePool, GsoKind, Offload, Packet, PoolSet, PoolSizes};
use vr_io::{Port, PortError, PortKind, Readiness, VhostUser, VhostUserConfig, VhostUserPort, VhostUserRole};

const PLAIN: [u8; 10] = [0; 10];
const PACKETS: u32 = 512;

struct Rig {
    directory: TempDir,
    thread: VhostUser,
    ports: Vec<VhostUserPort>,
    pool: FramePool,
}

impl Rig {
    fn new(role: VhostUserRole, ports: usize, mock: bool) -> Self {
        let directory = TempDir::with_prefix("vrx-io-").unwrap();
        let mut thread = VhostUser::start().unwrap();
        let path = directory.path().join("uvh_vif_tap1");
        let config = VhostUserConfig { ports, mock, ..VhostUserConfig::new(path, role) };
        let ports = thread.open(&config).unwrap();
        let (_, mut pools) = PoolSet::new(1, PoolSizes { packets: PACKETS, supers: 16 }).unwrap();
        Self { directory, thread, ports, pool: pools.remove(0) }
    }

    fn client() -> Self {
        Self::new(VhostUserRole::Client, 1, true)
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("uvh_vif_tap1")
    }

    /// Receives until so many packets are there; fails after a while.
    fn receive(&mut self, port: usize, count: usize) -> Vec<(Vec<u8>, Offload)> {
        let (mut batch, mut got) = (Batch::new(), Vec::new());
        let end = Instant::now() + Duration::from_secs(5);
        while got.len() < count {
            assert!(Instant::now() < end, "{} of {count} packets", got.len());
            self.ports[port].receive(&mut self.pool, &mut batch);
            for packet in batch.drain() {
                got.push((packet.frame.bytes().to_vec(), packet.offload));
                self.pool.free(packet.frame);
            }
        }
        got
    }

    fn transmit(&mut self, port: usize, packets: &[(Vec<u8>, Offload)]) {
        let mut batch = Batch::new();
        for (bytes, offload) in packets {
            let frame = self.pool.copy_of(bytes).unwrap();
            batch.push(Packet { frame, offload: *offload }).unwrap();
        }
        self.ports[port].transmit(&mut self.pool, &mut batch);
        assert!(batch.is_empty());
    }

    /// Transmits one packet, again and again until the front end gets it: the handshake may not be over.
    fn reach(&mut self, port: usize, front_end: &mut FrontEnd, pair: usize) {
        eventually("nothing comes through", || {
            self.transmit(port, &[(packet(60, 0xee), Offload::NONE)]);
            !front_end.receive(pair).is_empty()
        });
        // What is under way still.
        front_end.receive(pair);
    }

    fn close(mut self) {
        self.ports.into_iter().for_each(|port| Box::new(port).close(&mut self.pool));
        assert_eq!(self.pool.available(), PACKETS as usize);
        drop(self.thread);
    }
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(5);
    while !condition() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn packet(len: usize, tag: u8) -> Vec<u8> {
    (0..len).map(|at| if at < 14 { tag } else { (at % 251) as u8 }).collect()
}

/// Descriptors of the process, without the one that a thread keeps for telling front ends.
fn descriptors() -> usize {
    let is_kept = |path: PathBuf| fs::read_link(path).is_ok_and(|file| file == Path::new("/dev/null"));
    fs::read_dir("/proc/self/fd").unwrap().filter(|entry| !is_kept(entry.as_ref().unwrap().path())).count()
}

/// Each test of this file counts descriptors of the process or uses few of them, so they run one by one.
fn alone() -> std::sync::MutexGuard<'static, ()> {
    static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());
    ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

#[test]
fn packets_go_both_ways_and_front_ends_come_back() {
    let _alone = alone();
    let mut rig = Rig::client();
    let before = descriptors();
    for round in 0..3 {
        let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
        assert_eq!(front_end.offered, Some(0x4442_9983));
        rig.reach(0, &mut front_end, 0);
        for len in [14, 60, 1514, 1980] {
            front_end.send(0, &PLAIN, &packet(len, round));
            assert_eq!(rig.receive(0, 1), [(packet(len, round), Offload::NONE)]);
            rig.transmit(0, &[(packet(len, round), Offload::NONE)]);
            assert_eq!(front_end.receive(0), [[&PLAIN[..], &packet(len, round)].concat()]);
        }
        drop(front_end);
        eventually("it is noticed", || {
            let errors = rig.ports[0].counters().figures().tx_errors;
            rig.transmit(0, &[(packet(60, 0), Offload::NONE)]);
            rig.ports[0].counters().figures().tx_errors > errors
        });
    }
    eventually("descriptors are left", || descriptors() == before);
    rig.close();
}

#[test]
fn a_rig_that_breaks_the_rules_is_served_to_its_last_packet() {
    let _alone = alone();
    let mut rig = Rig::client();
    let manners = Manners { features: None, ring: 32768, kicks: false, reads: false, ..Manners::default() };
    // The flag says that the checksum is partial, and names no place for it.
    let header = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    for round in 0..5 {
        let mut front_end = FrontEnd::listen(&rig.path(), &manners);
        rig.reach(0, &mut front_end, 0);
        front_end.send(0, &header, &packet(100, round));
        // It does not wait for anything.
        drop(front_end);
        std::thread::sleep(Duration::from_millis(20));
        assert_eq!(rig.receive(0, 1), [(packet(100, round), Offload::NONE)]);
    }
    rig.close();
}

#[test]
fn a_connection_follows_soon_after_the_socket_appears() {
    let _alone = alone();
    let rig = Rig::client();
    for _ in 0..3 {
        std::thread::sleep(Duration::from_millis(30));
        let _ = fs::remove_file(rig.path());
        let start = Instant::now();
        let listener = UnixListener::bind(rig.path()).unwrap();
        let stream = accept(&listener, Duration::from_secs(5)).unwrap();
        assert!(start.elapsed() < Duration::from_millis(50), "{:?}", start.elapsed());
        drop((listener, stream));
    }
    rig.close();
}

fn tcp_super_frame() -> (Vec<u8>, Offload) {
    let mut bytes = packet(9000, 7);
    bytes[12..15].copy_from_slice(&[0x08, 0x00, 0x45]);
    bytes[14 + 9] = 6;
    bytes[34 + 12] = 5 << 4;
    let offload = Offload {
        needs_csum: true,
        gso: GsoKind::TcpV4,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
        ..Offload::NONE
    };
    (bytes, offload)
}

#[test]
fn super_frames_go_both_ways_over_buffers_that_are_merged() {
    let _alone = alone();
    let mut rig = Rig::client();
    let features = CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO | MRG_RXBUF;
    let manners = Manners { features: Some(features), ..Manners::default() };
    let mut front_end = FrontEnd::listen(&rig.path(), &manners);
    rig.reach(0, &mut front_end, 0);
    let capabilities = rig.ports[0].capabilities();
    assert!(
        capabilities.partial_checksums && capabilities.tcp_super_frames && !capabilities.udp_super_frames
    );

    let (bytes, offload) = tcp_super_frame();
    rig.transmit(0, &[(bytes.clone(), offload)]);
    let got = front_end.receive(0).remove(0);
    assert_eq!(got[12..], bytes);
    assert_eq!(got[..2], [1, 1], "a partial checksum, TCP over IPv4");
    assert_eq!(got[10..12], 5_u16.to_ne_bytes(), "in five buffers");

    let header: [u8; 10] = got[..10].try_into().unwrap();
    front_end.send(0, &header, &bytes);
    assert_eq!(rig.receive(0, 1), [(bytes.clone(), offload)]);
    // A guest that contradicts itself.
    front_end.send(0, &[1, 1, 0, 0, 0, 0, 34, 0, 16, 0], &bytes);
    let mut batch = Batch::new();
    rig.ports[0].receive(&mut rig.pool, &mut batch);
    assert!(batch.is_empty() && front_end.taken(0) == 2, "it is given back");
    assert_eq!(rig.ports[0].counters().figures().rx_malformed, 1);

    drop(front_end);
    eventually("what the guest took is forgotten", || !rig.ports[0].capabilities().partial_checksums);
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    rig.reach(0, &mut front_end, 0);
    rig.transmit(0, &[(bytes, offload)]);
    assert_eq!(rig.ports[0].counters().figures().tx_unsupported, 1);
    rig.close();
}

#[test]
fn pairs_of_rings_are_shared_out_among_ports() {
    let _alone = alone();
    let mut rig = Rig::new(VhostUserRole::Client, 2, false);
    let manners = Manners { features: Some(MQ | PROTOCOL_FEATURES), pairs: 4, ..Manners::default() };
    let mut front_end = FrontEnd::listen(&rig.path(), &manners);
    assert_eq!(front_end.offered, Some(0x1_4442_9983), "and virtio 1.0");
    front_end.message(17, &[], &[]);
    assert_eq!(front_end.reply(17), 16_u64.to_ne_bytes());
    front_end.message(15, &[], &[]);
    assert_eq!(front_end.reply(15), 3_u64.to_ne_bytes());
    for pair in 0..4 {
        rig.reach(pair % 2, &mut front_end, pair % 2);
        front_end.send(pair, &PLAIN, &packet(60, pair as u8));
        assert_eq!(rig.receive(pair % 2, 1)[0].0, packet(60, pair as u8));
    }
    // A pair that is not enabled is not used.
    front_end.message(18, &[0, 0, 0, 0, 0, 0, 0, 0], &[]);
    eventually("the other pairs are used", || {
        rig.transmit(0, &[(packet(60, 9), Offload::NONE)]);
        front_end.receive(0);
        !front_end.receive(1).is_empty()
    });
    rig.close();
}

#[test]
fn a_ring_that_is_stopped_says_where_it_goes_on() {
    let _alone = alone();
    let mut rig = Rig::client();
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    rig.reach(0, &mut front_end, 0);
    for tag in 0..3 {
        front_end.send(0, &PLAIN, &packet(60, tag));
        rig.receive(0, 1);
    }
    assert_eq!(front_end.stop(1), 3);
    front_end.send(0, &PLAIN, &packet(60, 3));
    let mut batch = Batch::new();
    rig.ports[0].receive(&mut rig.pool, &mut batch);
    assert!(batch.is_empty() && front_end.taken(0) == 3);
    rig.close();
}

#[test]
fn a_sleeping_worker_is_told_and_the_guest_once_for_each_batch() {
    let _alone = alone();
    let mut rig = Rig::new(VhostUserRole::Client, 1, false);
    let epoll = Epoll::new(EpollCreateFlags::empty()).unwrap();
    let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0);
    epoll.add(rig.ports[0].wait_fd().unwrap(), event).unwrap();
    let mut found = [EpollEvent::empty(); 1];
    let mut is_woken = |wait: u16| epoll.wait(&mut found, EpollTimeout::from(wait)).unwrap() == 1;

    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    assert!(is_woken(5000), "rings have come");
    rig.reach(0, &mut front_end, 0);
    // Both rings are there for good when a packet has come.
    front_end.send(0, &PLAIN, &packet(60, 0));
    rig.receive(0, 1);
    while is_woken(20) {}
    assert_eq!(rig.ports[0].rest(), Readiness::Told);
    for tag in 0..3 {
        front_end.send(0, &PLAIN, &packet(60, tag));
        assert!(is_woken(1000));
        assert_eq!(rig.ports[0].rest(), Readiness::Waiting);
        rig.receive(0, 1);
        front_end.send(0, &PLAIN, &packet(60, tag));
        assert!(!is_woken(0), "an awake worker is not told");
        rig.receive(0, 1);
        assert_eq!(rig.ports[0].rest(), Readiness::Told);
    }
    front_end.calls(0);
    let many: Vec<_> = (0..32).map(|tag| (packet(60, tag), Offload::NONE)).collect();
    rig.transmit(0, &many);
    assert_eq!(front_end.calls(0), 1);
    assert_eq!(front_end.receive(0).len(), 32);
    // More than there are buffers.
    let many: Vec<_> = (0..64).map(|tag| (packet(60, tag), Offload::NONE)).collect();
    rig.transmit(0, &many);
    rig.transmit(0, &many);
    assert_eq!(rig.ports[0].counters().figures().tx_full, 64);
    assert_eq!(rig.ports[0].kind(), PortKind::VhostUser);
    rig.close();
}

#[test]
fn rigs_are_polled() {
    let _alone = alone();
    let mut rig = Rig::client();
    assert_eq!(rig.ports[0].rest(), Readiness::Told, "nobody is there");
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    rig.reach(0, &mut front_end, 0);
    eventually("it is polled", || rig.ports[0].rest() == Readiness::Polled);
    rig.close();
}

#[test]
fn servers_replace_stale_sockets_and_remove_their_own() {
    let _alone = alone();
    let mut rig = Rig::new(VhostUserRole::Server, 1, false);
    let path = rig.directory.path().join("uvh_vif_tap2");
    drop(UnixListener::bind(&path).unwrap());
    let config = VhostUserConfig::new(path.clone(), VhostUserRole::Server);
    rig.ports[0] = rig.thread.open(&config).unwrap().remove(0);
    let used = rig.thread.open(&config).err();
    assert!(matches!(used, Some(PortError::SocketInUse(_))), "{used:?}");
    for _ in 0..2 {
        let mut front_end = FrontEnd::start(UnixStream::connect(&path).unwrap(), &Manners::default());
        rig.reach(0, &mut front_end, 0);
        // There is one at a time.
        let mut second = UnixStream::connect(&path).unwrap();
        assert_eq!(second.read(&mut [0]).unwrap(), 0);
    }
    let long = VhostUserConfig { path: rig.directory.path().join("x".repeat(120)), ..config };
    assert!(matches!(rig.thread.open(&long), Err(PortError::PathTooLong { .. })));
    assert!(!rig.path().exists(), "the interface is closed");
    rig.close();
    assert!(!path.exists());
}

#[test]
fn a_file_that_is_shortened_costs_its_front_end_only() {
    let _alone = alone();
    let mut rig = Rig::client();
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    rig.reach(0, &mut front_end, 0);
    front_end.memory.set_len(0).unwrap();
    let mut batch = Batch::new();
    for _ in 0..10 {
        rig.ports[0].receive(&mut rig.pool, &mut batch);
        rig.transmit(0, &[(packet(60, 0), Offload::NONE)]);
    }
    assert!(batch.is_empty());
    drop(front_end);
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners::default());
    rig.reach(0, &mut front_end, 0);
    rig.close();
}

#[test]
fn nonsense_ends_the_connection_and_nothing_else() {
    let _alone = alone();
    let mut rig = Rig::client();
    let before = descriptors();
    let nonsense: [&[u8]; 6] = [
        &[0xff; 12],
        &[1, 0, 0, 0, 1, 0, 0, 0, 0xff, 0xff, 0, 0],
        &[9, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0],
        &[5, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0],
        &[8, 0, 0, 0, 1, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0],
        &[6, 0, 0, 0, 1, 0, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in nonsense {
        let _ = fs::remove_file(rig.path());
        let listener = UnixListener::bind(rig.path()).unwrap();
        let mut stream = accept(&listener, Duration::from_secs(5)).unwrap();
        // In pieces.
        for piece in bytes.chunks(5) {
            stream.write_all(piece).unwrap();
        }
        assert_eq!(stream.read(&mut [0]).unwrap(), 0, "{bytes:?}");
    }
    // Descriptors that nobody has asked for, and such as are no events.
    let mut front_end = FrontEnd::listen(&rig.path(), &Manners { kicks: false, ..Manners::default() });
    let file = fs::File::open("/dev/zero").unwrap();
    front_end.message(3, &[], &[file.as_raw_fd(); 3]);
    front_end.message(13, &0_u64.to_ne_bytes(), &[file.as_raw_fd()]);
    front_end.message(12, &1_u64.to_ne_bytes(), &[file.as_raw_fd()]);
    rig.reach(0, &mut front_end, 0);
    front_end.send(0, &PLAIN, &packet(60, 1));
    rig.receive(0, 1);
    drop(front_end);
    drop(file);
    let mut batch = Batch::new();
    eventually("descriptors are left", || {
        rig.ports[0].receive(&mut rig.pool, &mut batch);
        descriptors() == before
    });
    rig.close();
}

#[test]
fn who_does_not_negotiate_goes_on_with_what_was_negotiated_before() {
    let _alone = alone();
    let mut rig = Rig::client();
    let path = rig.directory.path().join("uvh_vif_tap2");
    let file = rig.directory.path().join("tap2");
    let config = VhostUserConfig {
        features: Some(file.clone()),
        ..VhostUserConfig::new(path.clone(), VhostUserRole::Client)
    };
    rig.ports[0] = rig.thread.open(&config).unwrap().remove(0);
    let guest = rig.ports[0].guest();
    let state = || (guest.merges_buffers(), guest.wants_super_frames());
    assert_eq!(state(), (false, false));

    let features = CSUM | GUEST_CSUM | GUEST_TSO | HOST_TSO | MRG_RXBUF;
    let negotiates = Manners { features: Some(features), ..Manners::default() };
    let mut front_end = FrontEnd::listen(&path, &negotiates);
    rig.reach(0, &mut front_end, 0);
    assert_eq!(state(), (true, true));
    assert_eq!(fs::read_to_string(&file).unwrap(), format!("{features:#x}\n"));
    drop(front_end);
    eventually("nobody is there", || state() == (false, false));

    let silent = Manners { features: None, ..Manners::default() };
    let mut front_end = FrontEnd::listen(&path, &silent);
    front_end.expect_header(12);
    rig.reach(0, &mut front_end, 0);
    assert_eq!(state(), (true, true));
    front_end.send(0, &PLAIN, &packet(60, 3));
    assert_eq!(rig.receive(0, 1), [(packet(60, 3), Offload::NONE)]);
    drop(front_end);
    rig.close();
}
