//! Everything that a request can change, to be compared.

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::control::{BridgeView, ForwardingClass, NexthopSpec, QosMap, RouteView, Tables, VrfEntry};
use vr_tables::flow::{FlowKey, SharedFlow};
use vr_tables::options::Options;
use vr_tables::snapshot::Mirror;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, Label, MirrorId, NexthopId, Vni, VrfId};

/// Routes of one family; none for a VRF without a table.
type Routes<const N: usize> = Option<Vec<([u8; N], RouteView)>>;

/// The contents of tables.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct State {
    vifs: Vec<Vif>,
    nexthops: Vec<(NexthopSpec, u32)>,
    labels: Vec<(Label, NexthopId)>,
    vnis: Vec<(Vni, NexthopId)>,
    vrfs: Vec<(VrfId, Routes<4>, Routes<16>, Vec<BridgeView>)>,
    mirrors: Vec<(MirrorId, Mirror)>,
    vrf_entries: Vec<(VrfId, VrfEntry)>,
    qos_maps: Vec<(u16, QosMap)>,
    forwarding_classes: Vec<(u16, ForwardingClass)>,
    flows: Vec<Flow>,
    options: Options,
}

impl State {
    /// The lines of the two that differ, for people.
    pub(crate) fn differences(&self, other: &Self) -> String {
        let [ours, others] = [self, other].map(|state| format!("{state:#?}"));
        let only = |sign, of: &str, not: &str| -> Vec<String> {
            let not: std::collections::HashSet<&str> = not.lines().collect();
            of.lines().filter(|line| !not.contains(line)).map(|line| format!("{sign} {line}")).collect()
        };
        [only('-', &ours, &others), only('+', &others, &ours)].concat().join("\n")
    }

    pub(crate) fn of(tables: &Tables) -> Self {
        let vrf = |(number, _): (usize, _)| {
            let vrf = VrfId(number as u16);
            let inet = tables.inet_routes(vrf, None).map(Iterator::collect).ok();
            let inet6 = tables.inet6_routes(vrf, None).map(Iterator::collect).ok();
            (vrf, inet, inet6, tables.bridge_entries(vrf, None).collect())
        };
        let nexthops = tables.nexthops_from(NexthopId(0));
        Self {
            vifs: tables.vifs_from(0).cloned().collect(),
            nexthops: nexthops.map(|view| (view.spec.clone(), view.references)).collect(),
            labels: tables.labels_from(0).collect(),
            vnis: tables.vnis_from(Vni(0)).collect(),
            vrfs: tables.snapshot().vrfs.iter().map(vrf).collect(),
            mirrors: tables.mirrors_from(0).collect(),
            vrf_entries: tables.vrf_entries_from(VrfId(0)).collect(),
            qos_maps: tables.qos_maps_from(0).map(|(id, map)| (id, map.clone())).collect(),
            forwarding_classes: tables.forwarding_classes_from(0).collect(),
            flows: tables.flow_table().indexes().filter_map(|index| Flow::of(tables, index)).collect(),
            options: tables.options().clone(),
        }
    }
}

/// A flow entry as clients map it, without what packets change.
#[derive(Debug, PartialEq, Eq)]
struct Flow {
    index: FlowIndex,
    key: Option<FlowKey>,
    numbers: [u32; 16],
}

impl Flow {
    fn of(tables: &Tables, index: FlowIndex) -> Option<Self> {
        let flows = tables.flow_table();
        let entry: &SharedFlow = flows.shared(index).filter(|_| flows.in_use(index))?;
        let numbers = [
            u32::from(entry.ttl.load(Relaxed)),
            u32::from(entry.qos_id.load(Relaxed)),
            u32::from(entry.generation.load(Relaxed)),
            u32::from(entry.tcp_flags.load(Relaxed)),
            entry.reverse.load(Relaxed),
            u32::from(entry.flags.load(Relaxed)),
            u32::from(entry.flags1.load(Relaxed)),
            u32::from(entry.action.load(Relaxed)),
            u32::from(entry.vrf.load(Relaxed)),
            u32::from(entry.dvrf.load(Relaxed)),
            u32::from(entry.mirror.load(Relaxed)) << 8 | u32::from(entry.mirror2.load(Relaxed)),
            entry.source_nexthop.load(Relaxed),
            entry.ecmp_index.load(Relaxed) as u32,
            u32::from(entry.drop_reason.load(Relaxed)),
            u32::from(entry.udp_source_port.load(Relaxed)),
            entry.underlay_ecmp.load(Relaxed) as u32,
        ];
        Some(Self { index, key: entry.key(), numbers })
    }
}
