//! Flow entries with any key, as an agent sets them.

use vr_tables::control::{Datapath, FlowSpec, Reverse, Tables};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey};
use vr_types::{FlowIndex, NexthopId};

use crate::lab::Lab;
use crate::world::VRF;

/// The key of an IPv4 flow.
pub(crate) fn key(protocol: u8, ends: [[u8; 4]; 2], ports: [u16; 2], nexthop: u32) -> FlowKey {
    FlowKey::inet(protocol, wire(ports), NexthopId(nexthop), ends[0], ends[1])
}

/// Ports as on the wire.
pub(crate) fn wire(ports: [u16; 2]) -> [u8; 4] {
    let [[a, b], [c, d]] = ports.map(u16::to_be_bytes);
    [a, b, c, d]
}

/// A new flow that lets packets pass whatever they come from.
pub(crate) fn spec(key: FlowKey) -> FlowSpec {
    FlowSpec {
        index: None,
        key: Some(key),
        generation: 0,
        action: Some(FlowAction::Forward),
        flags: FlowFlags::ACTIVE,
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

/// Sets a flow.
pub(crate) fn set(tables: &mut Tables, datapath: &mut dyn Datapath, spec: &FlowSpec) -> (FlowIndex, u8) {
    let reply = tables.flow_set(spec, datapath);
    reply.result.unwrap();
    (reply.index.unwrap(), reply.generation)
}

/// Sets both directions of a conversation, linked to each other. `change` has the last word about each.
pub(crate) fn set_pair(
    lab: &mut Lab,
    keys: [FlowKey; 2],
    change: impl Fn(usize, &mut FlowSpec),
) -> [FlowIndex; 2] {
    let mut indexes = [FlowIndex::NONE; 2];
    lab.command(|tables, datapath| {
        let (first, generation) = set(tables, datapath, &spec(keys[0]));
        let linked = |which: usize, to: FlowIndex| {
            let mut spec = FlowSpec {
                flags: FlowFlags::ACTIVE | FlowFlags::RFLOW_VALID,
                reverse: Reverse::Index(to),
                ..spec(keys[which])
            };
            change(which, &mut spec);
            spec
        };
        let (second, _) = set(tables, datapath, &linked(1, first));
        set(tables, datapath, &FlowSpec { index: Some(first), generation, ..linked(0, second) });
        indexes = [first, second];
    });
    indexes
}
