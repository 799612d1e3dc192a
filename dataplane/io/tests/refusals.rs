//! What cannot be opened is one sentence that names the cause.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::os::unix::net::UnixDatagram;

use support::{in_namespace, wire};
use vr_frame::{FramePool, PoolSet, PoolSizes};
use vr_io::afxdp::{self, AfXdpConfig};
use vr_io::{PacketConfig, PacketPort, Pkt0Port, Pkt0Socket, Port, PortError, TapConfig, TapPort, netdev};

fn pool() -> FramePool {
    PoolSet::new(1, PoolSizes { packets: 4096, supers: 1 }).unwrap().1.remove(0)
}

#[test]
fn absent_and_taken_devices_are_named() {
    in_namespace(|| {
        let pool = pool();
        let xdp = |config: &AfXdpConfig| afxdp::open(config, pool.arena());
        let absent = xdp(&AfXdpConfig::new("vrx-none", 0)).err().unwrap();
        assert!(matches!(&absent, PortError::NoSuchInterface(name) if name == "vrx-none"), "{absent}");
        let absent = PacketPort::open(&PacketConfig::new("vrx-none")).err().unwrap();
        assert!(matches!(absent, PortError::NoSuchInterface(_)), "{absent}");

        wire("vrx-a", "vrx-b", 1, 1500);
        let error = xdp(&AfXdpConfig::new("vrx-a", 7)).err().unwrap();
        assert!(matches!(error, PortError::NoSuchQueue { queue: 7, queues: 1, .. }), "{error}");
        let odd = AfXdpConfig { ring: 1000, ..AfXdpConfig::new("vrx-a", 0) };
        assert!(matches!(xdp(&odd), Err(PortError::BadRingSize(1000))));
        let first = xdp(&AfXdpConfig::new("vrx-a", 0)).unwrap();
        let second = xdp(&AfXdpConfig::new("vrx-a", 0)).err().unwrap();
        assert!(matches!(second, PortError::QueueBusy { queue: 0, .. }), "{second}");
        drop(first);

        let error = netdev::spread_udp("vrx-a").unwrap_err();
        assert!(
            matches!(&error, PortError::System { source, .. } if source.raw_os_error() == Some(libc::EOPNOTSUPP)),
            "{error}"
        );
        let error = TapPort::open(&TapConfig::new("vrx-a")).err().unwrap();
        assert!(matches!(error, PortError::NotTap(_)), "{error}");
        let _first = TapPort::open(&TapConfig::new("vrx-tap")).unwrap();
        let error = TapPort::open(&TapConfig::new("vrx-tap")).err().unwrap();
        assert!(matches!(error, PortError::TapBusy(_)), "{error}");
        let error = TapPort::open(&TapConfig::new("a/b")).err().unwrap();
        assert!(matches!(error, PortError::BadName(_)), "{error}");
    });
}

#[test]
fn a_socket_in_use_is_refused_and_a_stale_one_replaced() {
    let directory = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
    let mut pool = pool();
    let path = directory.path().join(Pkt0Port::OURS);
    drop(UnixDatagram::bind(&path).unwrap());
    let first = Pkt0Socket::bind(directory.path()).unwrap();
    let second = Pkt0Socket::bind(directory.path()).err().unwrap();
    assert!(matches!(second, PortError::SocketInUse(_)), "{second}");
    Box::new(first.port().unwrap()).close(&mut pool);
    assert!(path.exists(), "the socket outlives its port");
    drop(first);
    assert!(!path.exists());
    let absent = Pkt0Socket::bind(&directory.path().join("absent")).err().unwrap();
    assert!(matches!(absent, PortError::File { .. }), "{absent}");
    let long = Pkt0Socket::bind(&directory.path().join("x".repeat(200))).err().unwrap();
    assert!(matches!(long, PortError::PathTooLong { .. }), "{long}");
}
