//! The forwarding pipeline: pure, without I/O, clock or logging.
//!
//! A worker owns a [`Forwarder`] and gives it batches of packets with the interface that they came from; what
//! is to be sent comes back as an ordered list of packets and interfaces.

mod bytes;
mod fast;
mod full;
mod output;
mod plain;
mod verdict;

use std::sync::Arc;

pub use output::Output;
pub use plain::make_plain;
use vr_frame::{Batch, FramePool};
use vr_tables::Snapshot;
use vr_tables::flow::FlowTable;
pub use vr_tables::flow::HoldCounters;
use vr_tables::grace::Grace;
use vr_tables::publish::Reader;
use vr_tables::stats::WorkerStats;
use vr_types::{FlowIndex, VifId, WorkerId};

/// What a forwarder works with; all of it is shared with the control thread.
pub struct Shared {
    /// The worker's number.
    pub worker: WorkerId,
    /// Snapshots of the tables.
    pub tables: Reader<Snapshot>,
    /// The flow table.
    pub flows: Arc<FlowTable>,
    /// Announces batches.
    pub grace: Arc<Grace>,
    /// The worker's counters.
    pub stats: Arc<WorkerStats>,
    /// Flows that wait for the agent, over all workers.
    pub holds: Arc<HoldCounters>,
}

/// Time as the pipeline knows it: nanoseconds of a monotonic clock, read once per batch by the worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Now(pub u64);

/// One worker's pipeline.
pub struct Forwarder {
    shared: Shared,
    memory: full::Memory,
    stages: Box<fast::Stages>,
    fast: bool,
}

impl Forwarder {
    /// A forwarder.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared, memory: full::Memory::default(), stages: Box::default(), fast: true }
    }

    /// A forwarder without fast lanes: the reference that they are compared with.
    #[doc(hidden)]
    #[must_use]
    pub fn full_path_only(shared: Shared) -> Self {
        Self { fast: false, ..Self::new(shared) }
    }

    /// Forwards the packets of `batch`, which came from interface `from`; leaves it empty. What is to be sent
    /// is appended to `out`.
    pub fn process(
        &mut self,
        from: VifId,
        batch: &mut Batch,
        now: Now,
        pool: &mut FramePool,
        out: &mut Output,
    ) {
        if self.fast {
            self.with_tables(now, pool, out, |full, stages| fast::run(full, stages, from, batch));
        } else {
            self.with_tables(now, pool, out, |full, _| {
                batch.drain().for_each(|packet| full.receive(from, packet));
            });
        }
    }

    /// Looks again at the packets held for a flow, because its entry was set or removed.
    pub fn release_held(&mut self, flow: FlowIndex, now: Now, pool: &mut FramePool, out: &mut Output) {
        self.with_tables(now, pool, out, |full, _| full.release(flow));
    }

    /// Asks for the entries of flows whose packets are about to be released, so that [`Forwarder::release_held`] does not
    /// wait for one after the other.
    pub fn expect_release(&self, flows: &[FlowIndex]) {
        self.shared.flows.expect_release(flows);
    }

    /// Does what is due at this time: gives up packets that waited too long.
    pub fn tick(&mut self, now: Now, pool: &mut FramePool, out: &mut Output) {
        self.with_tables(now, pool, out, |full, _| {
            full.refill_burst();
            full.expire_held();
            full.expire_fragments();
        });
    }

    /// Gives back every frame that is still held; for the end of a worker.
    pub fn close(mut self, pool: &mut FramePool) {
        self.memory.held.clear(pool);
        self.memory.fragments.clear(pool);
    }

    fn with_tables(
        &mut self,
        now: Now,
        pool: &mut FramePool,
        out: &mut Output,
        run: impl FnOnce(&mut full::Full<'_>, &mut fast::Stages),
    ) {
        let Shared { worker, tables, flows, grace, stats, holds } = &mut self.shared;
        grace.enter(*worker);
        let tables = tables.latest();
        let mut full = full::Full {
            tables,
            bridge: &tables.bridge,
            flows,
            stats,
            holds,
            worker: *worker,
            now,
            pool,
            out,
            memory: &mut self.memory,
            parts: None,
        };
        if full.memory.incarnation != tables.incarnation {
            full.memory.incarnation = tables.incarnation;
            full.forget_fragments();
        }
        run(&mut full, &mut self.stages);
        grace.leave(*worker);
    }
}
