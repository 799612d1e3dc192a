//! Flows, and changes of the tables.

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::control::{Datapath, FlowSpec, GivenMac, Reverse, Tables, VifSpec};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_tables::nexthop::NexthopFlags;
use vr_tables::vif::{FatFlow, VifFlags};
use vr_types::{Label, MirrorId, NexthopId};

use crate::world::{
    BRIDGED, GUEST_ADDRESS, LABELS, OTHER_VRF, REMOTE, REMOTE_MAC, ROUTED, TUNNEL, VRF, guest, remote_bridge,
    remote_route, route, to_guest,
};

/// A flow of a guest, either direction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Flow {
    pub(crate) guest: usize,
    /// An address of [`REMOTE`], or the other guest.
    pub(crate) far: usize,
    pub(crate) protocol: u8,
    pub(crate) port: u16,
    /// From the guest.
    pub(crate) outwards: bool,
}

impl Flow {
    pub(crate) fn far_address(self) -> [u8; 4] {
        REMOTE.get(self.far).copied().unwrap_or(GUEST_ADDRESS[1 - self.guest])
    }

    /// Source and destination address, source and destination port.
    pub(crate) fn ends(self) -> ([[u8; 4]; 2], [u16; 2]) {
        let (near, far) = (GUEST_ADDRESS[self.guest], self.far_address());
        if self.outwards { ([near, far], [self.port, 53]) } else { ([far, near], [53, self.port]) }
    }

    pub(crate) fn key(self) -> FlowKey {
        let ([source, destination], ports) = self.ends();
        let ([a, b], [c, d]) = (ports[0].to_be_bytes(), ports[1].to_be_bytes());
        FlowKey::inet(self.protocol, [a, b, c, d], NexthopId(ROUTED[self.guest]), source, destination)
    }

    pub(crate) fn reversed(self) -> Self {
        Self { outwards: !self.outwards, ..self }
    }
}

/// Rule of aggregation: UDP, port 53.
const UDP_DNS: u32 = 0x11_0035;

/// A change of the tables.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Change {
    /// Sets a flow, links it to its reverse where that exists; with a source check or without.
    SetFlow {
        flow: Flow,
        action: FlowAction,
        ttl: u8,
        check_source: bool,
    },
    /// Translates a flow by the key of another one, which is linked back or not.
    Translate {
        flow: Flow,
        by: Flow,
        flags: FlowFlags,
        linked: bool,
    },
    RemoveFlow(Flow),
    /// Leads to a remote guest by another tunnel.
    Tunnel {
        far: usize,
        by: usize,
    },
    RemoveRoute(usize),
    RemoveBridge(usize),
    /// Switches the policy of a guest's interface and nexthops.
    Policy {
        guest: usize,
        on: bool,
    },
    /// Removes a guest's label, or sets it.
    Label {
        guest: usize,
        bridged: bool,
        there: bool,
    },
    /// Switches the mirror of a guest.
    Mirror {
        guest: usize,
        on: bool,
    },
    /// Aggregates a guest's flows to port 53, or does not.
    Aggregate {
        guest: usize,
        on: bool,
    },
}

impl Change {
    pub(crate) fn apply(self, tables: &mut Tables, datapath: &mut dyn Datapath) {
        match self {
            Self::SetFlow { flow, action, ttl, check_source } => {
                set_flow(tables, datapath, flow, (action, ttl, check_source));
            }
            Self::Translate { flow, by, flags, linked } => {
                translate(tables, datapath, flow, (by, flags, linked));
            }
            Self::RemoveFlow(flow) => {
                if let Some(spec) = spec(tables, flow, FlowFlags::empty()) {
                    let _ = tables.flow_set(&spec, datapath);
                }
            }
            Self::Tunnel { far, by } => {
                tables.route_add(&remote_route(far, by)).unwrap();
                tables.bridge_add(&remote_bridge(far, by)).unwrap();
            }
            Self::RemoveRoute(far) => {
                let _ = tables.route_delete(&route(VRF, REMOTE[far], 0, None));
            }
            Self::RemoveBridge(far) => {
                let _ = tables.bridge_delete(VRF, GivenMac::Mac(REMOTE_MAC[far]));
            }
            Self::Policy { guest: which, on } => {
                let (vif, nexthop) = if on {
                    (VifFlags::POLICY, NexthopFlags::POLICY)
                } else {
                    (VifFlags::empty(), NexthopFlags::empty())
                };
                tables.vif_add(&guest(which, vif), datapath).unwrap();
                for spec in to_guest(which, nexthop) {
                    tables.nexthop_add(&spec).unwrap();
                }
            }
            Self::Label { guest, bridged, there } => {
                let label = Label(LABELS[guest][usize::from(bridged)]);
                if there {
                    let nexthop = if bridged { BRIDGED } else { ROUTED }[guest];
                    tables.label_add(label, NexthopId(nexthop)).unwrap();
                } else {
                    let _ = tables.label_delete(label);
                }
            }
            Self::Mirror { guest: which, on } => {
                let mirror = if on { VifFlags::MIRROR_RX | VifFlags::MIRROR_TX } else { VifFlags::empty() };
                let spec = VifSpec { mirror: MirrorId(0), ..guest(which, VifFlags::POLICY | mirror) };
                tables.vif_add(&spec, datapath).unwrap();
            }
            Self::Aggregate { guest: which, on } => {
                let rules = if on { vec![UDP_DNS] } else { Vec::new() };
                let fat_flow = Some(FatFlow { rules, ..FatFlow::default() });
                tables.vif_add(&VifSpec { fat_flow, ..guest(which, VifFlags::POLICY) }, datapath).unwrap();
            }
        }
    }
}

fn translate(
    tables: &mut Tables,
    datapath: &mut dyn Datapath,
    flow: Flow,
    (by, flags, linked): (Flow, FlowFlags, bool),
) {
    let find = |tables: &Tables, flow: Flow| {
        let key = flow.key();
        tables.flow_table().find(&key, key.hash()).map_or(Reverse::Key(None), Reverse::Index)
    };
    let flags = flags | FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID;
    let base = spec(tables, flow, flags).unwrap_or_else(|| new_spec(flow, flags));
    let reverse = find(tables, by);
    let _ = tables
        .flow_set(&FlowSpec { action: Some(FlowAction::Nat), reverse, dvrf: OTHER_VRF, ..base }, datapath);
    let reverse = find(tables, flow);
    if let (true, Some(spec)) = (linked, spec(tables, by, FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID)) {
        let _ = tables.flow_set(&FlowSpec { reverse, ..spec }, datapath);
    }
}

/// What names an existing flow.
pub(crate) fn spec(tables: &Tables, flow: Flow, flags: FlowFlags) -> Option<FlowSpec> {
    let key = flow.key();
    let index = tables.flow_table().find(&key, key.hash())?;
    let generation = tables.flow_table().shared(index)?.generation.load(Relaxed);
    Some(FlowSpec { index: Some(index), generation, ..new_spec(flow, flags) })
}

pub(crate) fn new_spec(flow: Flow, flags: FlowFlags) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(flow.key()),
        generation: 0,
        action: Some(FlowAction::Forward),
        flags,
        flags1: 0,
        force_evict: false,
        reverse: Reverse::Key(None),
        vrf: VRF,
        dvrf: VRF,
        mirrors: [255, 255],
        ecmp_index: -1,
        source_nexthop: 0,
        qos_map: -1,
        ttl: 0,
        underlay_index: -1,
        drop_reason: 0,
    }
}

fn set_flow(
    tables: &mut Tables,
    datapath: &mut dyn Datapath,
    flow: Flow,
    (action, ttl, check_source): (FlowAction, u8, bool),
) {
    let reverse = {
        let key = flow.reversed().key();
        tables.flow_table().find(&key, key.hash())
    };
    let mut flags = FlowFlags::ACTIVE;
    if reverse.is_some() {
        flags |= FlowFlags::RFLOW_VALID;
    }
    let base = spec(tables, flow, flags).unwrap_or_else(|| new_spec(flow, flags));
    let source = match (flow.outwards, TUNNEL.get(flow.far)) {
        (true, _) => ROUTED[flow.guest],
        (false, Some(tunnel)) => *tunnel,
        (false, None) => ROUTED[1 - flow.guest],
    };
    let spec = FlowSpec {
        action: Some(action),
        ttl,
        source_nexthop: if check_source { source } else { 0 },
        reverse: reverse.map_or(Reverse::Key(None), Reverse::Index),
        ..base
    };
    let _ = tables.flow_set(&spec, datapath);
}
