//! Workers insert, look up and count while the control thread changes and removes.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use vr_tables::flow::{FlowAction, FlowKey, FlowTable, InsertError};
use vr_tables::geometry::Geometry;
use vr_tables::grace::Grace;
use vr_types::{FlowIndex, NexthopId, WorkerId};

const KEYS: u16 = 40;
const WORKERS: u8 = 2;
/// Enough for each slot to have many users one after the other.
const REMOVALS: u64 = 600;

fn key(n: u16) -> FlowKey {
    let [a, b] = n.to_be_bytes();
    FlowKey::inet(17, [a, b, 0, 53], NexthopId(7), [10, 0, 0, 1], [10, 0, 0, 2])
}

struct Rig {
    table: FlowTable,
    grace: Grace,
    inserted: AtomicU64,
    full: AtomicU64,
    stop: AtomicBool,
}

impl Rig {
    fn worker(&self, worker: WorkerId) {
        let mut step = u32::from(worker.0) * 11;
        while !self.stop.load(Relaxed) {
            self.grace.enter(worker);
            for _ in 0..32 {
                step = step.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                self.packet(worker, (step >> 16) as u16 % KEYS);
            }
            self.grace.leave(worker);
        }
    }

    fn packet(&self, worker: WorkerId, n: u16) {
        let (key, hash) = (key(n), key(n).hash());
        let index = match self.table.find(&key, hash) {
            Some(index) => index,
            None => match self.table.insert(&key, hash, |shared| write(shared, n)) {
                Ok(index) => {
                    self.inserted.fetch_add(1, Relaxed);
                    index
                }
                Err(InsertError::Exists(index)) => index,
                Err(InsertError::Full | InsertError::Busy) => {
                    self.full.fetch_add(1, Relaxed);
                    return;
                }
            },
        };
        // As long as the batch lasts the slot belongs to this key, active or not.
        assert_eq!(self.table.shared(index).unwrap().key(), Some(key));
        if let Some((seen, _)) =
            self.table.read(index, |s| (s.vrf.load(Relaxed), s.dvrf.load(Relaxed), s.ttl.load(Relaxed)))
        {
            let (vrf, dvrf, ttl) = seen;
            assert_eq!((vrf, dvrf), (n, n.wrapping_add(u16::from(ttl))), "halves of two states");
        }
        self.table.count(index, worker, 100);
    }

    /// Changes and removes entries; what was removed is released after its grace period.
    fn control(&self) -> u64 {
        let mut leaving = std::collections::VecDeque::new();
        let mut released = 0;
        let mut round = 0u32;
        while released < REMOVALS {
            round = round.wrapping_add(1);
            let n = (round.wrapping_mul(13) % u32::from(KEYS)) as u16;
            if let Some(index) = self.table.find(&key(n), key(n).hash()) {
                if round.is_multiple_of(3) && self.table.unlink(index) {
                    leaving.push_back((index, self.grace.token()));
                } else {
                    self.change(index, n, round as u8);
                }
            }
            while leaving.front().is_some_and(|(_, token)| self.grace.passed(token)) {
                let (index, _) = leaving.pop_front().unwrap();
                self.table.release(index);
                released += 1;
            }
            std::thread::yield_now();
        }
        self.stop.store(true, Relaxed);
        released + leaving.len() as u64
    }

    fn change(&self, index: FlowIndex, n: u16, ttl: u8) {
        self.table.modify(index, |shared| {
            shared.ttl.store(ttl, Relaxed);
            shared.dvrf.store(n.wrapping_add(u16::from(ttl)), Relaxed);
            (FlowAction::Forward, true)
        });
    }
}

fn write(shared: &vr_tables::flow::SharedFlow, n: u16) {
    shared.vrf.store(n, Relaxed);
    shared.dvrf.store(n, Relaxed);
}

#[test]
fn a_slot_never_changes_hands_within_a_batch() {
    let rig = Rig {
        table: FlowTable::new(Geometry { entries: 8, overflow: 16 }, WORKERS, None).unwrap(),
        grace: Grace::new(WORKERS),
        inserted: AtomicU64::new(0),
        full: AtomicU64::new(0),
        stop: AtomicBool::new(false),
    };
    let removed = std::thread::scope(|scope| {
        for worker in 0..WORKERS {
            let rig = &rig;
            scope.spawn(move || rig.worker(WorkerId(worker)));
        }
        rig.control()
    });
    let left = rig.table.indexes().count() as u64;
    let inserted = rig.inserted.load(Relaxed);
    assert!(rig.full.load(Relaxed) > 0, "the table was never full");
    // What is still in use was inserted, and every insertion had its removal or is still there.
    let unreleased =
        left - (0..KEYS).filter(|n| rig.table.find(&key(*n), key(*n).hash()).is_some()).count() as u64;
    assert_eq!(inserted, removed + left - unreleased);
    let (main, overflow) = rig.table.used();
    assert_eq!(u64::from(main + overflow), left);
}

fn shortest(mut what: impl FnMut()) -> Duration {
    let times = (0..200).map(|_| {
        let start = Instant::now();
        what();
        start.elapsed()
    });
    times.min().unwrap()
}

#[test]
fn nobody_waits_long_for_a_thread_that_does_not_run() {
    let table = FlowTable::new(Geometry { entries: 4, overflow: 0 }, WORKERS, None).unwrap();
    let index = table.insert(&key(1), key(1).hash(), |_| {}).unwrap();
    let ((held, holds), (go_on, goes_on)) = (mpsc::channel(), mpsc::channel::<()>());
    let (busy_entry, busy_bucket) = std::thread::scope(|scope| {
        let table = &table;
        scope.spawn(move || {
            table.modify(index, |_| {
                let inserted = table.insert(&key(2), key(2).hash(), |_| {
                    held.send(()).unwrap();
                    goes_on.recv().unwrap();
                });
                assert!(inserted.is_ok());
                (FlowAction::Forward, true)
            });
        });
        holds.recv().unwrap();
        let entry = shortest(|| assert!(table.read(index, |_| ()).is_none()));
        let bucket = shortest(|| {
            assert_eq!(table.insert(&key(3), key(3).hash(), |_| {}), Err(InsertError::Busy));
        });
        go_on.send(()).unwrap();
        (entry, bucket)
    });
    let patience = shortest(|| (0..1000).for_each(|_| std::hint::spin_loop()));
    assert!(busy_entry < patience / 2, "{busy_entry:?}, {patience:?} for a thousand pauses");
    assert!(busy_bucket < patience / 2, "{busy_bucket:?}, {patience:?} for a thousand pauses");
}
