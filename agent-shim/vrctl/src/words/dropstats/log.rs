//! `dropstats --log`: packets that were dropped lately (control.md 4.13).

use std::io::{self, Write};

use anyhow::anyhow;
use serde_json::{Value, json};

use super::{DropStatsReq, Failure, PktDropLogReq, Record, SandeshOp, Session, View, show};
use crate::client::Client;
use crate::text;
use crate::view::Item;

/// Bytes of one record.
const RECORD: usize = 168;
/// Records in one reply.
const RECORDS: i16 = 20;
/// What an ADD changes.
const SET_MINIMAL: u8 = 0;
const SET_TYPE: u8 = 1;
/// The type that stands for all reasons.
const ALL: u8 = 55;

/// Shows the log of core `core`, counted from 1; 0 stands for all cores.
pub(super) fn show_log(session: &mut Session, core: i16, view: &View) -> Result<(), Failure> {
    show(session, view, |client| fetch(client, core), print)
}

/// Empties the logs of all cores.
pub(super) fn clear(client: &mut Client) -> Result<(), Failure> {
    client.request(&PktDropLogReq { h_op: SandeshOp::RESET, ..PktDropLogReq::default() }).map(drop)
}

/// Leaves out the bytes of packets, or keeps them.
pub(super) fn set_minimal(client: &mut Client, minimal: bool) -> Result<(), Failure> {
    let request = PktDropLogReq {
        h_op: SandeshOp::ADD,
        vdl_pkt_droplog_config: SET_MINIMAL,
        vdl_pkt_droplog_min_sysctl_en: u8::from(minimal),
        ..PktDropLogReq::default()
    };
    client.request(&request).map(drop)
}

/// Logs only drops for this reason, or for `all`.
pub(super) fn set_reason(client: &mut Client, name: &str) -> Result<(), Failure> {
    let number = match name {
        "all" => ALL,
        name => (1..ALL)
            .find(|number| reason(u16::from(*number)) == name)
            .ok_or_else(|| anyhow!("there is no reason `{name}`; see the fields of `dropstats --json`"))?,
    };
    let request = PktDropLogReq {
        h_op: SandeshOp::ADD,
        vdl_pkt_droplog_config: SET_TYPE,
        vdl_pkt_droplog_type: number,
        ..PktDropLogReq::default()
    };
    client.request(&request).map(drop)
}

/// The records, the oldest one first.
fn fetch(client: &mut Client, core: i16) -> Result<Vec<Dropped>, Failure> {
    let mut records = Vec::new();
    let (mut number, mut first) = (core.max(1), 0);
    loop {
        let request = PktDropLogReq {
            h_op: SandeshOp::GET,
            vdl_core: number,
            vdl_log_idx: first,
            ..PktDropLogReq::default()
        };
        let log = client.object::<PktDropLogReq>(&request)?;
        if log.vdl_pkt_droplog_sysctl_en == 0 {
            // Not among the output, which scripts read line by line.
            writeln!(io::stderr(), "the vrouter keeps no log of dropped packets")?;
            return Ok(records);
        }
        records.extend(log.vdl_pkt_droplog_arr.chunks_exact(RECORD).filter_map(Dropped::read));
        first = first.saturating_add(RECORDS);
        if first >= log.vdl_pkt_droplog_max_bufsz {
            (number, first) = (number.saturating_add(1), 0);
            if core != 0 || number > log.vdl_max_num_cores {
                records.sort_by_key(|dropped| dropped.time);
                return Ok(records);
            }
        }
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Dropped {
    /// Seconds since 1970.
    time: i64,
    /// Type of the packet (constants.tsv, `packet_type`).
    kind: u8,
    reason: String,
    vif: u16,
    nexthop: u32,
    source: String,
    destination: String,
    source_port: u16,
    destination_port: u16,
    length: u16,
    data: Vec<u8>,
}

impl Dropped {
    /// What the bytes of a record say; nothing if it was never written.
    fn read(record: &[u8]) -> Option<Self> {
        let time = i64::from_le_bytes(part(record, 0));
        let kind = record.get(8).copied().unwrap_or(0);
        // IPv6, and IPv6 in a tunnel.
        let width = if matches!(kind, 3 | 5) { 16 } else { 4 };
        let address = |at: usize| {
            let bytes = record.get(at..at + width).unwrap_or_default();
            text::address(bytes).map_or_else(String::new, |address| address.to_string())
        };
        let length = u16::from_le_bytes(part(record, 64));
        let data = record.get(66..166).unwrap_or_default();
        // What is not kept is zero.
        let kept = data.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
        let shown = if kept == 0 { 0 } else { data.len().min(usize::from(length)) };
        (time != 0).then(|| Self {
            time,
            kind,
            reason: reason(u16::from_le_bytes(part(record, 10))),
            vif: u16::from_le_bytes(part(record, 12)),
            nexthop: u32::from_le_bytes(part(record, 16)),
            source: address(20),
            destination: address(36),
            source_port: u16::from_be_bytes(part(record, 52)),
            destination_port: u16::from_be_bytes(part(record, 54)),
            length,
            data: data[..shown].to_vec(),
        })
    }
}

impl Item for Dropped {
    fn json(&self) -> Value {
        json!({
            "time": self.time,
            "type": self.kind,
            "reason": self.reason,
            "vif": self.vif,
            "nexthop": self.nexthop,
            "source": self.source,
            "destination": self.destination,
            "source_port": self.source_port,
            "destination_port": self.destination_port,
            "length": self.length,
            "data": text::hex(&self.data).trim_end(),
        })
    }

    fn rates(&self, _: &[Self], _: f64) -> Self {
        self.clone()
    }
}

fn print(out: &mut dyn Write, records: &[Dropped]) -> io::Result<()> {
    for (number, record) in records.iter().enumerate() {
        writeln!(
            out,
            "sl no: {}  Epoch Time: {}  Packet Type: {}  Drop reason: {}  Vif idx: {}  Nexthop id: {}  \
             Src IP: {}  Dst IP: {}  Source port: {}  Dest port: {}  Packet Len: {}  Packet Data: {}",
            number + 1,
            record.time,
            record.kind,
            record.reason,
            record.vif,
            record.nexthop,
            record.source,
            record.destination,
            record.source_port,
            record.destination_port,
            record.length,
            text::hex(&record.data).trim_end(),
        )?;
    }
    Ok(())
}

/// Name of a drop reason: the fields of the counters stand in the order of the numbers, without the number
/// zero and with a status between the first and the second.
fn reason(number: u16) -> String {
    let fields = DropStatsReq::default();
    let names = fields.kind().fields().iter().filter_map(|field| field.strip_prefix("vds_"));
    let mut names = names.filter(|name| !["rid", "core", "pcpu_stats_failure_status"].contains(name));
    let name = number.checked_sub(1).and_then(|number| names.nth(usize::from(number)));
    name.map_or_else(|| number.to_string(), ToOwned::to_owned)
}

/// The `N` bytes at `at`; zeros where there are none.
fn part<const N: usize>(record: &[u8], at: usize) -> [u8; N] {
    record.get(at..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
}

#[cfg(test)]
mod tests {
    use super::{Dropped, print, reason};

    #[test]
    fn reasons_have_the_names_of_their_numbers() {
        assert_eq!(reason(1), "discard");
        assert_eq!(reason(2), "pull");
        assert_eq!(reason(39), "l2_no_route");
        assert_eq!(reason(54), "invalid_underlay_ecmp");
        assert_eq!(reason(0), "0");
    }

    #[test]
    fn a_record_is_read_at_its_places() {
        let mut record = [0; 168];
        assert_eq!(Dropped::read(&record), None);
        record[0] = 7;
        record[8] = 2;
        record[10] = 11;
        record[12] = 3;
        record[16] = 38;
        record[20..24].copy_from_slice(&[1, 1, 1, 3]);
        record[36..40].copy_from_slice(&[2, 2, 2, 3]);
        record[52..56].copy_from_slice(&[0, 80, 1, 0]);
        record[64] = 2;
        record[66..69].copy_from_slice(&[0x45, 0, 9]);
        let mut text = Vec::new();
        print(&mut text, &[Dropped::read(&record).unwrap()]).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "sl no: 1  Epoch Time: 7  Packet Type: 2  Drop reason: flow_action_drop  Vif idx: 3  \
             Nexthop id: 38  Src IP: 1.1.1.3  Dst IP: 2.2.2.3  Source port: 80  Dest port: 256  \
             Packet Len: 2  Packet Data: 45 00\n"
        );
        record[8] = 5;
        assert_eq!(Dropped::read(&record).unwrap().source, "101:103::");
        record[66..].fill(0);
        assert!(Dropped::read(&record).unwrap().data.is_empty(), "nothing was kept");
    }
}
