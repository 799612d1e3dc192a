//! Marks for eviction, requests of the agent and evictions.

use loom::sync::atomic::AtomicU32;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::{Arc, Mutex};
use loom::thread;

use crate::{Batch, model};

const MODIFIED: u32 = 1;
const CANDIDATE: u32 = 2;
const EVICTED: u32 = 4;
const NEW: u32 = 8;
const MARKED_BY_AGENT: u32 = 16;
/// A bit that the agent sets.
const ASKED: u32 = 32;

/// The flags of an entry, and whether packets find it: `SharedFlow::flags` and the state word.
struct Flow {
    flags: AtomicU32,
    generation: AtomicU32,
    active: AtomicU32,
    /// What a request writes while it has the lock, twice: `control::flow_write::write`.
    fields: [AtomicU32; 2],
    in_use: AtomicU32,
}

impl Flow {
    fn new() -> Self {
        Self {
            flags: AtomicU32::new(0),
            generation: AtomicU32::new(1),
            active: AtomicU32::new(1),
            fields: [AtomicU32::new(0), AtomicU32::new(0)],
            in_use: AtomicU32::new(1),
        }
    }

    /// `SharedFlow::start_change`.
    fn start(&self, unless: u32) -> bool {
        let unless = unless | MODIFIED | EVICTED | NEW;
        let start = |flags: u32| (flags & unless == 0).then_some(flags | MODIFIED);
        self.flags.fetch_update(Acquire, Relaxed, start).is_ok()
    }

    /// `SharedFlow::end_change`.
    fn end(&self, add: u32, remove: u32) {
        let end = |flags: u32| Some((flags & !(remove | MODIFIED)) | add);
        self.flags.fetch_update(Release, Relaxed, end).unwrap();
    }

    /// A request of the agent; refused when somebody has the lock.
    fn set(&self, value: u32) -> bool {
        if !self.start(0) {
            return false;
        }
        self.fields.iter().for_each(|field| field.store(value, Relaxed));
        self.flags.fetch_update(Release, Relaxed, |flags| Some(flags | ASKED)).unwrap();
        self.end(0, 0);
        true
    }
}

/// Both directions of a connection that is over, and the queue of the marked ones.
struct Pair {
    flows: [Flow; 2],
    marked: Mutex<Vec<usize>>,
}

impl Pair {
    fn new() -> Arc<Self> {
        Arc::new(Self { flows: [Flow::new(), Flow::new()], marked: Mutex::new(Vec::new()) })
    }

    /// `FlowTable::mark_for_eviction`.
    fn mark(&self, first: usize) {
        let second = 1 - first;
        let unless = CANDIDATE | MARKED_BY_AGENT;
        if !self.flows[first].start(unless) {
            return;
        }
        if !self.flows[second].start(unless) {
            return self.flows[first].end(0, 0);
        }
        for which in [second, first] {
            self.flows[which].end(CANDIDATE, 0);
            self.marked.lock().unwrap().push(which);
        }
    }

    fn is(&self, which: usize, flag: u32) -> bool {
        self.flows[which].flags.load(Acquire) & flag != 0
    }
}

/// Two workers see the end of the connection, one by each direction: both directions are marked, each once, or the
/// next packet marks them.
#[test]
fn a_pair_is_marked_once() {
    model(|| {
        let pair = Pair::new();
        let other = thread::spawn({
            let pair = Arc::clone(&pair);
            move || pair.mark(1)
        });
        pair.mark(0);
        other.join().unwrap();
        // The next packet.
        pair.mark(0);
        assert!(pair.is(0, CANDIDATE) && pair.is(1, CANDIDATE));
        assert!(!pair.is(0, MODIFIED) && !pair.is(1, MODIFIED), "nobody has a lock any more");
        let mut marked = pair.marked.lock().unwrap().clone();
        marked.sort_unstable();
        assert_eq!(marked, [0, 1]);
    });
}

/// A mark and a request of the agent: none undoes the other, and the request is whole or refused.
#[test]
fn a_request_does_not_undo_a_mark() {
    model(|| {
        let pair = Pair::new();
        let worker = thread::spawn({
            let pair = Arc::clone(&pair);
            move || pair.mark(0)
        });
        let accepted = pair.flows[1].set(7);
        worker.join().unwrap();
        let marked = pair.marked.lock().unwrap().len();
        assert_eq!(marked, if pair.is(1, CANDIDATE) { 2 } else { 0 }, "queued and marked is the same");
        assert_eq!(pair.is(0, CANDIDATE), pair.is(1, CANDIDATE), "both or none");
        assert_eq!(pair.is(1, ASKED), accepted);
        assert!(accepted || marked == 2, "one of them had the lock");
        assert!(pair.flows[1].fields.iter().all(|field| field.load(Relaxed) == if accepted { 7 } else { 0 }));
    });
}

/// A worker that finds no place for an entry in the queue takes its mark back: a request does not bring that again, for
/// nobody would ever evict the entry.
#[test]
fn a_request_does_not_bring_back_a_mark() {
    model(|| {
        let flow = Arc::new(Flow::new());
        let worker = thread::spawn({
            let flow = Arc::clone(&flow);
            move || {
                if flow.start(CANDIDATE) {
                    flow.end(CANDIDATE, 0);
                    flow.flags.fetch_and(!CANDIDATE, Relaxed);
                }
            }
        });
        let accepted = flow.set(7);
        worker.join().unwrap();
        assert_eq!(flow.flags.load(Acquire), if accepted { ASKED } else { 0 });
    });
}

/// An entry with a worker in a batch, and the slot's next user.
struct Slot {
    flow: Flow,
    batch: Batch,
    counters: AtomicU32,
}

impl Slot {
    /// `insert`, which starts from what was left: the generation, and the counters for the trap.
    fn insert(&self) -> Option<u32> {
        if self.flow.in_use.load(Acquire) != 0 {
            return None;
        }
        let left = self.counters.load(Relaxed);
        self.counters.store(0, Relaxed);
        self.flow.generation.store(self.flow.generation.load(Relaxed) + 1, Relaxed);
        self.flow.flags.store(NEW, Relaxed);
        self.flow.active.store(1, Release);
        self.flow.in_use.store(1, Release);
        Some(left)
    }
}

/// Eviction and reuse: a worker never meets the next user within its batch, that one gets the last count, and the
/// agent's request about the former flow is refused.
#[test]
fn an_evicted_entry_has_its_successor_after_the_batch() {
    model(|| {
        let slot = Arc::new(Slot { flow: Flow::new(), batch: Batch::new(), counters: AtomicU32::new(1) });
        let worker = thread::spawn({
            let slot = Arc::clone(&slot);
            move || {
                slot.batch.enter();
                if slot.flow.active.load(Acquire) == 1 {
                    // A packet of whoever has the slot in this batch.
                    let generation = slot.flow.generation.load(Relaxed);
                    let count = slot.counters.load(Relaxed);
                    slot.counters.store(count + 1, Relaxed);
                    assert_eq!(count, u32::from(generation == 1));
                    assert_eq!(slot.flow.generation.load(Relaxed), generation, "it has changed hands");
                }
                slot.batch.leave();
            }
        });
        // The control thread: `start_eviction`, `unlink`, a grace period, `release_evicted`.
        assert!(slot.flow.start(MARKED_BY_AGENT));
        slot.flow.flags.fetch_or(CANDIDATE, Release);
        slot.flow.active.fetch_update(AcqRel, Acquire, |_| Some(0)).unwrap();
        let token = slot.batch.token();
        assert!(!slot.flow.set(7), "busy");
        let released = slot.batch.passed(token);
        if released {
            slot.flow.end(EVICTED, CANDIDATE);
            assert!(!slot.flow.set(7), "gone");
            slot.flow.in_use.store(0, Release);
        }
        let left = slot.insert();
        assert_eq!(left.is_some(), released);
        worker.join().unwrap();
        if let Some(left) = left {
            assert!([1, 2].contains(&left), "{left}");
            assert_eq!((slot.flow.generation.load(Relaxed), slot.flow.flags.load(Relaxed)), (2, NEW));
        }
    });
}
