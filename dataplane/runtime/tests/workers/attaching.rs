//! Ports come and go while packets pass, and workers end; no frame is lost.

use vr_io::{MemoryPort, Port};
use vr_runtime::Polling;
use vr_tables::control::VifSpec;
use vr_tables::vif::{VifFlags, VifKind};

use crate::lab::{Lab, guest, patiently};

const BURST: u16 = 200;
const ROUNDS: u16 = 40;
/// Source port of the packet that has to arrive.
const MARK: u16 = 40_000;

/// The receiver's port is removed and added again under traffic: what was sent was received or is a counted drop.
fn receiver_comes_and_goes(workers: u8) {
    let mut lab = Lab::new(workers, Polling::Balanced);
    let (mut a, mut b) = (lab.add_plain(1), lab.add_plain(2));
    let (mut sent, mut received) = (0, 0);
    for round in 1..=ROUNDS {
        lab.send(&mut a, 1, 2, 0..BURST);
        lab.remove(guest(2));
        assert_eq!(lab.workers.factory().closed, vec![guest(2); usize::from(round)]);
        assert_eq!(lab.monitor().ports().len(), 1, "a closed port is not reported");
        lab.send(&mut a, 1, 2, 0..BURST);
        while lab.take(&mut b).is_some() {
            received += 1;
        }
        Box::new(b).close(&mut lab.pool);
        b = lab.add_plain(2);
        lab.send(&mut a, 1, 2, MARK..MARK + 1);
        sent += 2 * u64::from(BURST) + 1;
        // Others may still be under way before it.
        patiently("packet at a port that is back", || {
            let port = lab.take(&mut b)?;
            received += 1;
            (port == MARK).then_some(())
        });
    }
    patiently("account of every packet", || {
        while lab.take(&mut b).is_some() {
            received += 1;
        }
        (lab.packets(guest(1)).0 == sent && received + lab.drops() == sent).then_some(())
    });
    lab.close([a, b]);
}

#[test]
fn a_port_of_the_same_worker_comes_and_goes() {
    receiver_comes_and_goes(1);
}

#[test]
fn a_port_of_another_worker_comes_and_goes() {
    receiver_comes_and_goes(2);
}

#[test]
fn a_sender_goes_in_the_middle_of_its_traffic() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let mut b = lab.add_plain(2);
    for _ in 0..ROUNDS {
        let mut ends = lab.add_wired(1, VifFlags::empty(), 2);
        for end in &mut ends {
            lab.send(end, 1, 2, 0..BURST);
        }
        lab.remove(guest(1));
        for end in ends {
            Box::new(end).close(&mut lab.pool);
        }
        while lab.take(&mut b).is_some() {}
    }
    let c = lab.add_plain(3);
    lab.close([b, c]);
}

#[test]
fn an_interface_without_a_port_is_refused_and_leaves_nothing() {
    let mut lab = Lab::new(2, Polling::Power);
    let spec = VifSpec::new(guest(1), VifKind::Virtual, "nowhere");
    let error = lab.tables.vif_add(&spec, &mut lab.workers).unwrap_err();
    assert!(error.to_string().contains("nowhere"), "{error}");
    assert!(lab.monitor().ports().is_empty());
    assert!(lab.tables.vif(guest(1)).is_err());
    let mut a = lab.add_plain(1);
    let mut b = lab.add_plain(2);
    lab.send(&mut a, 1, 2, 1..2);
    assert_eq!(lab.take_many(&mut b, 1), [1]);
    lab.close([a, b]);
}

#[test]
fn workers_end_with_packets_everywhere() {
    for _ in 0..ROUNDS {
        let mut lab = Lab::new(2, Polling::Balanced);
        let mut ends: Vec<MemoryPort> = (1..=4).map(|number| lab.add_plain(number)).collect();
        for (number, end) in (1..=4).zip(&mut ends) {
            lab.send(end, number, number % 4 + 1, 0..BURST);
        }
        lab.close(ends);
    }
}

#[test]
fn many_ports_come_and_all_are_served() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let mut ends: Vec<MemoryPort> = (0..20).map(|number| lab.add_plain(number)).collect();
    for number in 0..20_u8 {
        let next = (number + 1) % 20;
        lab.send(&mut ends[usize::from(number)], number, next, u16::from(number)..u16::from(number) + 1);
        assert_eq!(lab.take_many(&mut ends[usize::from(next)], 1), [u16::from(number)]);
    }
    for number in (0..20).step_by(2) {
        lab.remove(guest(number));
    }
    lab.send(&mut ends[1], 1, 3, 99..100);
    assert_eq!(lab.take_many(&mut ends[3], 1), [99], "the others stay");
    lab.close(ends);
}
