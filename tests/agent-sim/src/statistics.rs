//! Counters read over the control socket, named by the schema of the specification.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::message::Message;
use crate::object::Object;
use crate::topology::{Topology, Tunnel, vrf};

const GET: i32 = 1;
const SCHEMA: &str = include_str!("../../../docs/spec/sandesh-messages.tsv");

static DROP_REASONS: LazyLock<Vec<(i16, String)>> = LazyLock::new(|| {
    let lines = SCHEMA.lines().map(|line| line.split('\t').collect::<Vec<_>>());
    let drops =
        lines.filter(|columns| columns.len() > 3 && columns[0] == "vr_drop_stats_req" && columns[2] == "i64");
    drops
        .filter_map(|columns| {
            Some((columns[1].parse().ok()?, columns[3].trim_start_matches("vds_").to_owned()))
        })
        .collect()
});

/// Packets and bytes of one vif, as the vrouter sees it: "in" comes from the port.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PortCounters {
    /// Bytes received.
    pub in_bytes: i64,
    /// Packets received.
    pub in_packets: i64,
    /// Bytes sent.
    pub out_bytes: i64,
    /// Packets sent.
    pub out_packets: i64,
}

/// Reads the counters of one vif.
pub fn port(control: &mut Control, index: i32) -> Result<PortCounters> {
    let object = object(control, Message::new("vr_interface_req").i32(1, GET).i32(6, index).stop())?;
    Ok(PortCounters {
        in_bytes: object.number(11),
        in_packets: object.number(12),
        out_bytes: object.number(14),
        out_packets: object.number(15),
    })
}

/// Packets that the networks of a topology sent through tunnels of one kind.
pub fn tunnelled(control: &mut Control, topology: &Topology, kind: Tunnel) -> Result<i64> {
    let field = match kind {
        Tunnel::MplsOverUdp => 13,
        Tunnel::MplsOverGre => 14,
        Tunnel::Vxlan => 23,
    };
    let mut sum = 0;
    for network in 0..topology.networks.len() {
        let request = Message::new("vr_vrf_stats_req").i32(1, GET).i16(3, 2).i32(5, vrf(network)).stop();
        sum += object(control, request)?.number(field);
    }
    Ok(sum)
}

/// Counted drops by reason; reasons without drops are left out.
pub fn drops(control: &mut Control) -> Result<BTreeMap<String, i64>> {
    let object = object(control, Message::new("vr_drop_stats_req").i32(1, GET).stop())?;
    let counted = DROP_REASONS.iter().map(|(id, name)| (name.clone(), object.number(*id)));
    Ok(counted.filter(|(_, count)| *count != 0).collect())
}

fn object(control: &mut Control, request: Vec<u8>) -> Result<Object> {
    control.one(request)?.objects.into_iter().next().context("an answer without object")
}

#[cfg(test)]
mod tests {
    use super::DROP_REASONS;

    #[test]
    fn every_drop_reason_of_the_schema_has_a_name() {
        assert_eq!(DROP_REASONS.len(), 54);
        assert!(DROP_REASONS.contains(&(15, "flow_action_drop".to_owned())));
    }
}
