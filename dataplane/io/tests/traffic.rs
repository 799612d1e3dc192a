//! The same traffic over every kind of port.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::thread;
use std::time::Duration;

use support::frames::{bursts, frame};
use support::in_namespace;
use support::rig::{Kind, Rig, kinds};

const WAIT: Duration = Duration::from_secs(3);

/// Runs `test` for every kind, each in a network namespace of its own.
fn for_each_kind(test: fn(Kind)) {
    for kind in kinds() {
        in_namespace(move || {
            println!("{kind:?}");
            test(kind);
        });
    }
}

/// Compares without printing kilobytes.
fn assert_same(kind: Kind, got: &[Vec<u8>], expected: &[Vec<u8>]) {
    for (i, (got, expected)) in got.iter().zip(expected).enumerate() {
        assert!(got == expected, "{kind:?}: frame {i}: {got:02x?} and not {expected:02x?}");
    }
    assert_eq!(got.len(), expected.len(), "{kind:?}: frames are missing or there are more");
}

#[test]
fn every_frame_arrives_as_it_was_sent_in_order_and_once() {
    for_each_kind(|kind| {
        let all = bursts().concat();
        // A file has no bursts: all of it is there from the beginning.
        let bursts = if kind == Kind::Pcap { vec![all.clone()] } else { bursts() };
        let mut rig = Rig::new(kind, &all);
        // Gives the kernel buffers, where it needs them before.
        assert!(kind == Kind::Pcap || rig.receive_nothing());
        for burst in &bursts {
            let got = thread::scope(|scope| {
                let peer = &mut rig.peer;
                scope.spawn(move || burst.iter().for_each(|frame| peer.send(frame)));
                support::rig::receive(&mut *rig.port, &mut rig.pool, burst.len())
            });
            assert_same(kind, &got, burst);
        }
        let figures = rig.port.counters().figures();
        let bytes = all.iter().map(|frame| frame.len() as u64).sum::<u64>();
        assert!(figures.rx_packets >= all.len() as u64 && figures.rx_bytes >= bytes, "{figures:?}");
        assert_eq!((figures.rx_dropped(), figures.rx_errors), (0, 0), "{figures:?}");
        rig.close();
    });
}

#[test]
fn every_frame_leaves_as_it_was_given_in_order_and_once() {
    for_each_kind(|kind| {
        let bursts = bursts();
        let mut rig = Rig::new(kind, &[]);
        for burst in &bursts {
            rig.transmit(burst);
            if kind != Kind::Pcap {
                let got: Vec<_> = (0..burst.len()).map_while(|_| rig.peer.receive(WAIT)).collect();
                assert_same(kind, &got, burst);
            }
        }
        let all = bursts.concat();
        let figures = rig.port.counters().figures();
        assert_eq!(figures.tx_packets, all.len() as u64, "{figures:?}");
        assert_eq!(figures.tx_bytes, all.iter().map(|frame| frame.len() as u64).sum::<u64>());
        assert_eq!(figures.tx_dropped(), 0, "{figures:?}");
        let mut peer = rig.close();
        if kind == Kind::Pcap {
            let got: Vec<_> = (0..all.len()).map_while(|_| peer.receive(WAIT)).collect();
            assert_same(kind, &got, &all);
        }
    });
}

#[test]
fn a_dry_pool_loses_nothing_that_waits() {
    for_each_kind(|kind| {
        let frames: Vec<_> = (0..40).map(|i| frame(i, 200)).collect();
        let mut rig = Rig::new(kind, &frames);
        assert!(kind == Kind::Pcap || rig.receive_nothing());
        let held: Vec<_> = std::iter::from_fn(|| rig.pool.packet()).collect();
        let mut got = thread::scope(|scope| {
            let (peer, frames) = (&mut rig.peer, &frames);
            scope.spawn(move || frames.iter().for_each(|frame| peer.send(frame)));
            support::rig::receive_now(&mut *rig.port, &mut rig.pool)
        });
        for frame in held {
            rig.pool.free(frame);
        }
        got.extend(rig.receive(frames.len() - got.len()));
        assert_same(kind, &got, &frames);
        rig.close();
    });
}
