//! The flow table as clients see it: a file of 256-byte entries (control.md 5.2), which is only read.

use std::fs::File;
use std::net::IpAddr;
use std::os::unix::fs::FileExt;

use anyhow::Context;
use sandesh::FlowOp;
use sandesh::constants::family::AF_INET6;
use sandesh::constants::flow_flag::VR_FLOW_FLAG_ACTIVE;
use sandesh::messages::{FlowTableData, Message};
use serde_json::{Value, json};

use crate::client::Client;
use crate::failure::Failure;
use crate::records::per_second;
use crate::text;
use crate::view::Item;

/// Bytes of an entry.
const ENTRY: usize = 256;
/// Entries that are read at a time.
const BATCH: usize = 4096;

/// The table, and what the vrouter says about it.
pub(crate) struct FlowTable {
    file: File,
    pub(crate) data: FlowTableData,
}

impl FlowTable {
    /// Asks for the table and opens it.
    pub(crate) fn open(client: &mut Client) -> Result<Self, Failure> {
        let data = table_data(client)?;
        let path = &data.ftable_file_path;
        let file = File::open(path).with_context(|| format!("cannot open the flow table {path}"))?;
        Ok(Self { file, data })
    }

    /// Entries of the table, used or not.
    pub(crate) fn entries(&self) -> usize {
        self.data.ftable_size as usize / ENTRY
    }

    /// The entry at `index`, if it is in use.
    pub(crate) fn entry(&self, index: u32) -> anyhow::Result<Option<Flow>> {
        let mut bytes = [0; ENTRY];
        let offset = u64::from(index) * ENTRY as u64;
        if index as usize >= self.entries() {
            return Ok(None);
        }
        self.file.read_exact_at(&mut bytes, offset).context("cannot read the flow table")?;
        Ok(Flow::read(index, &bytes))
    }

    /// Entries in use, in the order of the table.
    pub(crate) fn flows(&self) -> anyhow::Result<Vec<Flow>> {
        let mut flows = Vec::new();
        let mut bytes = vec![0; BATCH * ENTRY];
        for first in (0..self.entries()).step_by(BATCH) {
            let count = BATCH.min(self.entries() - first);
            let part = &mut bytes[..count * ENTRY];
            self.file.read_exact_at(part, (first * ENTRY) as u64).context("cannot read the flow table")?;
            let entries = part.as_chunks::<ENTRY>().0.iter().enumerate();
            flows.extend(entries.filter_map(|(number, entry)| Flow::read((first + number) as u32, entry)));
        }
        Ok(flows)
    }
}

/// What the vrouter says about its flow table.
pub(crate) fn table_data(client: &mut Client) -> Result<FlowTableData, Failure> {
    let request = FlowTableData { ftable_op: FlowOp::FLOW_TABLE_GET, ..FlowTableData::default() };
    client.object(&request, |message| match message {
        Message::FlowTableData(data) => Some(*data),
        _ => None,
    })
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
    /// The entry, if it is in use.
    fn read(index: u32, entry: &[u8; ENTRY]) -> Option<Self> {
        let u16_at = |at: usize| u16::from_le_bytes([entry[at], entry[at + 1]]);
        let u32_at = |at: usize| u32::from(u16_at(at)) | u32::from(u16_at(at + 2)) << 16;
        let flags = u16_at(88);
        if flags & VR_FLOW_FLAG_ACTIVE == 0 {
            return None;
        }
        let length = if entry[24] == AF_INET6 as u8 { 16 } else { 4 };
        let port_at = |at: usize| u16::from_be_bytes([entry[at], entry[at + 1]]);
        Some(Self {
            index,
            ttl: entry[21],
            qos_id: u16_at(22) as i16,
            protocol: entry[25],
            source: text::address(&entry[36..36 + length])?,
            destination: text::address(&entry[36 + length..36 + 2 * length])?,
            source_port: port_at(28),
            destination_port: port_at(30),
            key_nexthop: u32_at(32),
            gen_id: entry[69],
            tcp_flags: u16_at(70),
            reverse: u32_at(84) as i32,
            flags,
            flags1: u16_at(90),
            action: u16_at(92),
            vrf: u16_at(94),
            next_vrf: u16_at(96),
            mirrors: [entry[98], entry[99]],
            source_nexthop: u32_at(100),
            bytes: u64::from(u32_at(104)) | u64::from(u16_at(112)) << 32,
            packets: u64::from(u32_at(108)) | u64::from(entry[114]) << 32,
            ecmp: entry[115] as i8,
            drop_reason: entry[116],
            udp_source_port: u16_at(118),
            source_info: u32_at(120),
            underlay_ecmp: entry[136] as i8,
        })
    }

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

#[cfg(test)]
mod tests {
    use super::{ENTRY, Flow};

    #[test]
    fn an_entry_is_read_at_the_offsets_of_the_specification() {
        let mut entry = [0; ENTRY];
        assert_eq!(Flow::read(5, &entry), None);
        for (at, byte) in entry.iter_mut().enumerate() {
            *byte = at as u8;
        }
        (entry[24], entry[88]) = (2, 0x59);
        let flow = Flow::read(5, &entry).unwrap();
        assert_eq!((flow.protocol, flow.source_port, flow.key_nexthop), (25, 0x1c1d, 0x2322_2120));
        assert_eq!(
            (flow.source.to_string(), flow.destination.to_string()),
            ("36.37.38.39".to_owned(), "40.41.42.43".to_owned())
        );
        assert_eq!((flow.gen_id, flow.tcp_flags, flow.reverse), (69, 0x4746, 0x5756_5554));
        assert_eq!((flow.bytes, flow.packets), (0x7170_6b6a_6968, 0x72_6f6e_6d6c));
        assert_eq!((flow.udp_source_port, flow.underlay_ecmp), (0x7776, 136_u8 as i8));
    }
}
