//! The code under test: real tables and a real pipeline, over memory.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use vr_forward::{Forwarder, Now, Output, Shared};
use vr_frame::{Batch, FramePool, Packet, PoolSet, PoolSizes};
use vr_tables::control::{
    AttachError, Attached, Datapath, FlowSpec, Limits, OptionsChange, Tables, TablesConfig,
};
use vr_tables::flow::{Compiled, FlowKey};
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_tables::stats::Cores;
use vr_tables::vif::{Vif, VifFlags};
use vr_types::{DropReason, FlowIndex, VifId, VrfId, WorkerId};

use vr_wire::checksum;

use crate::Entries;
use crate::packets::UDP;
use crate::spec::{Burst, Reply, Totals, Traffic};
use crate::world::{self, FABRIC, FLOWS, VIFS, VRFS, guest};

const SIZES: PoolSizes = PoolSizes { packets: 128, supers: 4 };

/// Flows whose entries changed.
#[derive(Default)]
struct Changes(Vec<FlowIndex>);

impl Datapath for Changes {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, flow: FlowIndex) {
        self.0.push(flow);
    }

    fn settle(&mut self) {}
}

/// What is sent, and by which interfaces.
pub(crate) type Frames = Vec<(VifId, Vec<u8>)>;

/// An entry as everybody sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) index: u32,
    pub(crate) key: FlowKey,
    pub(crate) action: u16,
    pub(crate) flags: u16,
    pub(crate) tcp: (u16, u32, u32),
    pub(crate) reverse: Option<u32>,
    pub(crate) vrfs: [u16; 2],
    pub(crate) mirrors: [u8; 2],
    pub(crate) ttl: u8,
    pub(crate) source_nexthop: u32,
    pub(crate) member: i8,
    pub(crate) source: u32,
    /// Packets and bytes.
    pub(crate) counted: (u64, u64),
}

/// Buffers for one node at a time.
pub(crate) fn buffers() -> FramePool {
    PoolSet::new(1, SIZES).unwrap().1.remove(0)
}

/// Tables of the world's sizes.
pub(crate) fn tables(workers: u8, close_flow_on_rst: bool) -> Tables {
    let limits = Limits {
        interfaces: 8,
        nexthops: 100,
        labels: world::LABEL_LIMIT,
        vrfs: u32::from(VRFS),
        flows: FLOWS,
        bridge: Geometry { entries: 32, overflow: 16 },
        ..Limits::default()
    };
    let options = Options { close_flow_on_rst, ..Options::default() };
    Tables::new(TablesConfig { workers, limits, options, ..TablesConfig::default() }).unwrap()
}

/// What a worker works with.
pub(crate) fn shared(tables: &Tables, worker: WorkerId) -> Shared {
    Shared {
        worker,
        tables: tables.reader(),
        flows: Arc::clone(tables.flow_table()),
        grace: Arc::clone(tables.grace()),
        stats: Arc::clone(&tables.worker_stats()[worker.index()]),
        holds: Arc::clone(tables.holds()),
    }
}

pub(crate) struct Node<'a> {
    tables: Tables,
    changes: Changes,
    forwarder: Forwarder,
    pool: &'a mut FramePool,
    output: Output,
    now: Now,
    has_policy: [bool; 3],
    refuses_flows: [bool; 3],
    is_fast: bool,
}

impl Entries for Node<'_> {
    fn find(&self, key: &FlowKey) -> Option<u32> {
        self.tables.flow_table().find(key, key.hash()).map(|index| index.0)
    }

    fn generation(&self, index: u32) -> Option<u8> {
        Some(self.tables.flow_table().shared(FlowIndex(index))?.generation.load(Relaxed))
    }
}

impl<'a> Node<'a> {
    pub(crate) fn new(
        has_policy: [bool; 3],
        close_flow_on_rst: bool,
        is_fast: bool,
        pool: &'a mut FramePool,
    ) -> Self {
        let mut tables = tables(1, close_flow_on_rst);
        let mut changes = Changes::default();
        world::program(&mut tables, &mut changes);
        let shared = shared(&tables, WorkerId(0));
        let forwarder = if is_fast { Forwarder::new(shared) } else { Forwarder::full_path_only(shared) };
        let mut node = Self {
            tables,
            changes,
            forwarder,
            pool,
            output: Output::new(),
            now: Now(1_000_000_000),
            has_policy: [true; 3],
            refuses_flows: [false; 3],
            is_fast,
        };
        node.has_policy = has_policy;
        (0..3).filter(|which| !has_policy[*which]).for_each(|which| node.set_guest(which));
        node.tables.publish();
        node
    }

    pub(crate) const fn is_fast(&self) -> bool {
        self.is_fast
    }

    fn set_guest(&mut self, which: usize) {
        let mut flags = VifFlags::empty();
        flags.set(VifFlags::POLICY, self.has_policy[which]);
        flags.set(VifFlags::DROP_NEW_FLOWS, self.refuses_flows[which]);
        self.tables.vif_add(&guest(which, flags), &mut self.changes).unwrap();
    }

    pub(crate) fn receive(&mut self, frames: &[(VifId, Vec<u8>)]) -> Vec<(VifId, Vec<u8>)> {
        self.now.0 += 1_000_000;
        let mut batch = Batch::new();
        for (_, bytes) in frames {
            let frame = self.pool.copy_of(bytes).unwrap();
            assert!(batch.push(Packet::plain(frame)).is_ok(), "too many for a batch");
        }
        self.forwarder.process(frames[0].0, &mut batch, self.now, self.pool, &mut self.output);
        self.settle()
    }

    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<(VifId, Vec<u8>)> {
        self.now.0 += milliseconds * 1_000_000;
        self.forwarder.tick(self.now, self.pool, &mut self.output);
        self.settle()
    }

    pub(crate) fn set(&mut self, spec: &FlowSpec) -> (Reply, Vec<(VifId, Vec<u8>)>) {
        let reply = self.tables.flow_set(spec, &mut self.changes);
        let reply = Reply {
            errno: reply.result.map_or_else(|error| error.errno(), |()| 0),
            index: reply.index.map(|index| index.0),
            generation: reply.generation,
            deleted: reply.deleted,
            left: reply.left,
        };
        (reply, self.settle())
    }

    pub(crate) fn refuse_flows(&mut self, which: usize, refuses: bool) {
        self.refuses_flows[which] = refuses;
        self.set_guest(which);
        self.tables.publish();
    }

    pub(crate) fn limit_holds(&mut self, limit: i32, burst: Burst) {
        self.tables.set_options(&OptionsChange {
            flow_hold_limit: Some(limit),
            burst_tokens: Some(burst.tokens as i32),
            burst_interval: Some(burst.interval as i32),
            burst_step: Some(burst.step as i32),
            ..OptionsChange::default()
        });
        self.tables.publish();
    }

    /// Executes a command of another kind.
    pub(crate) fn command<R>(
        &mut self,
        command: impl FnOnce(&mut Tables, &mut dyn Datapath) -> R,
    ) -> (R, Frames) {
        let result = command(&mut self.tables, &mut self.changes);
        (result, self.settle())
    }

    /// Flows that were compiled anew because tables had changed.
    pub(crate) fn recompilations(&self) -> u64 {
        self.tables.worker_stats()[0].recompilations()
    }

    /// Flows whose action is compiled and counts now.
    pub(crate) fn compiled(&self) -> Vec<(FlowIndex, Compiled)> {
        let (flows, now) = (self.tables.flow_table(), self.tables.snapshot());
        let compiled = |index: FlowIndex| {
            let hot = flows.hot(index)?;
            let compiled = hot.compiled(hot.state(), now.flow_epoch(hot.vrf()), &now.nexthop_epochs)?;
            Some((index, compiled.all()))
        };
        flows.indexes().filter_map(compiled).collect()
    }

    /// Ends all grace periods and takes what is to be sent.
    fn settle(&mut self) -> Vec<(VifId, Vec<u8>)> {
        self.tables.publish();
        for flow in std::mem::take(&mut self.changes.0) {
            self.forwarder.release_held(flow, self.now, self.pool, &mut self.output);
        }
        (0..3).for_each(|_| self.tables.housekeep());
        let Self { output, pool, .. } = self;
        let take = |(vif, packet): (VifId, Packet)| {
            let mut bytes = packet.frame.bytes().to_vec();
            pool.free(packet.frame);
            if vif == FABRIC {
                hide_source_port(&mut bytes);
            }
            (vif, bytes)
        };
        output.drain().map(take).collect()
    }

    pub(crate) fn rows(&self) -> Vec<Row> {
        let flows = self.tables.flow_table();
        let row = |index: FlowIndex| {
            let shared = flows.shared(index)?;
            Some(Row {
                index: index.0,
                key: shared.key()?,
                action: shared.action.load(Relaxed),
                flags: shared.flags.load(Relaxed),
                tcp: (
                    shared.tcp_flags.load(Relaxed),
                    shared.tcp_seq.load(Relaxed),
                    shared.tcp_ack.load(Relaxed),
                ),
                reverse: Some(shared.reverse.load(Relaxed)).filter(|reverse| *reverse != u32::MAX),
                vrfs: [shared.vrf.load(Relaxed), shared.dvrf.load(Relaxed)],
                mirrors: [shared.mirror.load(Relaxed), shared.mirror2.load(Relaxed)],
                ttl: shared.ttl.load(Relaxed),
                source_nexthop: shared.source_nexthop.load(Relaxed),
                member: shared.ecmp_index.load(Relaxed),
                source: shared.source_info.load(Relaxed),
                counted: flows.counters(index),
            })
        };
        flows.indexes().filter_map(row).collect()
    }

    pub(crate) fn generations(&self) -> Vec<u8> {
        let flows = self.tables.flow_table();
        let of = |index| flows.shared(FlowIndex(index)).unwrap().generation.load(Relaxed);
        (0..FLOWS.total() as u32).map(of).collect()
    }

    pub(crate) fn totals(&self) -> Totals {
        let totals = self.tables.flow_totals();
        Totals {
            created: totals.created,
            resolved: totals.processed,
            refused: totals.hold_overflows,
            added: totals.added,
            changed: totals.changed,
            deleted: totals.deleted,
            evicted: totals.evicted,
            holding: totals.holding,
        }
    }

    pub(crate) fn drops(&self) -> Vec<((u16, u8), u64)> {
        let stats = self.tables.stats();
        let mut drops = Vec::new();
        for vif in 0..VIFS {
            for (reason, count) in DropReason::ALL.iter().zip(stats.vif_drops(VifId(vif), Cores::All)) {
                if count > 0 {
                    drops.push(((vif, *reason as u8), count));
                }
            }
        }
        drops
    }

    pub(crate) fn vrf_counters(&self, vrf: u16) -> Vec<u64> {
        self.tables.stats().vrf(VrfId(vrf)).to_vec()
    }

    pub(crate) fn traffic(&self, vif: u16) -> Traffic {
        let totals = self.tables.stats().vif(VifId(vif), Cores::All);
        [totals.in_packets, totals.in_bytes, totals.out_packets, totals.out_bytes]
    }

    /// Ends the node; every frame has to be back.
    pub(crate) fn close(self) -> bool {
        let Self { forwarder, pool, .. } = self;
        forwarder.close(pool);
        pool.available() == SIZES.packets as usize
    }
}

/// The source port of a tunnel is anything of its range; here it becomes zero. So does the checksum over it.
fn hide_source_port(frame: &mut [u8]) {
    if frame[23] != UDP {
        return;
    }
    let port = u16::from_be_bytes([frame[34], frame[35]]);
    assert!((49152..=65534).contains(&port), "source port {port}");
    let (source, destination) = (frame[26..30].try_into().unwrap(), frame[30..34].try_into().unwrap());
    let sum = &frame[40..42];
    assert!(
        sum == [0, 0] || checksum::inet_l4_is_valid(source, destination, UDP, &frame[34..]),
        "checksum of the outer datagram"
    );
    frame[34..36].fill(0);
    frame[40..42].fill(0);
}
