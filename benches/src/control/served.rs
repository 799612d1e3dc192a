//! The server under test: control socket, tables and one worker, as the daemon joins them.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use vr_frame::{FramePool, PoolSet, PoolSizes};
use vr_io::MemoryPort;
use vr_runtime::{Workers, WorkersConfig};
use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    BridgeSpec, FlowSpec, GivenMac, Limits, NexthopKind, NexthopSpec, Prefix, Reverse, RouteSpec, Tables,
    TablesConfig, VifSpec,
};
use vr_tables::fib::RouteFlags;
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_tables::geometry::Geometry;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::vif::{VifFlags, VifKind};
use vr_types::{Mac, NexthopId, VifId, VrfId};

use super::Plan;
use crate::serving::{Prepared, Serving};

pub(super) const FABRIC: VifId = VifId(0);
pub(super) const GUEST_VRF: VrfId = VrfId(1);
/// Key nexthop of the flows of the guest.
pub(super) const FLOW_KEY: u32 = 3;
/// The first nexthop that is programmed through the socket.
pub(super) const FIRST_TUNNEL: u32 = 16;

const SENDER: VifId = VifId(3);
const RECEIVER: VifId = VifId(4);
const L2_RECEIVE: u32 = 5;
/// Frames that a wire holds: 80 ms at 100,000 a second, in which other threads may have the processor.
const WIRE: usize = 8192;
/// Frames of the worker and of the traffic each.
const POOL: PoolSizes = PoolSizes { packets: 32_768, supers: 8 };

pub(super) const SENDER_ADDRESS: [u8; 4] = [10, 0, 0, 3];
pub(super) const RECEIVER_ADDRESS: [u8; 4] = [10, 0, 0, 4];
pub(super) const PORTS: [u16; 2] = [5000, 6000];

/// The other ends of the guests' ports, and buffers for them.
pub(super) struct Ends {
    pub(super) sender: MemoryPort,
    pub(super) receiver: MemoryPort,
    pub(super) pool: FramePool,
}

pub(super) struct Served {
    serving: Serving,
    /// How many objects there were before the socket was served.
    before: Plan,
    /// Nothing comes from there.
    _fabric: MemoryPort,
}

impl Served {
    pub(super) fn start(directory: &Path, plan: &Plan) -> anyhow::Result<(Self, Ends)> {
        let limits = Limits {
            nexthops: (FIRST_TUNNEL + plan.nexthops).next_multiple_of(1024),
            flows: Geometry::with_default_overflow((2 * plan.flows).next_power_of_two().max(4096)),
            ..Limits::default()
        };
        limits.check()?;
        let config =
            TablesConfig { limits, directory: Some(directory.to_owned()), ..TablesConfig::default() };
        let mut tables = Tables::new(config)?;
        let (_, mut pools) = PoolSet::new(2, POOL)?;
        let pool = pools.pop().context("a second pool")?;
        let mut workers = Workers::start(&tables, pools, &WorkersConfig::default(), Prepared::default())?;
        let [fabric, sender, receiver] = [FABRIC, SENDER, RECEIVER].map(|vif| {
            let (port, end) = MemoryPort::pair(WIRE);
            workers.factory().insert(vif, port);
            end
        });
        program(&mut tables, &mut workers)?;
        let before = counts(&tables);
        let serving = Serving::start(directory, tables, workers)?;
        Ok((Self { serving, before, _fabric: fabric }, Ends { sender, receiver, pool }))
    }

    pub(super) fn processor_time(&self) -> anyhow::Result<Duration> {
        self.serving.processor_time()
    }

    /// Ends the server; how many objects were programmed.
    pub(super) fn stop(self) -> anyhow::Result<Plan> {
        let (before, after) = (self.before, counts(&self.serving.stop()?));
        Ok(Plan {
            nexthops: after.nexthops - before.nexthops,
            routes: after.routes - before.routes,
            flows: after.flows - before.flows,
            rate: 0,
        })
    }
}

fn counts(tables: &Tables) -> Plan {
    Plan {
        nexthops: tables.nexthop_count() as u32,
        routes: tables.route_count() as u32,
        flows: tables.flow_totals().used,
        rate: 0,
    }
}

/// Two guests that reach each other by routes, the sender's packets by a flow.
fn program(tables: &mut Tables, workers: &mut Workers<Prepared>) -> anyhow::Result<()> {
    let guest = |vif: VifId| NexthopId(u32::from(vif.0));
    let mac = |vif: VifId| Mac([2, 0, 0, 0, 0, vif.0 as u8]);
    let fabric = VifSpec { vrf: Some(VrfId::FABRIC), ..VifSpec::new(FABRIC, VifKind::Physical, "eth0") };
    tables.vif_add(&fabric, workers)?;
    for (vif, address, flags) in
        [(SENDER, SENDER_ADDRESS, VifFlags::POLICY), (RECEIVER, RECEIVER_ADDRESS, VifFlags::empty())]
    {
        let spec = VifSpec {
            vrf: Some(GUEST_VRF),
            mac: GivenMac::Mac(Mac::VIRTUAL_ROUTER),
            nexthop: guest(vif),
            flags: flags | VifFlags::L2 | VifFlags::L3,
            ..VifSpec::new(vif, VifKind::Virtual, &format!("guest{vif}"))
        };
        tables.vif_add(&spec, workers)?;
        let rewrite: Vec<u8> = mac(vif).0.into_iter().chain(Mac::VIRTUAL_ROUTER.0).chain([8, 0]).collect();
        let family = NexthopFamily::Inet;
        let encap = NexthopSpec::new(guest(vif), NexthopKind::Encap, family, NexthopFlags::VALID, GUEST_VRF);
        tables.nexthop_add(&NexthopSpec { interfaces: vec![vif], rewrite, ..encap })?;
        tables.route_add(&RouteSpec {
            vrf: GUEST_VRF,
            prefix: Prefix::new(false, &address, 32)?,
            nexthop: guest(vif),
            label: 0,
            flags: RouteFlags::empty(),
            mac: GivenMac::Absent,
        })?;
    }
    let (kind, flags) = (NexthopKind::L2Receive, NexthopFlags::VALID);
    let receive = NexthopId(L2_RECEIVE);
    tables.nexthop_add(&NexthopSpec::new(receive, kind, NexthopFamily::Inet, flags, GUEST_VRF))?;
    let mac = GivenMac::Mac(Mac::VIRTUAL_ROUTER);
    tables.bridge_add(&BridgeSpec {
        vrf: GUEST_VRF,
        mac,
        nexthop: receive,
        label: 0,
        flags: BridgeFlags::empty(),
    })?;
    let [[a, b], [c, d]] = PORTS.map(u16::to_be_bytes);
    let key = FlowKey::inet(17, [a, b, c, d], guest(SENDER), SENDER_ADDRESS, RECEIVER_ADDRESS);
    tables.flow_set(&flow(key), workers).result?;
    tables.publish();
    Ok(())
}

fn flow(key: FlowKey) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(key),
        generation: 0,
        action: Some(FlowAction::Forward),
        flags: FlowFlags::ACTIVE,
        flags1: 0,
        force_evict: false,
        reverse: Reverse::Key(None),
        vrf: GUEST_VRF,
        dvrf: GUEST_VRF,
        mirrors: [255; 2],
        ecmp_index: -1,
        source_nexthop: u32::from(SENDER.0),
        qos_map: -1,
        ttl: 0,
        underlay_index: -1,
        drop_reason: 0,
    }
}
