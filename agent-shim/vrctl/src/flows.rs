//! The flow table as clients see it: a file of entries (control.md 5.2), which is only read.

mod layout;

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use sandesh::FlowOp;
use sandesh::messages::{FlowReq, FlowTableData};
use serde_json::{Value, json};

use crate::client::Client;
use crate::failure::Failure;
use crate::records::per_second;
use crate::view::Item;

use layout::Layout;

/// Entries that are read at a time.
const BATCH: usize = 4096;

/// The table, and what the vrouter says about it.
pub(crate) struct FlowTable {
    file: File,
    layout: Layout,
    pub(crate) data: FlowTableData,
}

impl FlowTable {
    /// Asks for the table and opens it.
    pub(crate) fn open(client: &mut Client) -> Result<Self, Failure> {
        let data = table_data(client)?;
        let path = &data.ftable_file_path;
        let file = File::open(path).with_context(|| format!("cannot open the flow table {path}"))?;
        let layout = if client.is_r220() { Layout::R220 } else { Layout::Current };
        Ok(Self { file, layout, data })
    }

    /// Entries of the table, used or not.
    pub(crate) fn entries(&self) -> usize {
        self.data.ftable_size as usize / self.layout.entry_size()
    }

    /// The entry at `index`, if it is in use.
    pub(crate) fn entry(&self, index: u32) -> anyhow::Result<Option<Flow>> {
        if index as usize >= self.entries() {
            return Ok(None);
        }
        let mut bytes = vec![0; self.layout.entry_size()];
        let offset = u64::from(index) * bytes.len() as u64;
        self.file.read_exact_at(&mut bytes, offset).context("cannot read the flow table")?;
        Ok(self.layout.read(index, &bytes))
    }

    /// Entries in use, in the order of the table.
    pub(crate) fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        let size = self.layout.entry_size();
        let mut flows = Vec::new();
        let mut bytes = vec![0; BATCH * size];
        for first in (0..self.entries()).step_by(BATCH) {
            let count = BATCH.min(self.entries() - first);
            let part = &mut bytes[..count * size];
            self.file.read_exact_at(part, (first * size) as u64).context("cannot read the flow table")?;
            let entries = part.chunks_exact(size).enumerate();
            flows.extend(
                entries.filter_map(|(number, entry)| self.layout.read((first + number) as u32, entry)),
            );
        }
        Ok(flows)
    }
}

/// What the vrouter says about its flow table.
pub(crate) fn table_data(client: &mut Client) -> Result<FlowTableData, Failure> {
    if client.is_r220() {
        let request = FlowReq { fr_op: FlowOp::FLOW_TABLE_GET, ..FlowReq::default() };
        return client.object(&request).map(of_r220);
    }
    let request = FlowTableData { ftable_op: FlowOp::FLOW_TABLE_GET, ..FlowTableData::default() };
    client.object::<FlowTableData>(&request)
}

/// What R2.20 says in another message.
fn of_r220(table: FlowReq) -> FlowTableData {
    FlowTableData {
        ftable_size: table.fr_ftable_size as u32,
        ftable_file_path: table.fr_file_path,
        ftable_processed: table.fr_processed as u64,
        ftable_created: table.fr_created as u64,
        ftable_added: table.fr_added as u64,
        ftable_hold_oflows: table.fr_hold_oflows as u32,
        ftable_hold_stat: table.fr_hold_stat.into_iter().map(|count| count as u32).collect(),
        ftable_oflow_entries: table.fr_oflow_entries as u32,
        ..FlowTableData::default()
    }
}

/// One direction of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Flow {
    pub(crate) index: u32,
    pub(crate) ttl: u8,
    pub(crate) qos_id: i16,
    pub(crate) protocol: u8,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) source_port: u16,
    pub(crate) destination_port: u16,
    /// Nexthop that is part of the key.
    pub(crate) key_nexthop: u32,
    pub(crate) gen_id: u8,
    pub(crate) tcp_flags: u16,
    /// Index of the reverse flow, negative if there is none.
    pub(crate) reverse: i32,
    pub(crate) flags: u16,
    pub(crate) flags1: u16,
    pub(crate) action: u16,
    pub(crate) vrf: u16,
    /// VRF in which translated packets go on.
    pub(crate) next_vrf: u16,
    /// Mirrors, 255 for none.
    pub(crate) mirrors: [u8; 2],
    /// Nexthop for the check of the source.
    pub(crate) source_nexthop: u32,
    pub(crate) bytes: u64,
    pub(crate) packets: u64,
    /// Member of an ECMP group, negative if none.
    pub(crate) ecmp: i8,
    pub(crate) drop_reason: u8,
    /// Source port of the outer header.
    pub(crate) udp_source_port: u16,
    pub(crate) source_info: u32,
    pub(crate) underlay_ecmp: i8,
}

impl Flow {
    /// Whether a flag is set.
    pub(crate) fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }
}

impl Item for Flow {
    fn json(&self) -> Value {
        json!({
            "index": self.index,
            "gen_id": self.gen_id,
            "reverse_index": self.reverse,
            "vrf": self.vrf,
            "next_vrf": self.next_vrf,
            "protocol": self.protocol,
            "source": self.source.to_string(),
            "source_port": self.source_port,
            "destination": self.destination.to_string(),
            "destination_port": self.destination_port,
            "key_nexthop": self.key_nexthop,
            "source_nexthop": self.source_nexthop,
            "action": self.action,
            "flags": self.flags,
            "tcp_flags": self.tcp_flags,
            "drop_reason": self.drop_reason,
            "packets": self.packets,
            "bytes": self.bytes,
            "ecmp_index": self.ecmp,
            "underlay_ecmp_index": self.underlay_ecmp,
            "mirrors": self.mirrors,
            "qos_id": self.qos_id,
            "ttl": self.ttl,
            "udp_source_port": self.udp_source_port,
        })
    }

    fn rates(&self, before: &[Self], seconds: f64) -> Self {
        // Lists are in the order of the table.
        let place = before.binary_search_by_key(&self.index, |other| other.index).ok();
        let same = place.and_then(|place| before.get(place)).filter(|other| other.gen_id == self.gen_id);
        let Some(before) = same else { return self.clone() };
        let rate = |now: u64, before: u64| per_second(now.wrapping_sub(before) as i64, seconds) as u64;
        Self {
            packets: rate(self.packets, before.packets),
            bytes: rate(self.bytes, before.bytes),
            ..self.clone()
        }
    }
}
