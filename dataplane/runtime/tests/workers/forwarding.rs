//! Packets reach the ports they are for, whichever workers these belong to.

use std::sync::atomic::{AtomicBool, Ordering};

use vr_io::{MemoryPort, PortKind};
use vr_observe::Worker;
use vr_runtime::{KernelMac, Polling, Queue};
use vr_tables::vif::VifFlags;
use vr_types::{Mac, WorkerId};

use crate::lab::{Lab, guest, patiently};

/// More than a batch, and more than a ring.
const MANY: u16 = 5000;

/// Sends from one guest to another in pieces that the wire holds; everything arrives, in order.
fn stream(lab: &mut Lab, [from, to]: [u8; 2], sender: &mut MemoryPort, receiver: &mut MemoryPort) {
    for start in (0..MANY).step_by(500) {
        lab.send(sender, from, to, start..start + 500);
        assert_eq!(lab.take_many(receiver, 500), (start..start + 500).collect::<Vec<_>>());
    }
}

fn sum(figures: &[Worker], of: impl Fn(&Worker) -> u64) -> u64 {
    figures.iter().map(of).sum()
}

#[test]
fn guests_of_one_worker_reach_each_other() {
    let mut lab = Lab::new(1, Polling::Balanced);
    let (mut a, mut b) = (lab.add_plain(1), lab.add_plain(2));
    stream(&mut lab, [1, 2], &mut a, &mut b);
    stream(&mut lab, [2, 1], &mut b, &mut a);
    let many = u64::from(MANY);
    for number in [1, 2] {
        let vif = guest(number);
        patiently("complete count", || (lab.packets(vif) == (many, many)).then_some(()));
    }
    let figures = lab.monitor().workers();
    assert_eq!(sum(&figures, |worker| worker.handed_off + worker.handoff_full), 0, "there is one worker");
    assert_eq!(lab.drops(), 0);
    lab.close([a, b]);
}

#[test]
fn guests_of_two_workers_reach_each_other() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let (mut a, mut b) = (lab.add_plain(1), lab.add_plain(2));
    let ports = lab.monitor().ports();
    assert_eq!(ports.iter().map(|port| port.worker).collect::<Vec<_>>(), [WorkerId(0), WorkerId(1)]);
    assert!(ports.iter().all(|port| port.kind == PortKind::Memory));
    stream(&mut lab, [1, 2], &mut a, &mut b);
    stream(&mut lab, [2, 1], &mut b, &mut a);
    let handed = || lab.monitor().workers().iter().map(|worker| worker.handed_off).collect::<Vec<_>>();
    patiently("complete count", || (handed() == [u64::from(MANY); 2]).then_some(()));
    assert_eq!(lab.drops(), 0);
    lab.close([a, b]);
}

#[test]
fn an_interface_has_queues_of_several_workers() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let mut ends = lab.add_wired(1, VifFlags::empty(), 3);
    let mut b = lab.add_plain(2);
    let workers: Vec<u8> = lab.monitor().ports().iter().map(|port| port.worker.0).collect();
    assert_eq!(workers, [0, 1, 0, 1]);
    for end in &mut ends {
        stream(&mut lab, [1, 2], end, &mut b);
    }
    // The worker of the sender has a queue of the receiver and uses it.
    let before = sum(&lab.monitor().workers(), |worker| worker.handed_off);
    stream(&mut lab, [2, 1], &mut b, &mut ends[1]);
    assert_eq!(sum(&lab.monitor().workers(), |worker| worker.handed_off), before);
    lab.close(ends.into_iter().chain([b]));
}

#[test]
fn a_queue_that_only_receives_is_not_sent_by() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let (listening, mut ear) = MemoryPort::pair(16);
    let (both, mut mouth) = MemoryPort::pair(16);
    let kernel = Mac([2, 0, 0, 0, 9, 9]);
    let queues = vec![
        Queue { sends: false, ..Queue::new(Box::new(listening)) },
        Queue { kernel_mac: Some(KernelMac::new(kernel)), ..Queue::new(Box::new(both)) },
    ];
    lab.add_guest(1, VifFlags::empty(), queues);
    let mut b = lab.add_plain(2);
    lab.send(&mut b, 2, 1, 7..8);
    let packet = patiently("a frame", || mouth.take());
    assert_eq!(packet.frame.bytes()[..6], kernel.0, "the kernel drops frames for others");
    lab.pool.free(packet.frame);
    lab.send(&mut ear, 1, 2, 8..9);
    assert_eq!(lab.take_many(&mut b, 1), [8], "it receives");
    assert!(ear.take().is_none());
    lab.close([ear, mouth, b]);
}

#[test]
fn figures_are_read_while_traffic_runs() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let (mut a, mut b) = (lab.add_plain(1), lab.add_plain(2));
    let (monitor, finished) = (lab.monitor(), AtomicBool::new(false));
    let reads = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut reads, mut last, mut beat) = (0_u64, (0, 0, 0), 0);
            while !finished.load(Ordering::Relaxed) {
                let figures = monitor.workers();
                let seen = (
                    sum(&figures, |worker| worker.packets),
                    sum(&figures, |worker| worker.busy_passes),
                    monitor.ports().iter().map(|port| port.counters.figures().rx_packets).sum::<u64>(),
                );
                assert!(seen.0 >= last.0 && seen.1 >= last.1 && seen.2 >= last.2, "{seen:?} after {last:?}");
                assert!(monitor.heartbeat() >= beat);
                (last, beat) = (seen, monitor.heartbeat());
                reads += 1;
            }
            reads
        });
        stream(&mut lab, [1, 2], &mut a, &mut b);
        finished.store(true, Ordering::Relaxed);
        reader.join().unwrap()
    });
    assert!(reads > 10, "{reads} reads");
    let many = u64::from(MANY);
    patiently("complete count", || {
        (sum(&lab.monitor().workers(), |worker| worker.packets) == many).then_some(())
    });
    let ports = lab.monitor().ports();
    let figures: Vec<_> = ports.iter().map(|port| port.counters.figures()).collect();
    assert_eq!((figures[0].rx_packets, figures[1].tx_packets), (many, many));
    lab.close([a, b]);
}
