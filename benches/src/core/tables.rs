//! The tables of a node with one guest and one peer, filled for a row.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use anyhow::Context;
use vr_forward::{Forwarder, HoldCounters, Shared};
use vr_tables::Snapshot;
use vr_tables::bridge::{BridgeFlags, BridgeKey, BridgeTable, BridgeWriter};
use vr_tables::fib::{Route, RouteFlags};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey, FlowTable};
use vr_tables::geometry::Geometry;
use vr_tables::grace::Grace;
use vr_tables::nexthop::{Encap, Nexthop, NexthopAction, NexthopFamily, NexthopFlags, NexthopSlot, Tunnel};
use vr_tables::publish::Publisher;
use vr_tables::rib::Rib;
use vr_tables::snapshot::{Roles, Vrf};
use vr_tables::stats::WorkerStats;
use vr_tables::vif::{Vif, VifDetails, VifFlags, VifKind};
use vr_types::{BridgeIndex, FlowIndex, Label, Mac, MirrorId, NexthopId, VifId, Vni, VrfId, WorkerId};
use vr_wire::encap::{EncapTemplate, entropy_port, port};

use super::frames::{
    End, GUEST, GUEST_MAC, GUEST_PORT, LABEL_IN, LABEL_OUT, NODE, NODE_MAC, PEER, PEER_MAC, ROUTER_MAC,
};
use super::{Direction, Row, Traffic, memory};

pub(super) const FABRIC: VifId = VifId(0);
pub(super) const GUEST_VIF: VifId = VifId(3);
const GUEST_VRF: VrfId = VrfId(1);
const FLOW_KEY: NexthopId = NexthopId(20);
const RECEIVE: NexthopSlot = NexthopSlot(10);
const L2_RECEIVE: NexthopSlot = NexthopSlot(11);
const TO_GUEST: NexthopSlot = NexthopSlot(20);
const TO_GUEST_BRIDGED: NexthopSlot = NexthopSlot(21);
const TO_PEER: NexthopSlot = NexthopSlot(30);
const TRANSLATE: NexthopSlot = NexthopSlot(31);

/// What workers share.
pub(super) struct Tables {
    publisher: Publisher<Snapshot>,
    grace: Arc<Grace>,
    holds: Arc<HoldCounters>,
    /// The flow table.
    pub(super) flows: Arc<FlowTable>,
    /// Where the entries of the flows are.
    indexes: Vec<FlowIndex>,
    /// Bytes that the process has got for the flow table.
    pub(super) flow_memory: u64,
}

fn vif(id: VifId, kind: VifKind, vrf: VrfId, mac: [u8; 6], flags: VifFlags) -> Vif {
    Vif {
        id,
        kind,
        version: 0,
        flags: flags | VifFlags::L2 | VifFlags::L3,
        vrf,
        mcast_vrf: VrfId::NONE,
        nexthop: if kind == VifKind::Virtual { FLOW_KEY } else { NexthopId::DISCARD },
        mac: Mac(mac),
        mtu: kind.default_mtu(),
        mirror: MirrorId::NONE,
        qos_map: -1,
        vlan: 0,
        outer_vlan: 0,
        parent: VifId::NONE,
        ip: Ipv4Addr::UNSPECIFIED,
        ip6: Ipv6Addr::UNSPECIFIED,
        details: Arc::new(VifDetails::default()),
    }
}

fn nexthop(
    slot: NexthopSlot,
    family: NexthopFamily,
    vrf: VrfId,
    flags: NexthopFlags,
    action: NexthopAction,
) -> Nexthop {
    Nexthop { id: NexthopId(slot.0), flags: flags | NexthopFlags::VALID, family, vrf, action }
}

fn encap(destination: [u8; 6]) -> NexthopAction {
    let mut rewrite = vr_tables::nexthop::Rewrite::new();
    rewrite.extend(destination.into_iter().chain(ROUTER_MAC).chain([8, 0]));
    NexthopAction::Encap(Encap { vif: GUEST_VIF, rewrite })
}

fn tunnel(row: &Row) -> anyhow::Result<NexthopAction> {
    let (source, destination) = (IpAddr::from(NODE), IpAddr::from(PEER));
    let ethernet: Vec<u8> = PEER_MAC.into_iter().chain(NODE_MAC).chain([8, 0]).collect();
    let template = EncapTemplate::new(row.tunnel, &ethernet, source, destination, port::MPLS, None)
        .ok()
        .context("outer headers are too long")?;
    Ok(NexthopAction::Tunnel(Box::new(Tunnel {
        kind: row.tunnel,
        vif: FABRIC,
        source,
        destination,
        template,
        transport_label: None,
        inner_mac: Mac::ZERO,
        underlay: None,
    })))
}

impl Tables {
    /// The tables of a row for so many workers.
    ///
    /// # Errors
    /// When memory for the tables is not to be had.
    pub(super) fn new(row: &Row, workers: u8) -> anyhow::Result<Self> {
        let mut tables = Snapshot::new(Self::bridge(row)?);
        for vif in [
            vif(FABRIC, VifKind::Physical, VrfId::FABRIC, NODE_MAC, VifFlags::empty()),
            vif(GUEST_VIF, VifKind::Virtual, GUEST_VRF, ROUTER_MAC, VifFlags::POLICY),
        ] {
            tables.vifs.set(vif.id.index(), Some(vif));
        }
        tables.roles = Roles { fabric: [FABRIC, VifId::NONE, VifId::NONE], ..Roles::default() };
        let policy = NexthopFlags::POLICY;
        let none = NexthopFlags::empty();
        let inet = NexthopFamily::Inet;
        let bridge = NexthopFamily::Bridge;
        let nexthops = [
            (NexthopSlot::DISCARD, Nexthop::discard()),
            (RECEIVE, nexthop(RECEIVE, inet, VrfId::FABRIC, none, NexthopAction::Receive(FABRIC))),
            (L2_RECEIVE, nexthop(L2_RECEIVE, inet, GUEST_VRF, none, NexthopAction::L2Receive)),
            (TO_GUEST, nexthop(TO_GUEST, inet, GUEST_VRF, policy, encap(GUEST_MAC))),
            (TO_GUEST_BRIDGED, nexthop(TO_GUEST_BRIDGED, bridge, GUEST_VRF, policy, encap(GUEST_MAC))),
            (TO_PEER, nexthop(TO_PEER, inet, VrfId::FABRIC, none, tunnel(row)?)),
            (TRANSLATE, nexthop(TRANSLATE, bridge, GUEST_VRF, none, NexthopAction::VrfTranslate)),
        ];
        for (slot, nexthop) in nexthops {
            tables.nexthop_slots.set(nexthop.id.index(), Some(slot));
            tables.nexthops.set(slot.index(), Some(nexthop));
        }
        tables.labels.set(Label(LABEL_IN).index(), Some(TO_GUEST));
        Arc::make_mut(&mut tables.vnis).insert(Vni(LABEL_IN), TRANSLATE);
        Self::routes(row, &mut tables);
        let before = memory::resident()?;
        let (flows, indexes) = Self::flows(row, workers)?;
        let flow_memory = memory::resident()?.saturating_sub(before + size_of_val(&indexes[..]) as u64);
        Ok(Self {
            publisher: Publisher::new(tables),
            grace: Arc::new(Grace::new(workers)),
            holds: Arc::new(HoldCounters::default()),
            flows,
            indexes,
            flow_memory,
        })
    }

    /// The pipeline of a worker, and its counters.
    pub(super) fn forwarder(&self, worker: WorkerId) -> anyhow::Result<(Forwarder, Arc<WorkerStats>)> {
        let stats = Arc::new(WorkerStats::new(64, 64, 0)?);
        let forwarder = Forwarder::new(Shared {
            worker,
            tables: self.publisher.reader(),
            flows: Arc::clone(&self.flows),
            grace: Arc::clone(&self.grace),
            stats: Arc::clone(&stats),
            holds: Arc::clone(&self.holds),
        });
        Ok((forwarder, stats))
    }

    /// Packets and bytes that the entry of a flow counted.
    pub(super) fn flow_counters(&self, flow: u32) -> (u64, u64) {
        self.flows.counters(self.indexes[flow as usize])
    }

    /// Source port of outer headers that the entry of a flow names.
    pub(super) fn entropy_port(&self, flow: u32) -> u16 {
        let entry = self.flows.shared(self.indexes[flow as usize]);
        entry.map_or(0, |entry| entry.udp_source_port.load(Relaxed))
    }

    fn routes(row: &Row, tables: &mut Snapshot) {
        let mut fabric = Vrf::default();
        let own = Route::new(RECEIVE, 0, RouteFlags::empty(), BridgeIndex::NONE, 32);
        Rib::default().insert(&mut fabric.inet, NODE, own);
        let mut guest = Vrf::default();
        let mut rib = Rib::default();
        for route in 0..if row.bridged() { 1 } else { row.routes } {
            let (prefix, len) = row.prefix(route);
            let flags = RouteFlags::LABEL_VALID;
            rib.insert(
                &mut guest.inet,
                prefix,
                Route::new(TO_PEER, LABEL_OUT, flags, BridgeIndex::NONE, len),
            );
        }
        tables.vrfs.set(VrfId::FABRIC.index(), Some(fabric));
        tables.vrfs.set(GUEST_VRF.index(), Some(guest));
    }

    fn bridge(row: &Row) -> anyhow::Result<Arc<BridgeTable>> {
        let table = Arc::new(BridgeTable::new(Geometry::BRIDGE, 1, None)?);
        let mut writer = BridgeWriter::new(Arc::clone(&table));
        let mut set = |mac, slot: NexthopSlot, label| {
            let flags = if slot == TO_PEER { BridgeFlags::LABEL_VALID } else { BridgeFlags::empty() };
            writer.set(BridgeKey::new(GUEST_VRF, Mac(mac)), (slot, NexthopId(slot.0)), label, flags)
        };
        set(ROUTER_MAC, L2_RECEIVE, 0)?;
        let target = if row.direction == Direction::Encap { TO_PEER } else { TO_GUEST_BRIDGED };
        for route in 0..if row.bridged() { row.routes } else { 0 } {
            set(Row::mac(route), target, LABEL_OUT)?;
        }
        Ok(table)
    }

    /// One established flow per number, as the agent would have set it.
    fn flows(row: &Row, workers: u8) -> anyhow::Result<(Arc<FlowTable>, Vec<FlowIndex>)> {
        let table = Arc::new(FlowTable::new(row.geometry(), workers, None)?);
        let mut indexes = Vec::with_capacity(row.flows as usize);
        let flags = match (row.traffic, row.direction) {
            (Traffic::Nat, Direction::Encap) => FlowFlags::SNAT | FlowFlags::SPAT,
            (Traffic::Nat, Direction::Decap) => FlowFlags::DNAT | FlowFlags::DPAT,
            _ => FlowFlags::empty(),
        };
        let action = if row.traffic == Traffic::Nat { FlowAction::Nat } else { FlowAction::Forward };
        for flow in 0..row.flows {
            let (key, reverse) = row.keys(flow);
            let index = table.insert(&key, key.hash(), |_| {})?;
            let linked = if row.traffic.has_reverse() {
                let linked = table.insert(&reverse, reverse.hash(), |_| {})?;
                table.modify(linked, |shared| {
                    shared.reverse.store(index.0, Relaxed);
                    (FlowAction::Forward, false)
                });
                linked
            } else {
                FlowIndex::NONE
            };
            let rpf = if row.direction == Direction::Encap { TO_GUEST } else { TO_PEER };
            table.modify(index, |shared| {
                shared.action.store(action as u16, Relaxed);
                shared.flags.store((FlowFlags::ACTIVE | flags).bits(), Relaxed);
                shared.vrf.store(GUEST_VRF.0, Relaxed);
                shared.source_nexthop.store(rpf.0, Relaxed);
                shared.reverse.store(linked.0, Relaxed);
                shared.udp_source_port.store(entropy_port(key.hash().secondary), Relaxed);
                (action, true)
            });
            indexes.push(index);
        }
        Ok((table, indexes))
    }
}

impl Row {
    /// Sizes of the flow table: twice as many entries as are used, rounded up to a power of two; with very many flows a
    /// third more.
    fn geometry(&self) -> Geometry {
        let used = if self.traffic.has_reverse() { 2 * self.flows } else { self.flows };
        let entries =
            if used < 4_000_000 { (used * 2).next_power_of_two().max(4096) } else { used / 10 * 13 };
        Geometry::with_default_overflow(entries)
    }

    /// The key of a flow, and that of its reverse flow.
    fn keys(&self, flow: u32) -> (FlowKey, FlowKey) {
        let far = self.far(flow);
        let protocol = if self.traffic.is_tcp() { 6 } else { 17 };
        let key = |from: End, to: End| {
            let ([a, b], [c, d]) = (from.1.to_be_bytes(), to.1.to_be_bytes());
            FlowKey::inet(protocol, [a, b, c, d], FLOW_KEY, from.0, to.0)
        };
        let (here, there) = ((GUEST, GUEST_PORT), (far.address, far.port));
        let (out, back) = (key(here, there), key(there, self.outside()));
        if self.direction == Direction::Encap { (out, back) } else { (back, out) }
    }
}
