//! Small tables with a node's interfaces and nexthops.

use std::fmt::{Debug, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::Ordering::Relaxed;

use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{
    AttachError, Attached, BridgeSpec, CommandError, Datapath, FlowSpec, GivenMac, GracefulRestart, Limits,
    NexthopKind, NexthopSpec, Prefix, Reverse, RouteSpec, Tables, TablesConfig, VifSpec,
};
use vr_tables::fib::RouteFlags;
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_tables::geometry::Geometry;
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_tables::vif::{Vif, VifKind};
use vr_types::{FlowIndex, Label, Mac, NexthopId, VifId, Vni, VrfId};

pub(crate) const FABRIC: VifId = VifId(0);
pub(crate) const GUEST: VifId = VifId(3);
pub(crate) const VRF: VrfId = VrfId(1);
pub(crate) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 3];

/// Nexthops of the node.
pub(crate) const ENCAP: NexthopId = NexthopId(10);
pub(crate) const TUNNEL: NexthopId = NexthopId(11);
pub(crate) const L2_RECEIVE: NexthopId = NexthopId(12);
pub(crate) const COMPOSITE: NexthopId = NexthopId(13);
pub(crate) const NO_NEXTHOP: NexthopId = NexthopId(99);
pub(crate) const NEXTHOPS: u32 = 256;
pub(crate) const LABELS: u32 = 64;
pub(crate) const VRFS: u32 = 16;

/// A datapath without ports.
pub(crate) struct NoPorts;

impl Datapath for NoPorts {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        match vif.details.name.as_str() {
            "missing" => Err(AttachError::NoDevice(vif.details.name.clone())),
            "strange" => Err(AttachError::Unsupported),
            "large" => Err(AttachError::NoMemory("buffers".to_owned())),
            _ => Ok(Attached::default()),
        }
    }

    fn probe(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.attach(vif)
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

pub(crate) fn empty() -> Tables {
    empty_with(None)
}

pub(crate) fn empty_with(graceful_restart: Option<GracefulRestart>) -> Tables {
    let limits = Limits {
        interfaces: 32,
        nexthops: NEXTHOPS,
        labels: LABELS,
        vrfs: VRFS,
        flows: Geometry { entries: 8, overflow: 4 },
        bridge: Geometry { entries: 8, overflow: 4 },
        ..Limits::default()
    };
    Tables::new(TablesConfig { workers: 2, limits, graceful_restart, ..TablesConfig::default() }).unwrap()
}

pub(crate) fn nexthop(
    id: NexthopId,
    kind: NexthopKind,
    family: NexthopFamily,
    flags: NexthopFlags,
) -> NexthopSpec {
    NexthopSpec::new(id, kind, family, flags | NexthopFlags::VALID, VrfId(0))
}

pub(crate) fn encap(id: NexthopId, vif: VifId) -> NexthopSpec {
    NexthopSpec {
        interfaces: vec![vif],
        rewrite: vec![2; 14],
        ..nexthop(id, NexthopKind::Encap, NexthopFamily::Inet, NexthopFlags::empty())
    }
}

pub(crate) fn tunnel(id: NexthopId, peer: impl Into<IpAddr>) -> NexthopSpec {
    let destination = peer.into();
    let source = match destination {
        IpAddr::V4(_) => IpAddr::from([172, 16, 0, 1]),
        IpAddr::V6(_) => IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 1]),
    };
    NexthopSpec {
        interfaces: vec![FABRIC],
        rewrite: vec![4; 14],
        source: Some(source),
        destination: Some(destination),
        ..nexthop(id, NexthopKind::Tunnel, NexthopFamily::Inet, NexthopFlags::TUNNEL_UDP_MPLS)
    }
}

pub(crate) fn composite(id: NexthopId, members: &[NexthopId]) -> NexthopSpec {
    NexthopSpec {
        members: members.iter().copied().map(Some).collect(),
        labels: vec![-1; members.len()],
        ..nexthop(id, NexthopKind::Composite, NexthopFamily::Inet, NexthopFlags::COMPOSITE_ECMP)
    }
}

pub(crate) fn route(address: [u8; 4], len: u8, nexthop: NexthopId, label: Option<u32>) -> RouteSpec {
    RouteSpec {
        vrf: VRF,
        prefix: Prefix::Inet(address, len),
        nexthop,
        label: label.unwrap_or(0),
        flags: if label.is_some() { RouteFlags::LABEL_VALID } else { RouteFlags::empty() },
        mac: GivenMac::Absent,
    }
}

pub(crate) fn bridge(last: u8, nexthop: NexthopId) -> BridgeSpec {
    let mac = GivenMac::Mac(Mac([2, 0, 0, 0, 1, last]));
    BridgeSpec { vrf: VRF, mac, nexthop, label: 0, flags: BridgeFlags::empty() }
}

pub(crate) fn flow_key(port: u8) -> FlowKey {
    FlowKey::inet(6, [0, port, 0, 80], ENCAP, [10, 0, 0, 1], [10, 0, 0, 2])
}

/// Adds a forwarding flow by its key.
pub(crate) fn flow(port: u8) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(flow_key(port)),
        generation: 0,
        action: Some(FlowAction::Forward),
        flags: FlowFlags::ACTIVE,
        flags1: 0,
        force_evict: false,
        reverse: Reverse::Key(None),
        vrf: VRF,
        dvrf: VRF,
        mirrors: [255; 2],
        ecmp_index: -1,
        source_nexthop: ENCAP.0,
        qos_map: -1,
        ttl: 0,
        underlay_index: -1,
        drop_reason: 0,
    }
}

/// With a fabric, a guest, four nexthops, and one entry of most other tables.
pub(crate) fn node() -> Tables {
    let mut tables = empty();
    program(&mut tables, &mut NoPorts);
    tables.publish();
    tables
}

/// Programs the node.
pub(crate) fn program(tables: &mut Tables, ports: &mut dyn Datapath) {
    tables.vif_add(&VifSpec::new(FABRIC, VifKind::Physical, "fabric"), ports).unwrap();
    let mac = GivenMac::from_bytes(&GUEST_MAC);
    tables
        .vif_add(&VifSpec { mac, vrf: Some(VRF), ..VifSpec::new(GUEST, VifKind::Virtual, "guest") }, ports)
        .unwrap();
    tables.nexthop_add(&encap(ENCAP, GUEST)).unwrap();
    tables.nexthop_add(&tunnel(TUNNEL, Ipv4Addr::new(172, 16, 0, 2))).unwrap();
    let receive = nexthop(L2_RECEIVE, NexthopKind::L2Receive, NexthopFamily::Bridge, NexthopFlags::empty());
    tables.nexthop_add(&receive).unwrap();
    tables.nexthop_add(&composite(COMPOSITE, &[ENCAP, TUNNEL])).unwrap();
    tables.route_add(&route([10, 0, 0, 0], 8, TUNNEL, Some(40))).unwrap();
    tables.bridge_add(&bridge(1, ENCAP)).unwrap();
    tables.label_add(Label(20), ENCAP).unwrap();
    tables.vni_add(Vni(5000), ENCAP).unwrap();
}

/// Everything that clients can read, as text.
pub(crate) fn dump(tables: &Tables) -> String {
    let mut text = String::new();
    let mut line = |line: &dyn Debug| {
        writeln!(text, "{line:?}").unwrap();
    };
    tables.vifs_from(0).for_each(|vif| line(&Vif { version: 0, ..vif.clone() }));
    tables.nexthops_from(NexthopId(0)).for_each(|nexthop| line(&nexthop));
    for vrf in (0..VRFS as u16).map(VrfId) {
        tables.inet_routes(vrf, None).into_iter().flatten().for_each(|route| line(&route));
        tables.inet6_routes(vrf, None).into_iter().flatten().for_each(|route| line(&route));
        tables.bridge_entries(vrf, None).for_each(|entry| line(&entry));
    }
    tables.labels_from(0).for_each(|label| line(&label));
    tables.vnis_from(Vni(0)).for_each(|vni| line(&vni));
    tables.mirrors_from(0).for_each(|mirror| line(&mirror));
    tables.vrf_entries_from(VrfId(0)).for_each(|entry| line(&entry));
    tables.qos_maps_from(0).for_each(|map| line(&map));
    tables.forwarding_classes_from(0).for_each(|class| line(&class));
    line(&(tables.flow_totals(), tables.bridge_used(), tables.snapshot().roles));
    for index in tables.flow_table().indexes() {
        let shared = tables.flow_table().shared(index).unwrap();
        let numbers = [shared.action.load(Relaxed), shared.vrf.load(Relaxed), shared.tcp_flags.load(Relaxed)];
        line(&(index, shared.key(), shared.flags(), shared.generation.load(Relaxed), numbers));
    }
    text
}

/// The command is refused with this error number, and nothing is different after it.
#[track_caller]
pub(crate) fn refused(
    tables: &mut Tables,
    errno: i32,
    command: impl FnOnce(&mut Tables) -> Result<(), CommandError>,
) {
    let before = dump(tables);
    let error = command(tables).expect_err("the command was accepted");
    assert_eq!(error.errno(), errno, "{error}");
    assert_eq!(dump(tables), before, "{error}");
}
