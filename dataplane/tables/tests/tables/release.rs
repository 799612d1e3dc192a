//! Shared files as R2.20 lays them out (control.md 5.2, 5.3), byte by byte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{BridgeSpec, FlowReply, FlowSpec, Limits, Tables, TablesConfig, VifSpec};
use vr_tables::flow::{FlowAction, FlowFlags, TcpFlags};
use vr_tables::geometry::Geometry;
use vr_tables::options::Options;
use vr_tables::vif::VifKind;
use vr_types::{FlowIndex, Release, VrfId, WorkerId};

use crate::support::{ENCAP, GUEST, NoPorts, VRF, bridge, encap, flow};

const GEOMETRY: Geometry = Geometry { entries: 8, overflow: 4 };

/// Tables with their files, a guest and its nexthop.
fn tables(release: Release, directory: &Path) -> Tables {
    let limits = Limits { vrfs: 8, nexthops: 16, flows: GEOMETRY, bridge: GEOMETRY, ..Limits::default() };
    let mut tables = Tables::new(TablesConfig {
        limits,
        directory: Some(directory.to_owned()),
        options: Options { release, ..Options::default() },
        ..TablesConfig::default()
    })
    .unwrap();
    let guest = VifSpec::new(GUEST, VifKind::Virtual, "guest");
    tables.vif_add(&guest, &mut NoPorts).unwrap();
    tables.nexthop_add(&encap(ENCAP, GUEST)).unwrap();
    tables.publish();
    tables
}

fn entry<const N: usize>(directory: &Path, file: &str, index: u32) -> [u8; N] {
    let mut bytes = [0; N];
    let file = File::open(directory.join(file)).unwrap();
    assert_eq!(file.metadata().unwrap().len(), (GEOMETRY.total() * N) as u64);
    file.read_exact_at(&mut bytes, u64::from(index) * N as u64).unwrap();
    bytes
}

fn flow_entry(directory: &Path, index: FlowIndex) -> [u8; 128] {
    entry(directory, "flow.shmem", index.0)
}

fn set(tables: &mut Tables, spec: &FlowSpec) -> FlowReply {
    let reply = tables.flow_set(spec, &mut NoPorts);
    assert!(reply.result.is_ok(), "{:?}", reply.result);
    reply
}

#[test]
fn a_flow_entry_has_128_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = tables(Release::R220, directory.path());
    let made = set(&mut tables, &flow(1));
    let index = made.index.unwrap();
    let spec = FlowSpec {
        index: Some(index),
        generation: made.generation,
        action: Some(FlowAction::Drop),
        flags: FlowFlags::ACTIVE | FlowFlags::VRFT | FlowFlags::MIRROR,
        dvrf: VrfId(3),
        mirrors: [7, 9],
        ecmp_index: 2,
        source_nexthop: 0x1234,
        drop_reason: 0xd,
        ..flow(1)
    };
    set(&mut tables, &spec);
    for _ in 0..2 {
        tables.flow_table().count(index, WorkerId(0), 100);
    }
    tables.flow_folding().run();
    tables.flow_table().set_tcp_flags(index, TcpFlags::SYN);

    let mut wanted = [0; 128];
    let mut put = |at: usize, bytes: &[u8]| wanted[at..at + bytes.len()].copy_from_slice(bytes);
    put(8, &index.0.to_le_bytes());
    put(12, &(index.0 & !3).to_le_bytes());
    put(16, &[0xff; 4]);
    put(20, &[1]);
    // The key: ports, addresses, nexthop, protocol, length.
    put(21, &[0, 1, 0, 80, 10, 0, 0, 1, 10, 0, 0, 2]);
    put(33, &ENCAP.0.to_le_bytes());
    put(37, &[6, 17]);
    put(40, &[0x08, 0]);
    put(54, &[0, 0]);
    put(56, &[0x01, 0x60]);
    put(58, &[0xff; 4]);
    put(62, &VRF.0.to_le_bytes());
    put(64, &[3, 0, 0x34, 0x12, 7, 9]);
    put(70, &[200, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0]);
    put(81, &[2, 0xd, 2]);
    let entry = flow_entry(directory.path(), index);
    let port = [entry[84], entry[85]];
    assert!(u16::from_le_bytes(port) >= 49_152, "the source port of the outer header");
    put(84, &port);
    assert_eq!(entry, wanted);
}

#[test]
fn an_entry_of_the_current_release_has_256_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = tables(Release::Current, directory.path());
    let made = set(&mut tables, &FlowSpec { action: Some(FlowAction::Drop), drop_reason: 0x15, ..flow(1) });
    let entry: [u8; 256] = entry(directory.path(), "flow.shmem", made.index.unwrap().0);
    assert_eq!(entry[24..26], [2, 6]);
    assert_eq!((entry[69], entry[116], entry[117]), (made.generation, 0x15, 2));
    assert_eq!(tables.flow_table().view(made.index.unwrap()), None);
}

#[test]
fn what_is_removed_is_zeroed() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = tables(Release::R220, directory.path());
    let made = set(&mut tables, &flow(1));
    let index = made.index.unwrap();
    let gone =
        FlowSpec { index: Some(index), generation: made.generation, flags: FlowFlags::empty(), ..flow(1) };
    set(&mut tables, &gone);
    assert_eq!(flow_entry(directory.path(), index)[56] & 0x40, 0x40, "marked until workers are done with it");
    tables.housekeep();
    tables.housekeep();
    let entry = flow_entry(directory.path(), index);
    assert_eq!((&entry[..16], &entry[20..]), (&[0; 16][..], &[0; 108][..]));
}

/// Two buckets of four: the others are chained to the fourth entry.
#[test]
fn chains_can_be_followed() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = tables(Release::R220, directory.path());
    let mut last = None;
    for port in 1..=u8::MAX {
        let reply = tables.flow_set(&flow(port), &mut NoPorts);
        if let Some(index) = reply.index.filter(|_| reply.result.is_ok())
            && index.0 >= GEOMETRY.entries
        {
            last = Some(index);
            break;
        }
    }
    let overflow = last.expect("a bucket is full");
    let entry = flow_entry(directory.path(), overflow);
    let bucket = u32::from_le_bytes(*entry[12..].first_chunk().unwrap());
    let fourth = flow_entry(directory.path(), FlowIndex(bucket + 3));
    assert_eq!(fourth[16..20], overflow.0.to_le_bytes());
    assert_eq!(entry[16..20], [0xff; 4]);
}

/// Bytes of the view follow whatever several threads do to an entry at once.
#[test]
fn the_last_copy_has_every_change() {
    let directory = tempfile::tempdir().unwrap();
    let mut tables = tables(Release::R220, directory.path());
    let made = set(&mut tables, &flow(1));
    let index = made.index.unwrap();
    let table = Arc::clone(tables.flow_table());
    for round in 0..2000_u32 {
        let flags = [TcpFlags::SYN, TcpFlags::FIN, TcpFlags::ESTABLISHED][round as usize % 3];
        std::thread::scope(|scope| {
            scope.spawn(|| table.set_tcp_flags(index, flags));
            let shared = table.shared(index).unwrap();
            shared.source_nexthop.store(round, Relaxed);
            table.show(index);
        });
        let view = table.view(index).unwrap();
        let tcp = table.shared(index).unwrap().tcp_flags().bits();
        assert_eq!(
            (&view[40..42], &view[66..68]),
            (&tcp.to_le_bytes()[..], &(round as u16).to_le_bytes()[..])
        );
    }
}

#[test]
fn bridge_entries_of_both_releases() {
    for release in [Release::R220, Release::Current] {
        let directory = tempfile::tempdir().unwrap();
        let mut tables = tables(release, directory.path());
        let spec = BridgeSpec { label: 0x1234, flags: BridgeFlags::LABEL_VALID, ..bridge(1, ENCAP) };
        tables.bridge_add(&spec).unwrap();
        let index = tables.bridge_entries(VRF, None).next().unwrap().entry.index;
        tables.bridge_table().counting(WorkerId(0)).count(index);
        tables.bridge_table().fold();
        let entry: [u8; 64] = entry(directory.path(), "bridge.shmem", index.0);
        let mut wanted = [0; 64];
        let mut put = |at: usize, bytes: &[u8]| wanted[at..at + bytes.len()].copy_from_slice(bytes);
        put(8, &index.0.to_le_bytes());
        put(20, &[1, 2, 0, 0, 0, 1, 1, VRF.0 as u8, 0]);
        match release {
            Release::R220 => put(37, &[0x34, 0x12, 0, 0, 3, 0]),
            Release::Current => {
                put(37, &[1]);
                put(45, &[0x34, 0x12]);
                put(49, &ENCAP.0.to_le_bytes());
                put(53, &[3]);
            }
        }
        assert_eq!(entry, wanted, "{release:?}");
    }
}
