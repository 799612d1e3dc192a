//! Flows that the agent has decided about before the first packet.

use vr_tables::control::{Datapath, FlowReply, FlowSpec, Reverse, Tables};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_types::{FlowIndex, NexthopId};

use super::node::{CIRCLE, FLOATING, VRF, nh};

/// Flows of guest A: forwarded, dropped, translated, mirrored, to another VRF.
pub(super) fn add(tables: &mut Tables, datapath: &mut dyn Datapath) -> bool {
    const A: [u8; 4] = [10, 0, 0, 4];
    const REMOTE: [u8; 4] = [10, 0, 1, 7];
    const OUTSIDE: [u8; 4] = [8, 8, 8, 8];
    let none = FlowFlags::empty();
    let forward = |protocol, ports: [u16; 2], flags| {
        let back = key(protocol, [ports[1], ports[0]], REMOTE, A);
        [
            flow(key(protocol, ports, A, REMOTE), FlowAction::Forward, flags, nh::ROUTED_A),
            flow(back, FlowAction::Forward, none, nh::UDP),
        ]
    };
    let dropped = [
        flow(key(17, [5002, 53], A, REMOTE), FlowAction::Drop, none, nh::ROUTED_A),
        flow(key(17, [53, 5002], REMOTE, A), FlowAction::Drop, none, nh::UDP),
    ];
    let translated = |protocol| {
        let snat = FlowFlags::SNAT | FlowFlags::SPAT;
        let dnat = FlowFlags::DNAT | FlowFlags::DPAT;
        [
            flow(key(protocol, [5001, 53], A, OUTSIDE), FlowAction::Nat, snat, nh::ROUTED_A),
            flow(key(protocol, [53, 6000], OUTSIDE, FLOATING), FlowAction::Nat, dnat, nh::GATEWAY),
        ]
    };
    [
        forward(17, [5000, 53], none),
        forward(6, [40000, 80], none),
        forward(17, [5003, 53], FlowFlags::MIRROR),
        forward(17, [5004, 53], FlowFlags::VRFT),
        dropped,
        translated(17),
        translated(6),
    ]
    .into_iter()
    .all(|pair| set_pair(tables, datapath, &pair))
}

/// A flow of this key and action, of packets from `source`.
pub(super) fn flow(key: FlowKey, action: FlowAction, flags: FlowFlags, source: u32) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(key),
        generation: 0,
        action: Some(action),
        flags: flags | FlowFlags::ACTIVE,
        flags1: 0,
        force_evict: false,
        reverse: Reverse::Key(None),
        vrf: VRF,
        dvrf: CIRCLE,
        mirrors: [0, 255],
        ecmp_index: -1,
        source_nexthop: source,
        qos_map: -1,
        ttl: 0,
        underlay_index: -1,
        drop_reason: 0,
    }
}

/// Key of a flow of guest A.
fn key(protocol: u8, ports: [u16; 2], source: [u8; 4], destination: [u8; 4]) -> FlowKey {
    let ([a, b], [c, d]) = (ports[0].to_be_bytes(), ports[1].to_be_bytes());
    FlowKey::inet(protocol, [a, b, c, d], NexthopId(nh::ROUTED_A), source, destination)
}

/// Sets both directions of a flow, each as the other's reverse.
fn set_pair(tables: &mut Tables, datapath: &mut dyn Datapath, pair: &[FlowSpec; 2]) -> bool {
    let [there, back] = *pair;
    let (Some(there), Some(back)) = (set(tables, datapath, there), set(tables, datapath, back)) else {
        return false;
    };
    let linked = |(index, generation, spec): (FlowIndex, u8, FlowSpec), other: FlowIndex| FlowSpec {
        index: Some(index),
        generation,
        flags: spec.flags | FlowFlags::RFLOW_VALID,
        reverse: Reverse::Index(other),
        ..spec
    };
    let [there, back] = [linked(there, back.0), linked(back, there.0)];
    [there, back].map(|spec| tables.flow_set(&spec, datapath).result.is_ok()) == [true; 2]
}

fn set(
    tables: &mut Tables,
    datapath: &mut dyn Datapath,
    spec: FlowSpec,
) -> Option<(FlowIndex, u8, FlowSpec)> {
    let FlowReply { result, index, generation, .. } = tables.flow_set(&spec, datapath);
    result.ok()?;
    Some((index?, generation, spec))
}
