//! One node in memory: tables and a pipeline.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use vr_forward::{Forwarder, Now, Output, Shared};
use vr_frame::{Batch, FramePool, Offload, Packet, PoolSet, PoolSizes};
use vr_tables::control::{AttachError, Attached, Datapath, GracefulRestart, Limits, Tables, TablesConfig};
use vr_tables::drop_log::Dropped;
use vr_tables::flow::FlowTable;
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_tables::stats::{Cores, VifTotals};
use vr_tables::vif::Vif;
use vr_types::{BridgeIndex, DropReason, FlowIndex, Release, VifId, VrfId, WorkerId};

use crate::world;

/// A restarted agent takes over when the test says so.
const RESTART: GracefulRestart = GracefulRestart { grace: Duration::MAX, quiet: Duration::MAX };
const SIZES: PoolSizes = PoolSizes { packets: 2048, supers: 64 };

/// Flows whose entries changed.
#[derive(Default)]
pub(crate) struct Ports {
    changed: Vec<FlowIndex>,
}

impl Datapath for Ports {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, flow: FlowIndex) {
        self.changed.push(flow);
    }

    fn settle(&mut self) {}
}

/// A frame that comes in or goes out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Traffic {
    pub(crate) vif: VifId,
    pub(crate) bytes: Vec<u8>,
    pub(crate) offload: Offload,
}

pub(crate) struct Lab {
    tables: Tables,
    ports: Ports,
    forwarder: Option<Forwarder>,
    pool: FramePool,
    packets: usize,
    output: Output,
    now: Now,
}

impl Lab {
    /// A node with the tables of [`world`], with fast lanes or without.
    pub(crate) fn new(fast: bool) -> Self {
        Self::of_release(Release::Current, fast)
    }

    /// The same for an agent of that release.
    pub(crate) fn of_release(release: Release, fast: bool) -> Self {
        Self::with_options(Options { release, ..Options::default() }, fast)
    }

    /// The same with these options.
    pub(crate) fn with_options(options: Options, fast: bool) -> Self {
        Self::of(options, Geometry { entries: 256, overflow: 64 }, SIZES, fast)
    }

    /// The same with these options, flow table and buffers.
    pub(crate) fn of(options: Options, flows: Geometry, sizes: PoolSizes, fast: bool) -> Self {
        let limits = Limits {
            interfaces: 16,
            nexthops: 128,
            labels: 2048,
            vrfs: 4,
            flows,
            bridge: Geometry { entries: 64, overflow: 16 },
            ..Limits::default()
        };
        let mut tables = Tables::new(TablesConfig {
            limits,
            options,
            graceful_restart: Some(RESTART),
            ..TablesConfig::default()
        })
        .unwrap();
        let mut ports = Ports::default();
        world::program(&mut tables, &mut ports);
        tables.publish();
        let shared = Shared {
            worker: WorkerId(0),
            tables: tables.reader(),
            flows: Arc::clone(tables.flow_table()),
            grace: Arc::clone(tables.grace()),
            stats: Arc::clone(&tables.worker_stats()[0]),
            holds: Arc::clone(tables.holds()),
        };
        let forwarder = if fast { Forwarder::new(shared) } else { Forwarder::full_path_only(shared) };
        let (_, mut pools) = PoolSet::new(1, sizes).unwrap();
        Self {
            tables,
            ports,
            forwarder: Some(forwarder),
            pool: pools.remove(0),
            packets: sizes.packets as usize,
            output: Output::new(),
            now: Now(1_000_000_000),
        }
    }

    /// Executes commands and gives what that released.
    pub(crate) fn command(&mut self, command: impl FnOnce(&mut Tables, &mut Ports)) -> Vec<Traffic> {
        command(&mut self.tables, &mut self.ports);
        self.tables.publish();
        for flow in std::mem::take(&mut self.ports.changed) {
            let Self { forwarder, now, pool, output, .. } = self;
            forwarder.as_mut().unwrap().release_held(flow, *now, pool, output);
        }
        self.tables.housekeep();
        self.take()
    }

    /// Frames of one interface come in, as one batch.
    pub(crate) fn receive(&mut self, frames: &[Traffic]) -> Vec<Traffic> {
        let Some(first) = frames.first() else { return Vec::new() };
        self.now.0 += 1_000_000;
        let mut batch = Batch::new();
        for Traffic { bytes, offload, .. } in frames {
            let frame = self.pool.copy_of(bytes).unwrap();
            assert!(batch.push(Packet { frame, offload: *offload }).is_ok(), "too many for a batch");
        }
        let Self { forwarder, now, pool, output, .. } = self;
        forwarder.as_mut().unwrap().process(first.vif, &mut batch, *now, pool, output);
        self.tables.housekeep();
        self.take()
    }

    /// Time goes by, in milliseconds.
    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<Traffic> {
        self.now.0 += milliseconds * 1_000_000;
        let Self { forwarder, now, pool, output, .. } = self;
        forwarder.as_mut().unwrap().tick(*now, pool, output);
        self.tables.housekeep();
        self.take()
    }

    /// What the daemon does every ten milliseconds while flows shall make room.
    pub(crate) fn relieve(&mut self) -> Vec<Traffic> {
        let now = self.now.0;
        self.command(|tables, ports| tables.relieve(now, ports))
    }

    /// The tables.
    pub(crate) fn tables(&self) -> &Tables {
        &self.tables
    }

    fn take(&mut self) -> Vec<Traffic> {
        let Self { output, pool, .. } = self;
        let take = |(vif, packet): (VifId, Packet)| {
            let traffic = Traffic { vif, bytes: packet.frame.bytes().to_vec(), offload: packet.offload };
            pool.free(packet.frame);
            traffic
        };
        output.drain().map(take).collect()
    }

    pub(crate) fn vif(&self, vif: VifId) -> VifTotals {
        self.tables.stats().vif(vif, Cores::All)
    }

    /// Positions of all flows.
    pub(crate) fn flows(&self) -> Vec<FlowIndex> {
        self.tables.flow_table().indexes().collect()
    }

    pub(crate) fn drops(&self, reason: DropReason) -> u64 {
        self.tables.stats().drops(Cores::All)[reason.index()]
    }

    /// The flow table.
    pub(crate) fn table(&self) -> &FlowTable {
        self.tables.flow_table()
    }

    /// What the worker has logged, in the order of the log.
    pub(crate) fn drop_log(&self) -> Vec<Dropped> {
        let log = &self.tables.worker_stats()[0].drop_log;
        (0..log.entries()).filter_map(|place| log.read(place)).collect()
    }

    /// Everything that is counted and what flow entries say, a line each; what is zero is left out.
    pub(crate) fn counts(&self) -> Vec<String> {
        let stats = self.tables.stats();
        let mut lines = Vec::new();
        for vif in (0..=16).map(VifId) {
            lines.push(format!("{vif:?} {:?}", stats.vif(vif, Cores::All)));
            for (reason, count) in DropReason::ALL.iter().zip(stats.vif_drops(vif, Cores::All)) {
                if count > 0 {
                    lines.push(format!("{vif:?} {reason} {count}"));
                }
            }
        }
        lines.extend((0..=4).map(|vrf| format!("vrf {vrf} {:?}", stats.vrf(VrfId(vrf)))));
        let bridge = self.tables.bridge_table();
        let entries = (0..80).map(|index| (index, bridge.packets(BridgeIndex(index))));
        lines.extend(entries.filter(|entry| entry.1 > 0).map(|entry| format!("bridge entry {entry:?}")));
        let flows = self.tables.flow_table();
        let in_use = flows.indexes().filter(|index| flows.in_use(*index));
        lines.extend(in_use.filter_map(|index| self.flow(index)));
        lines
    }

    fn flow(&self, index: FlowIndex) -> Option<String> {
        let flows = self.tables.flow_table();
        let shared = flows.shared(index)?;
        Some(format!(
            "{} {:?} action {} {:?} {:?} seq {} ack {} source {} member {} counted {:?}",
            index.0,
            shared.key()?,
            shared.action.load(Relaxed),
            shared.flags(),
            shared.tcp_flags(),
            shared.tcp_seq.load(Relaxed),
            shared.tcp_ack.load(Relaxed),
            shared.source_info.load(Relaxed),
            shared.ecmp_index.load(Relaxed),
            flows.counters(index),
        ))
    }

    /// Ends the node; every frame has to be back.
    pub(crate) fn close(mut self) {
        self.give_back();
        assert_eq!(self.pool.available(), self.packets, "frames are missing");
    }

    fn give_back(&mut self) {
        if let Some(forwarder) = self.forwarder.take() {
            forwarder.close(&mut self.pool);
        }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        self.give_back();
    }
}
