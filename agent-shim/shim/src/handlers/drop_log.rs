//! `vr_pkt_drop_log_req` (control.md 4.13): the packets that workers dropped lately.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use nix::time::{ClockId, clock_gettime};
use sandesh::SandeshOp;
use sandesh::messages::PktDropLogReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::control::OptionsChange;
use vr_tables::drop_log::{DropLog, DropLogging, Dropped, HEAD};
use vr_types::DropReason;

use super::{Context, is_this_router, unsupported};

/// Bytes of one record.
const RECORD: usize = 168;
/// Records in one reply.
const RECORDS: usize = 20;
/// What an ADD changes.
const SET_MINIMAL: u8 = 0;
const SET_TYPE: u8 = 1;
/// The type that stands for all reasons: the number behind the last one.
const ALL: u8 = DropReason::COUNT as u8;

pub(super) fn handle(request: &PktDropLogReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vdl_rid, replies) {
        return;
    }
    let done = match request.h_op {
        SandeshOp::GET => records(request, context),
        SandeshOp::RESET => clear(request, context),
        SandeshOp::ADD => change(request, context),
        _ => return unsupported(replies),
    };
    match done {
        Some(records) => {
            replies.response(0);
            replies.object(&object(request, context, records));
        }
        None => replies.response(-libc::EINVAL),
    }
}

/// The log of a core, counted from 1.
fn log<'a>(context: &'a Context<'_>, core: i16) -> Option<&'a DropLog> {
    let number = usize::try_from(core).ok()?.saturating_sub(1);
    context.tables.worker_stats().get(number).map(|stats| &stats.drop_log)
}

fn records(request: &PktDropLogReq, context: &Context<'_>) -> Option<Vec<u8>> {
    let log = log(context, request.vdl_core)?;
    let first = usize::try_from(request.vdl_log_idx).ok()?;
    let (now, monotonic) = now();
    let entries = (first..log.entries().min(first + RECORDS)).filter_map(|place| log.read(place));
    let records = entries.flat_map(|dropped| {
        let age = Duration::from_nanos(monotonic.saturating_sub(dropped.at));
        record(&dropped, now.saturating_sub(age).as_secs())
    });
    Some(records.collect())
}

/// Clears the log of a core, or all of them.
fn clear(request: &PktDropLogReq, context: &Context<'_>) -> Option<Vec<u8>> {
    match request.vdl_core {
        0 => context.tables.worker_stats().iter().for_each(|stats| stats.drop_log.clear()),
        core => log(context, core)?.clear(),
    }
    Some(Vec::new())
}

fn change(request: &PktDropLogReq, context: &mut Context<'_>) -> Option<Vec<u8>> {
    let mut logging = context.tables.options().drop_log;
    match request.vdl_pkt_droplog_config {
        SET_MINIMAL => logging.minimal = request.vdl_pkt_droplog_min_sysctl_en != 0,
        SET_TYPE => {
            let number = request.vdl_pkt_droplog_type;
            logging.only = match DropReason::ALL.get(usize::from(number)) {
                Some(reason) => Some(*reason),
                None if number == ALL => None,
                None => return None,
            };
        }
        _ => return None,
    }
    context.tables.set_options(&OptionsChange { drop_log: Some(logging), ..OptionsChange::default() });
    Some(Vec::new())
}

fn object(request: &PktDropLogReq, context: &Context<'_>, records: Vec<u8>) -> PktDropLogReq {
    let logs = context.tables.worker_stats();
    let entries = logs.first().map_or(0, |stats| stats.drop_log.entries());
    let DropLogging { minimal, only } = context.tables.options().drop_log;
    let is_on = i16::from(entries > 0);
    PktDropLogReq {
        h_op: request.h_op,
        vdl_core: request.vdl_core,
        vdl_log_idx: request.vdl_log_idx,
        vdl_max_num_cores: logs.len() as i16,
        vdl_pkt_droplog_max_bufsz: entries as i16,
        vdl_pkt_droplog_en: is_on,
        vdl_pkt_droplog_sysctl_en: is_on,
        vdl_pkt_droplog_arr: records,
        vdl_pkt_droplog_type: only.map_or(ALL, |reason| reason as u8),
        vdl_pkt_droplog_min_sysctl_en: u8::from(minimal),
        ..PktDropLogReq::default()
    }
}

/// The time since 1970, and that of the workers' clock in nanoseconds.
fn now() -> (Duration, u64) {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let monotonic = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Into::into);
    (since, monotonic.as_nanos() as u64)
}

/// The record as clients map it. Source file and line of the original have no meaning here.
fn record(dropped: &Dropped, seconds: u64) -> [u8; RECORD] {
    let mut record = [0; RECORD];
    let mut put = |at: usize, bytes: &[u8]| record[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, &seconds.to_le_bytes());
    put(8, &[dropped.kind]);
    put(10, &u16::from(dropped.reason as u8).to_le_bytes());
    put(12, &dropped.vif.0.to_le_bytes());
    put(16, &dropped.nexthop.to_le_bytes());
    let ends = ends(dropped);
    put(20, ends.source);
    put(36, ends.destination);
    put(52, ends.ports);
    put(64, &dropped.length.to_le_bytes());
    put(66, &dropped.head);
    record
}

/// Addresses, and both ports, as they stand in the packet.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ends<'a> {
    source: &'a [u8],
    destination: &'a [u8],
    ports: &'a [u8],
}

/// What the kept bytes tell of them.
fn ends(dropped: &Dropped) -> Ends<'_> {
    let head = dropped.head.get(..usize::from(dropped.head_len)).unwrap_or_default();
    match head.first().map(|byte| (byte >> 4, usize::from(byte & 0xf) * 4)) {
        Some((4, header @ 20..)) if is_inet(dropped.kind) && head.len() >= 20 => {
            // Only a first fragment has ports.
            let is_first = u16::from_be_bytes([head[6], head[7]]) & 0x1fff == 0;
            let ports = ports(head, header, head[9]).filter(|_| is_first).unwrap_or_default();
            Ends { source: &head[12..16], destination: &head[16..20], ports }
        }
        Some((6, _)) if is_inet6(dropped.kind) && head.len() >= 40 => {
            let ports = ports(head, 40, head[6]).unwrap_or_default();
            Ends { source: &head[8..24], destination: &head[24..40], ports }
        }
        _ => Ends::default(),
    }
}

fn ports(head: &[u8], at: usize, protocol: u8) -> Option<&[u8]> {
    let has_ports = [6, 17, 132].contains(&protocol);
    head.get(at..at + 4).filter(|_| has_ports)
}

/// Packet types (constants.tsv, `packet_type`): IPv4, and IPv4 in a tunnel.
const fn is_inet(kind: u8) -> bool {
    matches!(kind, 2 | 4)
}

/// IPv6, and IPv6 in a tunnel.
const fn is_inet6(kind: u8) -> bool {
    matches!(kind, 3 | 5)
}

const _: () = assert!(66 + HEAD <= RECORD);

#[cfg(test)]
mod tests {
    use super::{Ends, HEAD, ends, record};
    use vr_tables::drop_log::Dropped;
    use vr_types::{DropReason, VifId};

    fn dropped(kind: u8, bytes: &[u8]) -> Dropped {
        let mut head = [0; HEAD];
        head[..bytes.len()].copy_from_slice(bytes);
        Dropped {
            at: 0,
            reason: DropReason::FlowActionDrop,
            kind,
            vif: VifId(3),
            nexthop: 0x1_0203,
            length: 0x234,
            head,
            head_len: bytes.len() as u8,
        }
    }

    fn inet(protocol: u8, fragment: u16) -> Vec<u8> {
        let [high, low] = fragment.to_be_bytes();
        let mut header = vec![0x46, 0, 0, 0, 0, 0, high, low, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        header.extend([1, 1, 1, 1, 0, 80, 1, 0]);
        header
    }

    #[test]
    fn a_record_has_its_fields_at_their_places() {
        let bytes = inet(6, 0);
        let record = record(&dropped(2, &bytes), 0x0102);
        assert_eq!((record[..2].to_vec(), record[8], record[10], record[12]), (vec![2, 1], 2, 11, 3));
        assert_eq!(record[16..24], [3, 2, 1, 0, 10, 0, 0, 1]);
        assert_eq!((&record[36..40], &record[52..56]), (&[10, 0, 0, 2][..], &[0, 80, 1, 0][..]));
        assert_eq!((&record[64..66], &record[66..94]), (&[0x34, 2][..], &bytes[..]));
    }

    #[test]
    fn ends_are_found_where_they_are() {
        let ports = |kind, bytes: &[u8]| ends(&dropped(kind, bytes)).ports.to_vec();
        assert_eq!(ports(4, &inet(17, 0x2000)), [0, 80, 1, 0]);
        assert!(ports(2, &inet(17, 1)).is_empty() && ports(2, &inet(1, 0)).is_empty());
        let mut inet6 = vec![0x60, 0, 0, 0, 0, 0, 17, 64];
        inet6.extend(1..=36);
        assert_eq!(ends(&dropped(3, &inet6)).destination, (17..=32).collect::<Vec<u8>>());
        assert_eq!(ports(5, &inet6), [33, 34, 35, 36]);
        // Cut, of another version, with a header that is too short, of another type, nothing at all.
        for (kind, bytes) in [
            (2, &inet(6, 0)[..19]),
            (3, &inet6[..39]),
            (2, &inet6[..]),
            (2, &[0x44; 40][..]),
            (1, &inet6[..]),
            (2, &[]),
        ] {
            assert_eq!(ends(&dropped(kind, bytes)), Ends::default(), "{kind} {bytes:?}");
        }
    }
}
