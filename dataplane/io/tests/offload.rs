//! Super-frames and partial checksums pass from a pod's veth to a TAP device and back, with the kernel's TCP and
//! UDP at both ends.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::sched::{CloneFlags, unshare};
use nix::sys::socket::{setsockopt, sockopt};
use support::frames::Random;
use support::{in_namespace, wire};
use vr_frame::{Batch, FramePool, GsoKind, PoolSet, PoolSizes};
use vr_io::{PacketConfig, PacketPort, Port, TapConfig, TapPort};

const HOST: &str = "10.9.0.1";
const POD: &str = "10.9.0.2";
const BYTES: usize = 4 << 20;
const WAIT: Option<Duration> = Some(Duration::from_secs(5));

fn ip(arguments: &str) {
    let output = Command::new("ip").args(arguments.split(' ')).output().unwrap();
    assert!(output.status.success(), "ip {arguments}: {}", String::from_utf8_lossy(&output.stderr));
}

/// What has passed in one direction.
#[derive(Debug, Default)]
struct Seen {
    partial_checksums: u64,
    tcp: u64,
    udp: u64,
    longest: usize,
}

/// Moves what is there from one port to the other.
fn forward(from: &mut dyn Port, to: &mut dyn Port, pool: &mut FramePool, seen: &mut Seen) -> bool {
    let mut batch = Batch::new();
    from.receive(pool, &mut batch);
    for packet in &*batch {
        seen.partial_checksums += u64::from(packet.offload.needs_csum);
        seen.tcp += u64::from(packet.offload.gso == GsoKind::TcpV4);
        seen.udp += u64::from(packet.offload.gso == GsoKind::UdpL4);
        seen.longest = seen.longest.max(packet.frame.len());
    }
    let some = !batch.is_empty();
    to.transmit(pool, &mut batch);
    to.flush(pool);
    some
}

/// Opens both ports, and has a pod with its own namespace at one and this namespace's kernel at the other.
fn with_pod(pod: impl FnOnce() + Send, host: impl FnOnce() + Send) -> [Seen; 2] {
    wire("vrx-a", "vrx-b", 1, 1500);
    let mut veth = PacketPort::open(&PacketConfig::new("vrx-a")).unwrap().remove(0);
    let mut tap = TapPort::open(&TapConfig::new("vrx-tap")).unwrap().remove(0);
    // The kernel of this namespace gets copies of the pod's frames; it shall not answer.
    ip("link set vrx-a arp off");
    ip(&format!("addr add {HOST}/24 dev vrx-tap"));
    let sizes = PoolSizes { packets: 1024, supers: 128 };
    let mut pool = PoolSet::new(1, sizes).unwrap().1.remove(0);
    let done = AtomicBool::new(false);
    let mut seen = [Seen::default(), Seen::default()];
    thread::scope(|scope| {
        let (tell, told) = mpsc::channel();
        let (go, gone) = mpsc::channel::<()>();
        let pod = scope.spawn(move || {
            unshare(CloneFlags::CLONE_NEWNET).unwrap();
            tell.send(nix::unistd::gettid()).unwrap();
            gone.recv().unwrap();
            ip(&format!("addr add {POD}/24 dev vrx-b"));
            ip("link set vrx-b up");
            pod();
            // Who holds this keeps the pod's end of the wire.
            File::open("/proc/thread-self/ns/net").unwrap()
        });
        ip(&format!("link set vrx-b netns {}", told.recv().unwrap()));
        go.send(()).unwrap();
        let (ended, [up, down]) = (&done, &mut seen);
        scope.spawn(move || {
            while !ended.load(Ordering::Relaxed) {
                let some = forward(&mut veth, &mut tap, &mut pool, up);
                if !forward(&mut tap, &mut veth, &mut pool, down) && !some {
                    thread::sleep(Duration::from_micros(50));
                }
            }
            for port in [Box::new(veth) as Box<dyn Port>, Box::new(tap)] {
                let figures = port.counters().figures();
                assert_eq!((figures.tx_errors, figures.rx_malformed), (0, 0), "{}: {figures:?}", port.kind());
                port.close(&mut pool);
            }
        });
        let host = thread::Builder::new().spawn_scoped(scope, host).unwrap().join();
        let pod = pod.join();
        done.store(true, Ordering::Relaxed);
        assert!(host.is_ok() && pod.is_ok(), "an end has failed");
    });
    seen
}

#[test]
fn tcp_super_frames_pass_both_ways() {
    in_namespace(|| {
        let expected = Random::new(3).bytes(BYTES);
        let exchange = |mut stream: TcpStream| {
            stream.set_read_timeout(WAIT).unwrap();
            let mut writer = stream.try_clone().unwrap();
            let mut got = vec![0; BYTES];
            thread::scope(|scope| {
                scope.spawn(|| writer.write_all(&expected).unwrap());
                stream.read_exact(&mut got).unwrap();
            });
            assert!(got == expected, "the bytes differ");
        };
        let listen = TcpListener::bind("0.0.0.0:7000").unwrap();
        let connect = || exchange(TcpStream::connect((HOST, 7000)).unwrap());
        let seen = with_pod(connect, || exchange(listen.accept().unwrap().0));
        for seen in seen {
            assert!(seen.tcp > 0 && seen.partial_checksums > 0 && seen.longest > 10_000, "{seen:?}");
        }
    });
}

#[test]
fn udp_super_frames_pass_both_ways() {
    const DATAGRAMS: usize = 20;
    const SIZE: usize = 1000;
    in_namespace(|| {
        let sent = Random::new(4).bytes(DATAGRAMS * SIZE);
        let send = |socket: &UdpSocket, to: (&str, u16)| {
            setsockopt(socket, sockopt::UdpGsoSegment, &(SIZE as i32)).unwrap();
            assert_eq!(socket.send_to(&sent, to).unwrap(), sent.len());
        };
        let receive = |socket: &UdpSocket| {
            socket.set_read_timeout(WAIT).unwrap();
            let mut bytes = [0; 2000];
            for expected in sent.chunks(SIZE) {
                let len = socket.recv(&mut bytes).unwrap();
                assert!(bytes[..len] == *expected, "a datagram of {len} bytes is another one");
            }
        };
        let host = UdpSocket::bind("0.0.0.0:7000").unwrap();
        let pod = || {
            let socket = UdpSocket::bind("0.0.0.0:7000").unwrap();
            send(&socket, (HOST, 7000));
            receive(&socket);
        };
        let seen = with_pod(pod, || {
            receive(&host);
            send(&host, (POD, 7000));
        });
        for seen in seen {
            assert!(seen.udp > 0 && seen.longest > SIZE * DATAGRAMS, "{seen:?}");
        }
    });
}
