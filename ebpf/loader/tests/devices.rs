//! The program on real devices, in network namespaces of the test's own.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use aya::maps::{Map, MapData, PerCpuArray};
use std::{
    env, fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{IpAddr, Ipv4Addr},
    os::fd::AsFd as _,
    path::Path,
    process::{Child, Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};
use steer_loader::{
    AttachMode, Counter, HookChoice, ModeChoice, Persistence, Steer, SteerError, SteerMeta, SteerOptions,
    Swallow, SwallowOptions, Tunnel, TunnelSet, monotonic_ns,
};
use support::{Folder, in_namespaces, ip, is_root, packets, peer::Peer, run, xsk::Xsk};

const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::new(172, 16, 0, 2));
const MPLS: &str = "172.16.0.2:6635";
const ECHO: &str = "172.16.0.2:5000";

fn unpinned(mode: ModeChoice) -> SteerOptions {
    SteerOptions { mode, persistence: Persistence::Process, ..SteerOptions::default() }
}

fn pinned(bpffs: &Path) -> SteerOptions {
    SteerOptions { instance: "test".to_owned(), bpffs: Some(bpffs.to_owned()), ..SteerOptions::default() }
}

fn carried(flow: u16) -> Vec<u8> {
    packets::mpls(27, true, &packets::inner(flow))
}

fn bound_socket(steer: &mut Steer) -> Xsk {
    let socket = Xsk::bound("fabric", 0);
    steer.set_endpoint(LOCAL, TunnelSet::ALL).unwrap();
    steer.set_queue(0, 0, 1).unwrap();
    steer.set_socket(0, socket.as_fd()).unwrap();
    steer.heartbeat().beat(monotonic_ns());
    socket
}

#[test]
fn tunnel_packets_reach_the_socket_and_the_rest_the_kernel() {
    if !is_root("tunnel_packets_reach_the_socket_and_the_rest_the_kernel") {
        return;
    }
    for (choice, mode, word) in [
        (ModeChoice::Native, AttachMode::Native, "xdp"),
        (ModeChoice::Generic, AttachMode::Generic, "xdpgeneric"),
    ] {
        in_namespaces(move || {
            let peer = Peer::new();
            peer.wire("fabric", 0);
            assert!(peer.is_refused(MPLS, carried(0)), "without us the kernel answers");
            let mut steer = Steer::attach("fabric", &unpinned(choice)).unwrap();
            assert_eq!(steer.attachment().mode, mode);
            assert!(run("ip", "link show dev fabric").contains(&format!(" {word} ")), "{mode:?}");
            let socket = bound_socket(&mut steer);

            assert!(!peer.is_refused(MPLS, carried(1)));
            let (packet, mut headroom) = socket.receive(Duration::from_secs(2)).expect("the tunnel packet");
            assert!(packet.ends_with(&carried(1)));
            let metadata = SteerMeta::take(&mut headroom).expect("metadata in front of the packet");
            assert_eq!(metadata.tunnel(), Some(Tunnel::MplsUdp));
            assert_eq!((metadata.payload_offset, metadata.inner_l3_offset), (46, 46));
            assert!(peer.reaches(ECHO), "host traffic");
            assert_eq!(steer.counter(Counter::RedirectedMplsUdp).unwrap(), 1);
            assert!(steer.counter(Counter::PassedOther).unwrap() >= 1);
            assert_eq!(steer.counters().unwrap().len(), Counter::ALL.len());
            drop(steer);
            assert!(peer.is_refused(MPLS, carried(2)), "the program went with its owner");
        });
    }
}

#[test]
fn a_device_without_native_xdp_gets_generic_and_says_why() {
    if !is_root("a_device_without_native_xdp_gets_generic_and_says_why") {
        return;
    }
    in_namespaces(|| {
        let refused = Steer::attach("lo", &unpinned(ModeChoice::Native)).unwrap_err();
        assert!(matches!(refused, SteerError::Attach { .. }), "{refused}");
        let steer = Steer::attach("lo", &unpinned(ModeChoice::Auto)).unwrap();
        let attachment = steer.attachment();
        assert_eq!((attachment.mode, attachment.replaced), (AttachMode::Generic, false));
        assert_eq!(attachment.reason, "the driver does not run XDP programs");
    });
}

#[test]
fn limits_are_errors_and_absences_are_not() {
    if !is_root("limits_are_errors_and_absences_are_not") {
        return;
    }
    in_namespaces(|| {
        let mut steer = Steer::attach("lo", &unpinned(ModeChoice::Generic)).unwrap();
        let beyond = |result: Result<(), SteerError>| matches!(result, Err(SteerError::OutOfRange { .. }));
        assert!(beyond(steer.set_queue(256, 0, 1)));
        assert!(beyond(steer.set_queue(0, 1024, 1)) && beyond(steer.set_queue(0, 1000, 25)));
        assert!(beyond(steer.set_queue(0, u32::MAX, u32::MAX)) && beyond(steer.clear_socket(1024)));
        steer.set_queue(255, 1000, 24).unwrap();
        steer.clear_socket(5).unwrap();
        steer.remove_endpoint(LOCAL).unwrap();
        let not_a_socket = fs::File::open("/dev/null").unwrap();
        assert!(matches!(steer.set_socket(0, not_a_socket.as_fd()), Err(SteerError::Map { .. })));

        for host in 0..=255 {
            steer.set_endpoint(Ipv4Addr::new(10, 0, 0, host).into(), TunnelSet::ALL).unwrap();
        }
        assert!(beyond(steer.set_endpoint(LOCAL, TunnelSet::ALL)));
        steer.remove_endpoint(Ipv4Addr::new(10, 0, 0, 9).into()).unwrap();
        steer.set_endpoint(LOCAL, TunnelSet::NONE.with(Tunnel::Vxlan)).unwrap();
        let endpoints = steer.endpoints().unwrap();
        assert_eq!(endpoints.len(), 256);
        assert!(endpoints.contains(&(LOCAL, TunnelSet::NONE.with(Tunnel::Vxlan))));
    });
}

#[test]
fn somebody_else_s_program_is_left_alone() {
    if !is_root("somebody_else_s_program_is_left_alone") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let peer = Peer::new();
        peer.wire("fabric", 0);
        let theirs = Steer::attach("fabric", &unpinned(ModeChoice::Generic)).unwrap();
        for options in [unpinned(ModeChoice::Auto), pinned(bpffs.path())] {
            let refused = Steer::attach("fabric", &options).unwrap_err();
            let SteerError::ForeignProgram { id, mode, .. } = &refused else { panic!("{refused}") };
            assert!(*id != 0 && *mode == "generic");
            assert!(refused.to_string().contains("ip link set dev fabric xdpgeneric off"), "{refused}");
        }
        drop(theirs);
        Steer::attach("fabric", &pinned(bpffs.path())).unwrap().detach().unwrap();
    });
}

/// Attaches, binds a socket, says so and waits to be killed.
#[test]
#[ignore = "no test of its own: the daemon that the next test starts and kills"]
fn the_daemon_to_be_killed() {
    let Some(bpffs) = env::var_os("STEER_TEST_DAEMON") else {
        return;
    };
    let mut steer = Steer::attach("fabric", &pinned(Path::new(&bpffs))).unwrap();
    let _socket = bound_socket(&mut steer);
    std::io::stderr().write_all(b"attached\n").unwrap();
    let end = Instant::now() + Duration::from_mins(1);
    while Instant::now() < end {
        steer.heartbeat().beat(monotonic_ns());
        sleep(Duration::from_millis(100));
    }
}

fn start_daemon(bpffs: &Path) -> Child {
    let mut child = Command::new(env::current_exe().unwrap())
        .args(["--ignored", "--exact", "the_daemon_to_be_killed"])
        .env("STEER_TEST_DAEMON", bpffs)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let attached = lines.map_while(Result::ok).any(|line| line == "attached");
    assert!(attached, "the daemon did not come up");
    child
}

fn pinned_counter(folder: &Path, counter: Counter) -> u64 {
    let map = Map::PerCpuArray(MapData::from_pin(folder.join("COUNTERS")).unwrap());
    let counters: PerCpuArray<_, u64> = map.try_into().unwrap();
    counters.get(&counter.index(), 0).unwrap().iter().sum()
}

#[test]
fn a_killed_daemon_is_not_noticed_by_the_host_and_is_replaced() {
    if !is_root("a_killed_daemon_is_not_noticed_by_the_host_and_is_replaced") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let peer = Peer::new();
        peer.wire("fabric", 0);
        Steer::attach("fabric", &pinned(bpffs.path())).unwrap().detach().unwrap();
        let mut daemon = start_daemon(bpffs.path());
        let folder = bpffs.path().join("vrouter-xdp/test/fabric");
        assert!(!peer.is_refused(MPLS, carried(1)));
        assert_eq!(pinned_counter(&folder, Counter::RedirectedMplsUdp), 1);

        daemon.kill().unwrap();
        daemon.wait().unwrap();
        assert!(!peer.is_refused(MPLS, carried(2)), "no answer that the port is unreachable");
        assert!(peer.reaches(ECHO), "host traffic does not notice");
        assert_eq!(pinned_counter(&folder, Counter::DroppedNoSocket), 1);
        sleep(Duration::from_millis(1200));
        assert!(!peer.is_refused(MPLS, carried(3)));
        assert_eq!(pinned_counter(&folder, Counter::DroppedStale), 1, "the heartbeat has run out");

        let mut steer = Steer::attach("fabric", &pinned(bpffs.path())).unwrap();
        assert!(steer.attachment().replaced, "{:?}", steer.attachment());
        assert_eq!(steer.attachment().pins.as_deref(), Some(&*folder));
        assert_eq!(steer.endpoints().unwrap(), [(LOCAL, TunnelSet::ALL)], "inherited");
        assert!(!peer.is_refused(MPLS, carried(4)), "still not the kernel's");
        let socket = bound_socket(&mut steer);
        assert!(!peer.is_refused(MPLS, carried(5)));
        assert!(
            socket.receive(Duration::from_secs(2)).is_some_and(|(packet, _)| packet.ends_with(&carried(5)))
        );

        steer.detach().unwrap();
        assert!(peer.is_refused(MPLS, carried(6)), "detached");
        assert!(!bpffs.path().join("vrouter-xdp").exists(), "no pins are left");
    });
}

#[test]
fn bypass_changes_a_running_program() {
    if !is_root("bypass_changes_a_running_program") {
        return;
    }
    in_namespaces(|| {
        let peer = Peer::new();
        peer.wire("fabric", 0);
        let mut steer = Steer::attach("fabric", &unpinned(ModeChoice::Auto)).unwrap();
        steer.set_endpoint(LOCAL, TunnelSet::ALL).unwrap();
        assert!(!peer.is_refused(MPLS, carried(1)));
        steer.set_bypass(true).unwrap();
        assert!(peer.is_refused(MPLS, carried(2)), "the kernel's again");
        steer.set_bypass(false).unwrap();
        assert!(!peer.is_refused(MPLS, carried(3)));
    });
}

#[test]
fn a_new_device_of_the_same_name_and_another_of_a_foreign_name() {
    if !is_root("a_new_device_of_the_same_name_and_another_of_a_foreign_name") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        // A bpffs has no names with dots, devices have.
        let attach = || Steer::attach("fabric.5", &pinned(bpffs.path()));
        let peers = [Peer::new(), Peer::new(), Peer::new()];
        peers[0].wire("fabric.5", 0);
        drop(attach().unwrap());
        ip("link del fabric.5");
        peers[1].wire("fabric.5", 0);
        let again = attach().unwrap();
        assert!(!again.attachment().replaced, "the old device took its program along");
        drop(again);

        ip("link set fabric.5 down");
        ip("link set fabric.5 name renamed");
        peers[2].wire("fabric.5", 1);
        let refused = attach().unwrap_err();
        assert!(matches!(refused, SteerError::InstanceInUse { .. }), "{refused}");
        assert!(refused.to_string().contains("vrouter-xdp/test/fabric%2e5/link"), "{refused}");
    });
}

#[test]
fn a_mode_that_was_asked_for_replaces_another() {
    if !is_root("a_mode_that_was_asked_for_replaces_another") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let peer = Peer::new();
        peer.wire("fabric", 0);
        let attach = |mode| Steer::attach("fabric", &SteerOptions { mode, ..pinned(bpffs.path()) }).unwrap();
        let mut first = attach(ModeChoice::Generic);
        first.set_endpoint(LOCAL, TunnelSet::ALL).unwrap();
        drop(first);
        let kept = attach(ModeChoice::Auto);
        assert_eq!((kept.attachment().mode, kept.attachment().replaced), (AttachMode::Generic, true));
        drop(kept);
        let native = attach(ModeChoice::Native);
        assert_eq!((native.attachment().mode, native.attachment().replaced), (AttachMode::Native, true));
        assert_eq!(native.endpoints().unwrap().len(), 1);
        drop(native);
        // Each goes at once, not some time later.
        for mode in [ModeChoice::Generic, ModeChoice::Native].repeat(3) {
            let other = attach(mode);
            assert!(other.attachment().replaced);
        }
        for _ in 0..3 {
            attach(ModeChoice::Auto).detach().unwrap();
        }
    });
}

/// A host whose address is on vhost0, and somebody outside, with the address that the peer has.
fn host_with_vhost0() -> (Peer, Peer) {
    let (outside, host) = (Peer::new(), Peer::new());
    outside.wire("fabric", 0);
    host.wire("pair", 9);
    // The host's own end has the address; the ends that we hold have none.
    for device in ["fabric", "pair"] {
        ip(&format!("addr flush dev {device}"));
    }
    host.run(|| ip("addr add 172.16.0.2/24 dev eth0"));
    (outside, host)
}

#[test]
fn with_the_address_on_vhost0_two_devices_are_joined_while_nobody_lives() {
    if !is_root("with_the_address_on_vhost0_two_devices_are_joined_while_nobody_lives") {
        return;
    }
    for (mode, hook) in [
        (ModeChoice::Native, HookChoice::Tcx),
        (ModeChoice::Generic, HookChoice::Tcx),
        // As before Linux 6.6.
        (ModeChoice::Native, HookChoice::Clsact),
        (ModeChoice::Generic, HookChoice::Clsact),
    ] {
        in_namespaces(move || {
            let (outside, _host) = host_with_vhost0();
            let options = SteerOptions { pair: Some("pair".to_owned()), hook, ..unpinned(mode) };
            let mut steer = Steer::attach("fabric", &options).unwrap();
            let refused = || outside.is_refused(ECHO, b"anybody?".to_vec());
            assert!(
                refused(),
                "the host's kernel answers through both devices, {mode:?}: {:?}",
                steer.counters()
            );
            assert!(steer.counter(Counter::JoinedToHost).unwrap() >= 2);
            assert!(steer.counter(Counter::JoinedToFabric).unwrap() >= 2);

            let socket = bound_socket(&mut steer);
            assert!(!refused(), "the dataplane has it, {mode:?}");
            assert!(socket.receive(Duration::from_secs(2)).is_some(), "{mode:?}");
            assert!(steer.counter(Counter::RedirectedHost).unwrap() >= 1);
            steer.heartbeat().stop();
            assert!(refused(), "the heartbeat stops, {mode:?}");
            steer.heartbeat().beat(monotonic_ns());
            assert!(!refused(), "and goes on, {mode:?}");
            drop(socket);
            assert!(refused(), "the sockets are gone, {mode:?}");
        });
    }
}

#[test]
fn the_join_outlives_its_process_and_ends_with_another_host_mode() {
    if !is_root("the_join_outlives_its_process_and_ends_with_another_host_mode") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let (outside, _host) = host_with_vhost0();
        let joined = SteerOptions { pair: Some("pair".to_owned()), ..pinned(bpffs.path()) };
        let refused = || outside.is_refused(ECHO, b"anybody?".to_vec());
        for _ in 0..2 {
            let mut steer = Steer::attach("fabric", &joined).unwrap();
            assert!(refused(), "joined before there is a socket");
            let socket = bound_socket(&mut steer);
            assert!(!refused());
            drop((steer, socket));
            assert!(refused(), "what a dead process leaves joins");
            // The kernel gives the queue free some time later.
            sleep(Duration::from_millis(200));
        }
        let folder = bpffs.path().join("vrouter-xdp/test");
        assert!(folder.join("fabric/to_host").exists() && folder.join("pair/from_host").exists());

        let alone = Steer::attach("fabric", &pinned(bpffs.path())).unwrap();
        assert!(!refused(), "the address is on the fabric device now, where there is none");
        assert!(!folder.join("fabric/to_host").exists());
        let swallow = SwallowOptions {
            instance: "test".to_owned(),
            bpffs: Some(bpffs.path().to_owned()),
            ..SwallowOptions::default()
        };
        Swallow::attach("pair", &swallow).unwrap().detach().unwrap();
        assert!(!folder.join("pair").exists(), "one program takes the place of the other");
        drop(alone);

        Steer::attach("fabric", &joined).unwrap().detach().unwrap();
        assert!(!refused() && !bpffs.path().join("vrouter-xdp").exists(), "nothing is left");
    });
}

/// A filter has no link to be pinned, and stays by itself.
#[test]
fn the_join_by_filters_outlives_its_process_as_well() {
    if !is_root("the_join_by_filters_outlives_its_process_as_well") {
        return;
    }
    in_namespaces(|| {
        let bpffs = Folder::make();
        let (outside, _host) = host_with_vhost0();
        let joined =
            SteerOptions { pair: Some("pair".to_owned()), hook: HookChoice::Clsact, ..pinned(bpffs.path()) };
        let refused = || outside.is_refused(ECHO, b"anybody?".to_vec());
        for _ in 0..2 {
            drop(Steer::attach("fabric", &joined).unwrap());
            assert!(refused(), "what a dead process leaves joins");
        }
        Steer::attach("fabric", &joined).unwrap().detach().unwrap();
        assert!(!refused() && !bpffs.path().join("vrouter-xdp").exists(), "nothing is left");
    });
}
