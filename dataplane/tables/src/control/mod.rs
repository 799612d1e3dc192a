//! The writing side of the tables: [`Tables`], whose methods are the commands of the control protocol.
//!
//! Commands change a working copy; [`Tables::publish`] makes it visible to the workers, once per batch.
//! Flow and bridge tables have lock-free readers of their own and change at once.

mod bridge;
mod companion;
mod config;
mod datapath;
mod error;
mod files;
mod flow;
mod flow_evict;
mod flow_leaving;
mod flow_links;
mod flow_metadata;
mod flow_relief;
mod flow_restart;
mod flow_spec;
mod flow_write;
mod given;
mod label;
mod nexthop;
mod nexthop_build;
mod nexthop_store;
mod qos;
mod restart;
mod restart_plan;
mod route;
mod router;
mod same_meaning;
mod small;
mod vif;
mod vif_role;
mod vrf_assign;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use hashbrown::HashMap;
use vr_types::{Vni, VrfId};

pub use bridge::{BridgeSpec, BridgeView};
pub use config::{LimitError, Limits, TablesConfig};
pub use datapath::{AttachError, Attached, Datapath, DeviceChange, DeviceTotals, PortTotals};
pub use error::CommandError;
pub use flow_spec::{FlowReply, FlowSpec, FlowTotals, Reverse};
pub use given::GivenMac;
pub use nexthop::{NexthopKind, NexthopSpec, NexthopView};
pub use restart::{GracefulRestart, RestartReport};
pub use route::{Prefix, RouteSpec, RouteView};
pub use router::OptionsChange;
pub use small::{ForwardingClass, QosChange, QosMap, SideChange, VrfEntry};
pub use vif::VifSpec;

use crate::MapError;
use crate::bridge::{BridgeTable, BridgeWriter};
use crate::bridge_folding::BridgeFolding;
use crate::flow::{FlowFolding, FlowTable, HoldCounters};
use crate::grace::Grace;
use crate::publish::{Publisher, Reader};
use crate::snapshot::Snapshot;
use crate::stats::{Stats, WorkerStats};
use files::TableFiles;
use flow::FlowCounts;
use flow_leaving::{LeavingFlows, Services};
use flow_links::OneWayLinks;
use flow_metadata::FlowMetadata;
use flow_relief::Relief;
use flow_restart::KeptFlows;
use nexthop_store::NexthopStore;
use qos::Qos;
use restart::Held;
use route::VrfRoutes;

/// All tables and the only way to change them.
pub struct Tables {
    limits: Limits,
    mock: bool,
    files: TableFiles,
    /// The snapshot that commands change.
    work: Snapshot,
    publisher: Publisher<Snapshot>,
    /// Whether `work` differs from what was published last.
    dirty: bool,
    /// The version that an interface got last.
    vif_version: u16,
    nexthops: NexthopStore,
    /// Whether nexthops differ from what was published last.
    nexthops_dirty: bool,
    routes: HashMap<VrfId, VrfRoutes>,
    vnis: BTreeSet<Vni>,
    vrf_entries: BTreeMap<VrfId, VrfEntry>,
    qos: Qos,
    bridge: BridgeWriter,
    flows: Arc<FlowTable>,
    flow_counts: FlowCounts,
    metadata: FlowMetadata,
    leaving: LeavingFlows,
    one_way_links: OneWayLinks,
    relief: Relief,
    services: Services,
    holds: Arc<HoldCounters>,
    grace: Arc<Grace>,
    /// The agent's interface is there, and the agent is not.
    agent_lost: bool,
    /// How many commands there were.
    commands: u64,
    graceful_restart: Option<GracefulRestart>,
    /// What workers go on with while a restarted agent programs.
    held: Option<Held>,
    kept_flows: KeptFlows,
    worker_stats: Vec<Arc<WorkerStats>>,
    stats: Stats,
}

impl Tables {
    /// Fresh tables, empty but for the discard nexthop.
    ///
    /// # Errors
    /// [`MapError`] when memory or room for the shared files is not to be had.
    pub fn new(config: TablesConfig) -> Result<Self, MapError> {
        let TablesConfig { workers, limits, directory, hugetlbfs, mock, graceful_restart, options } = config;
        let files = TableFiles::new(directory.as_deref(), hugetlbfs)?;
        let sizes = [
            limits.flows.total() * FlowTable::entry_size_of(options.release),
            limits.bridge.total() * BridgeTable::ENTRY_SIZE,
        ];
        let explain = |error| files.explain(error, sizes);
        let flows = FlowTable::of_release(options.release, limits.flows, workers, files.flow());
        let quotas = |flows: FlowTable| {
            let numbers = [limits.vrfs, limits.interfaces].map(|number| number as usize);
            flows.with_quotas(options.flows.quotas, numbers[0], numbers[1])
        };
        let flows = flows.and_then(quotas).map_err(explain)?;
        let bridge = BridgeTable::of_release(options.release, limits.bridge, workers, files.bridge());
        let bridge = bridge.map_err(explain)?;
        let worker_stats = (0..workers)
            .map(|_| {
                let (vifs, vrfs) = (limits.interfaces as usize, limits.vrfs as usize);
                Ok(Arc::new(WorkerStats::new(vifs, vrfs, limits.drop_log as usize)?))
            })
            .collect::<Result<Vec<_>, MapError>>()?;
        let bridge = BridgeWriter::new(Arc::new(bridge));
        let label_limit = limits.labels;
        let mut work = Snapshot { label_limit, options, ..Snapshot::new(Arc::clone(bridge.table())) };
        let nexthops = NexthopStore::new(&mut work);
        Ok(Self {
            limits,
            mock,
            files,
            publisher: Publisher::new(work.clone()),
            work,
            dirty: false,
            vif_version: 0,
            nexthops,
            nexthops_dirty: false,
            routes: HashMap::new(),
            vnis: BTreeSet::new(),
            vrf_entries: BTreeMap::new(),
            qos: Qos::default(),
            bridge,
            flows: Arc::new(flows),
            flow_counts: FlowCounts::default(),
            metadata: FlowMetadata::default(),
            leaving: LeavingFlows::default(),
            one_way_links: OneWayLinks::default(),
            relief: Relief::default(),
            services: Services::default(),
            holds: Arc::new(HoldCounters::default()),
            grace: Arc::new(Grace::new(workers)),
            agent_lost: false,
            commands: 0,
            graceful_restart,
            held: None,
            kept_flows: KeptFlows::default(),
            stats: Stats::new(worker_stats.clone()),
            worker_stats,
        })
    }

    /// Before a command.
    fn begin(&mut self) {
        self.commands += 1;
        self.recycle();
    }

    /// What became free meanwhile is free.
    fn recycle(&mut self) {
        self.evict_marked();
        self.leaving.advance(&self.flows, &mut self.one_way_links, &self.grace);
        self.nexthops.recycle(&self.grace);
        self.bridge.recycle(&self.grace);
    }

    fn changed(&mut self) {
        self.dirty = true;
    }

    /// Makes all changes visible to the workers. To be called once per batch of commands, before their
    /// success is announced.
    pub fn publish(&mut self) {
        self.publish_snapshot();
        self.recycle();
    }

    fn publish_snapshot(&mut self) {
        if let Some(held) = &mut self.held {
            // No worker sees the slots of the working copy, so they come back now as well.
            self.nexthops.published(&self.grace);
            return held.publish(&mut self.publisher);
        }
        if self.dirty {
            self.publisher.publish(self.work.clone());
            self.dirty = false;
            self.nexthops_dirty = false;
            self.nexthops.published(&self.grace);
        }
    }

    /// Frees what workers do not use any more. To be called now and then while no commands come.
    pub fn housekeep(&mut self) {
        self.recycle();
        self.publisher.reclaim();
    }

    /// The snapshot as it will be published next: what was programmed since the last reset.
    #[must_use]
    pub const fn snapshot(&self) -> &Snapshot {
        &self.work
    }

    /// A reader of published snapshots, for a worker.
    #[must_use]
    pub fn reader(&self) -> Reader<Snapshot> {
        self.publisher.reader()
    }

    /// The flow table.
    #[must_use]
    pub const fn flow_table(&self) -> &Arc<FlowTable> {
        &self.flows
    }

    /// What brings flow counters into the shared half, for the housekeeping thread. There may be one.
    #[must_use]
    pub fn flow_folding(&self) -> FlowFolding {
        FlowFolding::new(Arc::clone(&self.flows), Arc::clone(&self.grace))
    }

    /// What brings counters of bridge entries into the file, for the housekeeping thread.
    #[must_use]
    pub fn bridge_folding(&self) -> BridgeFolding {
        BridgeFolding::new(self.reader(), Arc::clone(&self.grace))
    }

    /// Counters of flows that wait for the agent.
    #[must_use]
    pub const fn holds(&self) -> &Arc<HoldCounters> {
        &self.holds
    }

    /// Where workers announce their batches.
    #[must_use]
    pub const fn grace(&self) -> &Arc<Grace> {
        &self.grace
    }

    /// Counters of each worker, for the worker to write.
    #[must_use]
    pub fn worker_stats(&self) -> &[Arc<WorkerStats>] {
        &self.worker_stats
    }

    /// Counters of all workers.
    #[must_use]
    pub const fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Counters of all workers, for clearing them.
    pub const fn stats_mut(&mut self) -> &mut Stats {
        &mut self.stats
    }

    /// Sizes of the tables.
    #[must_use]
    pub const fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The file of the flow table, if it has one.
    #[must_use]
    pub fn flow_file(&self) -> Option<PathBuf> {
        self.files.flow().map(PathBuf::from)
    }

    /// The file of the bridge table, if it has one.
    #[must_use]
    pub fn bridge_file(&self) -> Option<PathBuf> {
        self.files.bridge().map(PathBuf::from)
    }
}
