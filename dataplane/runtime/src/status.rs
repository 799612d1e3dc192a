//! What a worker tells about itself while it runs. Reading it stops nobody.

use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam::utils::CachePadded;
use vr_forward::Now;
use vr_observe::Worker;

/// Figures of one worker. Only the worker writes them.
#[derive(Default)]
pub(crate) struct Status {
    cells: CachePadded<Cells>,
}

#[derive(Default)]
struct Cells {
    heartbeat: AtomicU64,
    packets: AtomicU64,
    busy_passes: AtomicU64,
    idle_passes: AtomicU64,
    sleeps: AtomicU64,
    busy_ns: AtomicU64,
    idle_ns: AtomicU64,
    asleep_ns: AtomicU64,
    looks: AtomicU64,
    handed_off: AtomicU64,
    handoff_full: AtomicU64,
    free_buffers: AtomicU64,
}

fn add(cell: &AtomicU64, count: u64) {
    // One writer, so no read-modify-write is needed.
    cell.store(cell.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
}

impl Status {
    pub(crate) fn beat(&self, now: Now) {
        self.cells.heartbeat.store(now.0, Ordering::Relaxed);
    }

    /// A pass of `ns` nanoseconds that received `packets`, and did something or not.
    pub(crate) fn passed(&self, busy: bool, packets: u64, ns: u64) {
        if busy {
            add(&self.cells.packets, packets);
            add(&self.cells.busy_passes, 1);
            add(&self.cells.busy_ns, ns);
        } else {
            add(&self.cells.idle_passes, 1);
            add(&self.cells.idle_ns, ns);
        }
    }

    pub(crate) fn slept(&self, ns: u64) {
        add(&self.cells.sleeps, 1);
        add(&self.cells.asleep_ns, ns);
    }

    pub(crate) fn looked(&self) {
        add(&self.cells.looks, 1);
    }

    pub(crate) fn handed_off(&self) {
        add(&self.cells.handed_off, 1);
    }

    pub(crate) fn handoff_full(&self) {
        add(&self.cells.handoff_full, 1);
    }

    pub(crate) fn has_free(&self, buffers: usize) {
        self.cells.free_buffers.store(buffers as u64, Ordering::Relaxed);
    }

    pub(crate) fn heartbeat(&self) -> u64 {
        self.cells.heartbeat.load(Ordering::Relaxed)
    }

    /// All but the heartbeat, at this moment.
    pub(crate) fn figures(&self) -> Worker {
        let get = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let cells = &self.cells;
        Worker {
            packets: get(&cells.packets),
            busy_passes: get(&cells.busy_passes),
            idle_passes: get(&cells.idle_passes),
            sleeps: get(&cells.sleeps),
            busy_ns: get(&cells.busy_ns),
            idle_ns: get(&cells.idle_ns),
            asleep_ns: get(&cells.asleep_ns),
            looks: get(&cells.looks),
            handed_off: get(&cells.handed_off),
            handoff_full: get(&cells.handoff_full),
            free_buffers: get(&cells.free_buffers),
        }
    }
}
