//! The rules of `docs/flow-table.md` in small, under every order of events that the memory model allows: two or
//! three threads with the atomics, orders and fences of `flow`, `grace` and `publish`.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod bucket;
mod evicting;
mod views;

use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;

pub(crate) fn model(check: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(check);
}

/// One worker's counter of `grace::Grace`.
pub(crate) struct Batch(AtomicU32);

impl Batch {
    pub(crate) fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    pub(crate) fn enter(&self) {
        self.0.store(self.0.load(Relaxed) | 1, Relaxed);
        fence(SeqCst);
    }

    pub(crate) fn leave(&self) {
        self.0.store((self.0.load(Relaxed) | 1) + 1, Release);
    }

    pub(crate) fn token(&self) -> u32 {
        fence(SeqCst);
        self.0.load(Acquire)
    }

    pub(crate) fn passed(&self, token: u32) -> bool {
        token.is_multiple_of(2) || self.0.load(Acquire) != token
    }
}

/// `FlowTable::touch` and `FlowFolding::run`: the count of a packet is seen by the folding that runs meanwhile,
/// or leaves a mark for the next one. The mark of a packet before is still there.
#[test]
fn a_count_is_folded_or_marked() {
    model(|| {
        let (count, mark) = (Arc::new(AtomicU32::new(1)), Arc::new(AtomicU32::new(1)));
        let worker = thread::spawn({
            let (count, mark) = (Arc::clone(&count), Arc::clone(&mark));
            move || {
                count.store(2, Relaxed);
                // A store in the original. Loom lets a plain store come between the read and the write of another
                // thread's exchange (tokio-rs/loom issue 254), so an exchange stands for it.
                mark.swap(1, Release);
            }
        });
        assert_eq!(mark.swap(0, Acquire), 1);
        let folded = count.load(Relaxed);
        worker.join().unwrap();
        assert!(folded == 2 || mark.load(Relaxed) == 1, "{folded} of 2 and no mark");
    });
}

const FREE: u32 = 0;
const BETWEEN: u32 = 255;

/// An entry as far as counting goes.
struct Counted {
    owner: AtomicU32,
    own: AtomicU32,
    foreign: AtomicU32,
    batches: [Batch; 2],
}

impl Counted {
    /// A batch of one packet: the fast lanes look who owns the entry, and count some time later.
    fn batch(&self, worker: u32) {
        self.batches[worker as usize].enter();
        let me = worker + 1;
        let owner = self.owner.load(Acquire);
        let mine =
            owner == me || owner == FREE && self.owner.compare_exchange(FREE, me, AcqRel, Acquire).is_ok();
        if mine {
            self.own.store(self.own.load(Relaxed) + 1, Relaxed);
        } else {
            self.foreign.fetch_add(1, Relaxed);
        }
        self.batches[worker as usize].leave();
    }
}

/// `FlowFolding`: no count is lost while an entry goes from one worker to the other.
#[test]
fn no_count_is_lost_between_two_owners() {
    model(|| {
        let entry = Arc::new(Counted {
            owner: AtomicU32::new(1),
            own: AtomicU32::new(0),
            foreign: AtomicU32::new(0),
            batches: [Batch::new(), Batch::new()],
        });
        let workers = [0, 1].map(|worker| {
            let entry = Arc::clone(&entry);
            thread::spawn(move || (0..2).for_each(|_| entry.batch(worker)))
        });
        // Housekeeping.
        entry.owner.fetch_update(AcqRel, Acquire, |_| Some(BETWEEN)).unwrap();
        let tokens = [0, 1].map(|worker: usize| entry.batches[worker].token());
        if (0..2).all(|worker: usize| entry.batches[worker].passed(tokens[worker])) {
            entry.owner.fetch_update(AcqRel, Acquire, |_| Some(FREE)).unwrap();
        }
        for worker in workers {
            worker.join().unwrap();
        }
        assert_eq!(entry.own.load(Relaxed) + entry.foreign.load(Relaxed), 4);
    });
}

const ACTIVE: u32 = 1 << 8;
const CHANGING: u32 = 1 << 9;
const CHANGE: u32 = 1 << 16;

/// An entry with its tag. The generation is the low byte of the state.
struct Entry {
    tag: AtomicU32,
    key: AtomicU32,
    state: AtomicU32,
    /// Two fields of the shared half that belong together: both are the key times ten, plus a change.
    shared: [AtomicU32; 2],
    in_use: AtomicU32,
    batch: Batch,
}

impl Entry {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            tag: AtomicU32::new(0),
            key: AtomicU32::new(0),
            state: AtomicU32::new(0),
            shared: [AtomicU32::new(0), AtomicU32::new(0)],
            in_use: AtomicU32::new(0),
            batch: Batch::new(),
        })
    }

    /// `insert_as` behind the lock; the slot has to be free.
    fn insert(&self, key: u32) -> bool {
        if self.in_use.load(Acquire) != 0 {
            return false;
        }
        let generation = (self.state.load(Relaxed) & 0xff) + 1;
        self.shared.iter().for_each(|field| field.store(key * 10, Relaxed));
        self.key.store(key, Relaxed);
        self.state.store(ACTIVE | generation, Release);
        self.in_use.store(1, Release);
        self.tag.store(key, Release);
        true
    }

    fn modify(&self, key: u32) {
        self.update(|state| (state + CHANGE) | CHANGING);
        fence(SeqCst);
        self.shared.iter().for_each(|field| field.store(key * 10 + 1, Relaxed));
        self.update(|state| state & !CHANGING);
    }

    fn unlink(&self) {
        self.update(|state| state & !ACTIVE);
        self.tag.store(0, Release);
    }

    /// Everything is cleared before the slot counts as free.
    fn release(&self) {
        self.shared.iter().for_each(|field| field.store(0, Relaxed));
        self.in_use.store(0, Release);
    }

    fn update(&self, change: impl Fn(u32) -> u32) {
        self.state.fetch_update(AcqRel, Acquire, |state| Some(change(state))).unwrap();
    }

    /// `candidate`, `check` and `read` in one batch: what was seen of the shared half.
    fn hit(&self, key: u32) -> Option<u32> {
        self.batch.enter();
        let seen = self.look(key);
        self.batch.leave();
        seen
    }

    fn look(&self, key: u32) -> Option<u32> {
        if self.tag.load(Acquire) != key {
            return None;
        }
        let state = self.state.load(Acquire);
        if self.key.load(Relaxed) != key || state & ACTIVE == 0 || state & CHANGING != 0 {
            return None;
        }
        let [first, second] = [0, 1].map(|field: usize| self.shared[field].load(Relaxed));
        fence(Acquire);
        let after = self.state.load(Acquire);
        if (after ^ state) & !ACTIVE != 0 {
            return None;
        }
        assert_eq!(first, second, "halves of two states");
        Some(first)
    }
}

/// Insertion, change: a worker sees all of one state, or nothing.
#[test]
fn a_hit_sees_one_state() {
    model(|| {
        let entry = Entry::new();
        let control = thread::spawn({
            let entry = Arc::clone(&entry);
            move || {
                assert!(entry.insert(1));
                entry.modify(1);
            }
        });
        if let Some(seen) = entry.hit(1) {
            assert!([10, 11].contains(&seen), "{seen}");
        }
        control.join().unwrap();
        assert_eq!(entry.hit(1), Some(11));
    });
}

/// Removal and reuse: within its batch a worker never meets the next user of the slot.
#[test]
fn a_slot_has_one_user_within_a_batch() {
    model(|| {
        let entry = Entry::new();
        assert!(entry.insert(1));
        let control = thread::spawn({
            let entry = Arc::clone(&entry);
            move || {
                entry.unlink();
                let token = entry.batch.token();
                if entry.batch.passed(token) {
                    entry.release();
                }
            }
        });
        // Another worker, which inserts where it finds the slot free.
        let other = thread::spawn({
            let entry = Arc::clone(&entry);
            move || entry.insert(2)
        });
        if let Some(seen) = entry.hit(1) {
            assert_eq!(seen, 10);
        }
        control.join().unwrap();
        if other.join().unwrap() {
            assert_eq!(entry.hit(2), Some(20));
            assert_eq!(entry.hit(1), None);
            assert_eq!(entry.state.load(Relaxed) & 0xff, 2, "another generation");
        }
    });
}

const OURS: u32 = 1;
const OTHERS: u32 = 2;

/// `Publisher` with snapshots that name one of two slots, and what stands in these.
struct Published {
    generation: AtomicU32,
    current: Mutex<usize>,
    slots: [AtomicU32; 2],
    batches: [Batch; 2],
}

impl Published {
    fn publish(&self, snapshot: usize) {
        let mut current = self.current.lock().unwrap();
        *current = snapshot;
        self.generation.fetch_add(1, Release);
    }

    /// A batch of a worker that has held the first snapshot: what it finds by way of the latest one.
    fn batch(&self, worker: usize) -> u32 {
        self.batches[worker].enter();
        let mut held = 0;
        if self.generation.load(Acquire) != 0 {
            let current = self.current.lock().unwrap();
            assert_eq!(self.generation.load(Acquire), 1);
            held = *current;
        }
        let found = self.slots[held].load(Relaxed);
        self.batches[worker].leave();
        found
    }
}

/// Publication and reuse: no worker meets the next user of a slot by an older snapshot.
#[test]
fn a_batch_uses_no_snapshot_older_than_its_token() {
    model(|| {
        let published = Arc::new(Published {
            generation: AtomicU32::new(0),
            current: Mutex::new(0),
            slots: [AtomicU32::new(OURS), AtomicU32::new(OURS)],
            batches: [Batch::new(), Batch::new()],
        });
        let workers = [0, 1].map(|worker| {
            let published = Arc::clone(&published);
            thread::spawn(move || assert_eq!(published.batch(worker), OURS, "a frame for another tenant"))
        });
        published.publish(1);
        let tokens = [0, 1].map(|worker: usize| published.batches[worker].token());
        if (0..2).all(|worker: usize| published.batches[worker].passed(tokens[worker])) {
            published.slots[0].store(OTHERS, Relaxed);
        }
        for worker in workers {
            worker.join().unwrap();
        }
    });
}

const SYN_R: u32 = 1;
const ESTABLISHED_R: u32 = 2;
const FIN_R: u32 = 4;

/// `set_tcp_flags`: the bit in the state belongs to all flags when everybody is done.
#[test]
fn a_connection_that_is_over_is_not_settled() {
    model(|| {
        let connection = Arc::new((AtomicU32::new(SYN_R), AtomicU32::new(0)));
        let add = |connection: &(AtomicU32, AtomicU32), flags| {
            let (all, settled) = connection;
            all.fetch_or(flags, AcqRel);
            let mut seen = all.load(Acquire);
            loop {
                let now_settled = seen & FIN_R == 0 && (seen & SYN_R == 0 || seen & ESTABLISHED_R != 0);
                settled.fetch_update(AcqRel, Acquire, |_| Some(u32::from(now_settled))).unwrap();
                let now = all.load(Acquire);
                if now == seen {
                    return;
                }
                seen = now;
            }
        };
        let other = thread::spawn({
            let connection = Arc::clone(&connection);
            move || add(&connection, FIN_R)
        });
        add(&connection, ESTABLISHED_R);
        other.join().unwrap();
        assert_eq!(connection.1.load(Relaxed), 0);
    });
}
