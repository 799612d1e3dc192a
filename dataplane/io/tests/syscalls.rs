//! A system call serves a burst, where the kind of port allows it.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::thread;
use std::time::Duration;

use support::frames::frame;
use support::in_namespace;
use support::rig::{Kind, Rig, kinds};
use vr_frame::BATCH;

const COUNT: usize = 10 * BATCH;

/// Most system calls per packet that a kind of port may need under load, in either direction.
fn bound(kind: Kind) -> f64 {
    match kind {
        Kind::Memory => 0.0,
        // Each frame is a call, and there are some that find nothing.
        Kind::Tap => 1.1,
        // A call takes a batch, though the first ones ask for fewer; of an AF_XDP ring 32 frames or more. A file is
        // read and written in blocks. A guest gets one event for each batch.
        Kind::Packet | Kind::Pkt0 | Kind::VhostUser | Kind::Xdp(..) | Kind::Pcap => 0.05,
    }
}

#[test]
fn system_calls_are_shared_by_the_packets_of_a_burst() {
    for kind in kinds() {
        in_namespace(move || {
            let frames: Vec<_> = (0..COUNT).map(|i| frame(i, 60)).collect();
            let mut rig = Rig::new(kind, &frames);
            assert!(kind == Kind::Pcap || rig.receive_nothing());
            let before = rig.port.counters().figures();
            // Batch by batch: all are there when the port is asked for the first of them.
            let mut got = 0;
            for frames in frames.chunks(BATCH) {
                for frame in frames {
                    rig.peer.send(frame);
                }
                thread::sleep(Duration::from_millis(2));
                got += rig.receive(frames.len()).len();
            }
            assert_eq!(got, COUNT, "{kind:?}");
            let after = rig.port.counters().figures();
            let received = (after.rx_syscalls - before.rx_syscalls) as f64 / COUNT as f64;

            rig.transmit(&frames);
            let figures = rig.port.counters().figures();
            let sent = figures.tx_syscalls as f64 / COUNT as f64;
            let both = figures.syscalls_per_packet();
            println!("{kind:?}: {received:.3} received, {sent:.3} sent, {both:.3} together");
            let bound = bound(kind);
            assert!(
                received <= bound && sent <= bound && both <= bound,
                "{kind:?}: {received} {sent} {both}"
            );
            while kind == Kind::Memory && rig.peer.receive(Duration::ZERO).is_some() {}
            rig.close();
        });
    }
}
