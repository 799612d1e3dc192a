//! Short, overlong and random frames on every kind of port: counted, and no buffer is lost.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use support::frames::{Random, frame};
use support::in_namespace;
use support::rig::{Kind, Rig, kinds, receive_now};
use vr_frame::{Batch, GsoKind, Offload, Packet};
use vr_io::{PcapPort, Port, PortFigures, netdev};

/// Whether the kernel stands between the port and what is sent to it. It refuses frames without a whole
/// Ethernet header, so these cannot arrive.
fn is_device(kind: Kind) -> bool {
    matches!(kind, Kind::Packet | Kind::Tap | Kind::Xdp(..))
}

fn for_each_kind(test: fn(Kind)) {
    for kind in kinds() {
        in_namespace(move || {
            println!("{kind:?}");
            test(kind);
        });
    }
}

/// Sends `coming` to the port, which receives until the figures are as they should be, or for a while.
fn while_sending(rig: &mut Rig, coming: &[Vec<u8>], done: impl Fn(&PortFigures) -> bool) -> PortFigures {
    let (peer, port, pool) = (&mut rig.peer, &mut *rig.port, &mut rig.pool);
    thread::scope(|scope| {
        scope.spawn(move || coming.iter().for_each(|frame| peer.send(frame)));
        let end = Instant::now() + Duration::from_secs(3);
        loop {
            receive_now(port, pool);
            port.flush(pool);
            let figures = port.counters().figures();
            if done(&figures) || Instant::now() > end {
                return figures;
            }
        }
    })
}

#[test]
fn frames_without_a_whole_ethernet_header_are_counted() {
    for_each_kind(|kind| {
        let short: Vec<Vec<u8>> = [0, 1, 6, 13].map(|len| vec![0x88; len]).to_vec();
        let mut rig = Rig::new(kind, &short);
        if !is_device(kind) {
            let figures = while_sending(&mut rig, &short, |figures| figures.rx_malformed >= 4);
            assert_eq!((figures.rx_malformed, figures.rx_packets), (4, 0), "{kind:?}: {figures:?}");
        }
        rig.transmit(&short);
        let figures = rig.port.counters().figures();
        assert_eq!((figures.tx_malformed, figures.tx_packets), (4, 0), "{kind:?}: {figures:?}");
        rig.close();
    });
}

#[test]
fn random_frames_are_received_and_lose_no_buffer() {
    const COUNT: u64 = 500;
    for_each_kind(|kind| {
        let mut random = Random::new(1);
        let frames: Vec<_> = (0..COUNT)
            .map(|_| {
                let len = 14 + random.below(1500) as usize;
                random.bytes(len)
            })
            .collect();
        let mut rig = Rig::new(kind, &frames);
        rig.receive_nothing();
        let figures = while_sending(&mut rig, &frames, |figures| figures.rx_packets >= COUNT);
        assert!(figures.rx_packets >= COUNT, "{kind:?}: {figures:?}");
        assert_eq!((figures.rx_dropped(), figures.rx_errors), (0, 0), "{kind:?}: {figures:?}");
        rig.close();
    });
}

#[test]
fn overlong_frames_are_counted() {
    for_each_kind(|kind| {
        let lengths: &[usize] = match kind {
            // One is longer than what the agent may send, one than any buffer.
            Kind::Pkt0 => &[9061, 70_000],
            Kind::Pcap | Kind::VhostUser => &[70_000, 100_000],
            Kind::Xdp(..) => &[1793, 2500],
            // There is nothing longer than what these take.
            Kind::Memory | Kind::Packet | Kind::Tap => return,
        };
        let mut coming: Vec<_> = lengths.iter().map(|len| frame(1, *len)).collect();
        coming.push(frame(2, 60));
        let mut rig = Rig::new(kind, &coming);
        if is_device(kind) {
            netdev::set_mtu("vrx-a", 3000).unwrap();
            netdev::set_mtu("vrx-b", 3000).unwrap();
            rig.receive_nothing();
        }
        for frame in &coming {
            rig.peer.send(frame);
        }
        assert_eq!(rig.receive(1), [frame(2, 60)], "{kind:?}: what comes behind is not lost");
        let figures = rig.port.counters().figures();
        assert_eq!(figures.rx_dropped(), lengths.len() as u64, "{kind:?}: {figures:?}");
        rig.close();
    });
}

#[test]
fn jumbo_frames_arrive_whole_where_there_are_large_buffers() {
    for kind in [Kind::Packet, Kind::Tap, Kind::VhostUser] {
        in_namespace(move || {
            let mut rig = Rig::new(kind, &[]);
            let devices: &[&str] = match kind {
                Kind::Tap => &["vrx-tap"],
                Kind::Packet => &["vrx-a", "vrx-b"],
                _ => &[],
            };
            for device in devices {
                netdev::set_mtu(device, 65_521).unwrap();
            }
            let frames = [1792, 1793, 1800, 9000, 65_535].map(|len| frame(len, len));
            for frame in &frames {
                rig.peer.send(frame);
                let got = rig.receive(1);
                assert!(got.first() == Some(frame), "{kind:?}: {} bytes came", frame.len());
            }
            rig.transmit(&frames);
            for frame in &frames {
                assert!(rig.peer.receive(Duration::from_secs(3)).as_ref() == Some(frame), "{}", frame.len());
            }
            rig.close();
        });
    }
}

#[test]
fn everything_that_is_transmitted_is_counted_once() {
    const COUNT: u64 = 2000;
    for_each_kind(|kind| {
        let mut random = Random::new(2);
        let mut rig = Rig::new(kind, &[]);
        let mut batch = Batch::new();
        for _ in 0..COUNT {
            let len = random.below(2200) as usize;
            let frame = rig.pool.copy_of(&random.bytes(len)).unwrap();
            let offload = random_offload(&mut random);
            batch.push(Packet { frame, offload }).unwrap();
            if batch.is_full() || random.below(20) == 0 {
                rig.port.transmit(&mut rig.pool, &mut batch);
                rig.port.flush(&mut rig.pool);
            }
        }
        rig.port.transmit(&mut rig.pool, &mut batch);
        let end = Instant::now() + Duration::from_secs(3);
        while rig.port.flush(&mut rig.pool) && Instant::now() < end {}
        // What is on a wire in memory is still in buffers.
        while kind == Kind::Memory && rig.peer.receive(Duration::ZERO).is_some() {}
        let figures = rig.port.counters().figures();
        assert_eq!(figures.tx_packets + figures.tx_dropped(), COUNT, "{kind:?}: {figures:?}");
        rig.close();
    });
}

/// State of a frame that has little to do with it. Half of them are plain.
fn random_offload(random: &mut Random) -> Offload {
    if random.below(2) == 0 {
        return Offload::NONE;
    }
    let kinds = [GsoKind::None, GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4];
    Offload {
        needs_csum: random.below(2) == 0,
        csum_valid: random.below(2) == 0,
        gso: kinds[random.below(4) as usize],
        gso_size: random.below(3000) as u16,
        csum_start: random.below(3000) as u16,
        csum_offset: random.below(30) as u16,
    }
}

#[test]
fn a_damaged_capture_ends_where_the_damage_is() {
    let directory = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
    let path = directory.path().join("damaged.pcap");
    let mut bytes = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0];
    bytes.extend([0; 8]);
    bytes.extend([65535_u32, 1].map(u32::to_le_bytes).concat());
    let record = |captured: u32, original: u32| [0, 0, captured, original].map(u32::to_le_bytes).concat();
    for (captured, original) in [(60, 60), (60, 1500)] {
        bytes.extend(record(captured, original));
        bytes.extend(vec![7; captured as usize]);
    }
    bytes.extend(record(1000, 1000));
    bytes.extend([7; 30]);
    fs::write(&path, bytes).unwrap();

    let mut port = Box::new(PcapPort::open(Some(&path), None).unwrap());
    let sizes = vr_frame::PoolSizes { packets: 8, supers: 1 };
    let mut pool = vr_frame::PoolSet::new(1, sizes).unwrap().1.remove(0);
    receive_now(&mut *port, &mut pool);
    let figures = port.counters().figures();
    assert_eq!(figures.rx_packets, 1);
    assert_eq!((figures.rx_too_long, figures.rx_errors), (1, 1), "one cut record, and a cut file");
    assert!(port.is_done());
    port.close(&mut pool);
    assert_eq!(pool.available(), 8);
}
