//! Ports get other numbers of interfaces while packets pass.

use std::thread;
use std::time::Duration;

use vr_io::MemoryPort;
use vr_runtime::Polling;
use vr_tables::control::Datapath;
use vr_types::VifId;

use crate::lab::{Lab, guest, patiently};

const BURST: u16 = 50;
const ROUNDS: u16 = 100;
/// Source ports of what is sent to the second guest; those to the first are below.
const SECOND: u16 = 30_000;

/// Takes so many frames, which have to be for this guest.
fn take(lab: &mut Lab, end: &mut MemoryPort, count: u16, second: bool) {
    for _ in 0..count {
        let port = patiently("a frame", || lab.take(end));
        assert_eq!(port >= SECOND, second, "the frame {port} came to another guest");
    }
}

/// Two guests exchange their numbers, and what leads to them, again and again. Everything arrives where it should.
fn guests_exchange_numbers(workers: u8) {
    let mut lab = Lab::new(workers, Polling::Balanced);
    let [mut first, mut second, mut sender] = [1, 2, 3].map(|number| lab.add_plain(number));
    for round in 0..ROUNDS {
        let start = round * BURST;
        lab.send(&mut sender, 3, 1, start..start + BURST);
        lab.send(&mut sender, 3, 2, SECOND + start..SECOND + start + BURST);
        let numbers = if round % 2 == 0 { [2, 1] } else { [1, 2] };
        for (number, vif) in [1, 2].into_iter().zip(numbers) {
            lab.lead(number, guest(vif));
        }
        let Lab { tables, workers, .. } = &mut lab;
        workers.renumber(&[(guest(1), guest(2)), (guest(2), guest(1))], &mut || tables.publish());
        take(&mut lab, &mut first, BURST, false);
        take(&mut lab, &mut second, BURST, true);
        let ports: Vec<(VifId, String)> =
            lab.monitor().ports().into_iter().map(|port| (port.vif, port.name)).collect();
        assert!(ports.contains(&(guest(numbers[0]), "guest1".to_owned())), "{ports:?}");
    }
    assert_eq!(lab.drops(), 0);
    assert!(lab.take(&mut first).is_none() && lab.take(&mut second).is_none());
    lab.close([first, second, sender]);
}

#[test]
fn guests_of_one_worker_exchange_numbers() {
    guests_exchange_numbers(1);
}

#[test]
fn guests_of_several_workers_exchange_numbers() {
    guests_exchange_numbers(2);
    guests_exchange_numbers(3);
}

/// Longer than the control thread waits for one worker: several that are late take as long together.
#[test]
fn workers_wait_for_other_numbers_as_long_as_it_takes() {
    let mut lab = Lab::new(2, Polling::Balanced);
    let [mut first, mut second, mut sender] = [1, 2, 3].map(|number| lab.add_plain(number));
    for (number, vif) in [(1, 2), (2, 1)] {
        lab.lead(number, guest(vif));
    }
    let Lab { tables, workers, .. } = &mut lab;
    workers.renumber(&[(guest(1), guest(2)), (guest(2), guest(1))], &mut || {
        thread::sleep(Duration::from_secs(6));
        tables.publish();
    });
    lab.send(&mut sender, 3, 1, 0..BURST);
    lab.send(&mut sender, 3, 2, SECOND..SECOND + BURST);
    take(&mut lab, &mut first, BURST, false);
    take(&mut lab, &mut second, BURST, true);
    lab.close([first, second, sender]);
}
