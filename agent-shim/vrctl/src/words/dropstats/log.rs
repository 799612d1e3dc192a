//! `dropstats --log`: packets that were dropped lately (control.md 4.13).

use std::io::{self, Write};

use super::{DropStatsReq, Failure, Message, PktDropLogReq, Record, SandeshOp, Session, View, show};
use crate::client::Client;
use crate::text;

/// Bytes of one record.
const RECORD: usize = 168;
/// Records in one reply.
const RECORDS: i16 = 20;

/// Shows the log of core `core`, counted from 1; 0 stands for all cores.
pub(super) fn show_log(session: &mut Session, core: i16, view: &View) -> Result<(), Failure> {
    show(session, view, |client| fetch(client, core), print)
}

fn fetch(client: &mut Client, core: i16) -> Result<Vec<Message>, Failure> {
    let mut logs = Vec::new();
    let (mut number, mut first) = (core.max(1), 0);
    loop {
        let request = PktDropLogReq {
            h_op: SandeshOp::GET,
            vdl_core: number,
            vdl_log_idx: first,
            ..PktDropLogReq::default()
        };
        let log = client.object(&request, |message| match message {
            Message::PktDropLogReq(log) => Some(*log),
            _ => None,
        })?;
        first = first.saturating_add(RECORDS);
        let (entries, cores) = (log.vdl_pkt_droplog_max_bufsz, log.vdl_max_num_cores);
        let off = log.vdl_pkt_droplog_sysctl_en == 0;
        logs.push(log.into());
        if off {
            return Ok(logs);
        }
        if first >= entries {
            (number, first) = (number.saturating_add(1), 0);
            if core != 0 || number > cores {
                return Ok(logs);
            }
        }
    }
}

fn print(out: &mut dyn Write, objects: &[Message]) -> io::Result<()> {
    let mut number = 0;
    for object in objects {
        let Message::PktDropLogReq(log) = object else { continue };
        if log.vdl_pkt_droplog_sysctl_en == 0 {
            // Not among the output, which scripts read line by line.
            return writeln!(io::stderr(), "the vrouter keeps no log of dropped packets");
        }
        for record in
            log.vdl_pkt_droplog_arr.chunks_exact(RECORD).filter(|record| part::<8>(record, 0) != [0; 8])
        {
            number += 1;
            print_record(out, number, record)?;
        }
    }
    Ok(())
}

fn print_record(out: &mut dyn Write, number: usize, record: &[u8]) -> io::Result<()> {
    let kind = record.get(8).copied().unwrap_or(0);
    // Packet type 3 is IPv6 (constants.tsv, packet_type).
    let length = if kind == 3 { 16 } else { 4 };
    let address = |at: usize| {
        let bytes = record.get(at..at + length).unwrap_or_default();
        text::address(bytes).map_or_else(String::new, |address| address.to_string())
    };
    let length = u16::from_le_bytes(part(record, 64));
    let data = record.get(66..166).unwrap_or_default();
    let data = &data[..data.len().min(usize::from(length))];
    writeln!(
        out,
        "sl no: {number}  Epoch Time: {}  Packet Type: {kind}  Drop reason: {}  Vif idx: {}  Nexthop id: {}  \
         Src IP: {}  Dst IP: {}  Source port: {}  Dest port: {}  Packet Len: {length}  Packet Data: {}",
        i64::from_le_bytes(part(record, 0)),
        reason(u16::from_le_bytes(part(record, 10))),
        u16::from_le_bytes(part(record, 12)),
        u32::from_le_bytes(part(record, 16)),
        address(20),
        address(36),
        u16::from_be_bytes(part(record, 52)),
        u16::from_be_bytes(part(record, 54)),
        text::hex(data).trim_end(),
    )
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
    use super::{print_record, reason};

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
        print_record(&mut text, 1, &record).unwrap();
        assert_eq!(
            String::from_utf8(text).unwrap(),
            "sl no: 1  Epoch Time: 7  Packet Type: 2  Drop reason: flow_action_drop  Vif idx: 3  \
             Nexthop id: 38  Src IP: 1.1.1.3  Dst IP: 2.2.2.3  Source port: 80  Dest port: 256  \
             Packet Len: 2  Packet Data: 45 00\n"
        );
    }
}
