//! The building blocks of the fast lanes and of the control socket, one by one, each on random inputs of which every one is used in turn.

use std::hint::black_box;
use std::net::IpAddr;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use sandesh::messages::{FlowReq, FlowResponse};
use sandesh::netlink::{Header, ReplyWriter};
use sandesh::{Compat, decode, encode};
use vr_tables::fib::{Route, RouteFlags};
use vr_tables::flow::{FlowKey, FlowTable};
use vr_tables::geometry::Geometry;
use vr_tables::nexthop::NexthopSlot;
use vr_tables::rib::Rib;
use vr_tables::snapshot::Vrf;
use vr_types::{BridgeIndex, NexthopId, TunnelKind};
use vr_wire::encap::{EncapTemplate, Patch, ROOM, port};
use vr_wire::{checksum, hash};

/// Operations of one iteration.
const MANY: usize = 64;

/// Numbers that look random and are the same in every run.
fn numbers() -> impl Iterator<Item = u32> {
    std::iter::successors(Some(0x9e37_79b9_7f4a_7c15u64), |x| {
        let x = x ^ (x << 13);
        let x = x ^ (x >> 7);
        Some(x ^ (x << 17))
    })
    .map(|x| (x >> 32) as u32)
}

/// Slices of `MANY` items of `items`, in turn.
fn rounds<'a, T>(items: &'a [T]) -> impl FnMut() -> &'a [T] {
    let mut next = 0;
    move || {
        let slice = &items[next..next + MANY];
        next = (next + MANY) % (items.len() - MANY);
        slice
    }
}

fn hashes(c: &mut Criterion) {
    let keys: Vec<[u32; 5]> = numbers().take(4096).map(|n| [0x1102, n, 9, n ^ 7, !n]).collect();
    let mut group = c.benchmark_group("hash");
    group.throughput(Throughput::Elements(MANY as u64));
    group.bench_function("IPv4 flow keys", |b| {
        let mut next = rounds(&keys);
        b.iter(|| next().iter().fold(0, |sum, key| sum ^ hash::hash_words(key).0));
    });
}

fn checksums(c: &mut Criterion) {
    let bytes: Vec<u8> = numbers().map(|n| n as u8).take(1500).collect();
    let mut group = c.benchmark_group("checksum");
    for len in [20, 64, 1500] {
        group.throughput(Throughput::Bytes(len as u64));
        group.bench_function(format!("{len} bytes"), |b| b.iter(|| checksum::of(black_box(&bytes[..len]))));
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("after a change of 16 bits", |b| {
        b.iter(|| checksum::update_16(black_box(0x1234), black_box(0x4011), black_box(0x3f11)));
    });
}

fn encapsulation(c: &mut Criterion) {
    let ends = [IpAddr::from([172, 16, 0, 1]), IpAddr::from([172, 16, 0, 2])];
    let mut group = c.benchmark_group("outer headers");
    for kind in TunnelKind::ALL {
        let Ok(template) = EncapTemplate::new(kind, &[0; 14], ends[0], ends[1], port::MPLS, None) else {
            continue;
        };
        group.bench_function(kind.to_string(), |b| {
            let patch = Patch { payload: 50, id: 7, label: 27, ttl: 63, source_port: 50_000 };
            let mut out = [0; ROOM];
            b.iter(|| template.write(black_box(&mut out), black_box(patch)));
        });
    }
}

fn flow_lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("flow lookup");
    group.throughput(Throughput::Elements(MANY as u64));
    for flows in [10_000, 1_000_000] {
        let keys: Vec<FlowKey> = numbers()
            .take(flows)
            .map(|n| FlowKey::inet(17, n.to_be_bytes(), NexthopId(9), [10, 0, 0, 4], (!n).to_be_bytes()))
            .collect();
        let entries = (2 * flows as u32).next_power_of_two();
        let Ok(table) = FlowTable::new(Geometry::with_default_overflow(entries), 1, None) else { continue };
        for key in &keys {
            // Two equal ones among them do not matter.
            let _ = table.insert(key, key.hash(), |_| {});
        }
        // Not in the order in which they were inserted.
        let wanted: Vec<FlowKey> =
            numbers().skip(flows).take(flows).map(|n| keys[n as usize % flows]).collect();
        group.bench_function(format!("{flows} flows, in stages"), |b| {
            let mut next = rounds(&wanted);
            let mut hashes = [wanted[0].hash(); MANY];
            let mut found = [None; MANY];
            b.iter(|| {
                let keys = next();
                for (hash, key) in hashes.iter_mut().zip(keys) {
                    *hash = key.hash();
                    table.locate(*hash);
                }
                for (found, hash) in found.iter_mut().zip(&hashes) {
                    *found = table.candidate(*hash);
                }
                let hit = |(found, key): (&Option<_>, &FlowKey)| found.and_then(|at| table.check(at, key));
                found.iter().zip(keys).filter_map(hit).count()
            });
        });
        group.bench_function(format!("{flows} flows, one by one"), |b| {
            let mut next = rounds(&wanted);
            b.iter(|| next().iter().filter_map(|key| table.find(key, key.hash())).count());
        });
    }
}

fn route_lookups(c: &mut Criterion) {
    let mut group = c.benchmark_group("IPv4 route lookup");
    group.throughput(Throughput::Elements(MANY as u64));
    for routes in [10, 100_000] {
        let (vrf, addresses) = table_of(routes);
        group.bench_function(format!("{routes} routes"), |b| {
            let mut next = rounds(&addresses);
            b.iter(|| next().iter().fold(0, |sum, address| sum ^ vrf.inet.lookup(address).nexthop.0));
        });
    }
}

/// A table of /24 networks and addresses in them.
fn table_of(routes: u32) -> (Vrf, Vec<[u8; 4]>) {
    let mut vrf = Vrf::default();
    let mut rib = Rib::default();
    for n in 0..routes {
        let route = Route::new(NexthopSlot(n), 0, RouteFlags::empty(), BridgeIndex::NONE, 24);
        rib.insert(&mut vrf.inet, (0x1400_0000 + n * 256).to_be_bytes(), route);
    }
    let addresses =
        numbers().take(1 << 16).map(|n| (0x1400_0000 + n % (routes * 256)).to_be_bytes()).collect();
    (vrf, addresses)
}

fn messages(c: &mut Criterion) {
    let mut group = c.benchmark_group("message");
    let request = FlowReq { fr_flow_sip_l: 0x0a00_0001, fr_index: 4711, ..FlowReq::default() };
    let mut payload = Vec::new();
    (0..14).for_each(|_| encode(&request, Compat::Current, &mut payload));
    group.throughput(Throughput::Elements(14));
    group.bench_function("requests for flows, read", |b| {
        b.iter(|| decode(black_box(&payload), Compat::Current).flatten().count());
    });
    let (header, response) =
        (Header::request(1), FlowResponse { fresp_index: 4711, ..FlowResponse::default() });
    let mut out = Vec::new();
    group.bench_function("replies to them, written", |b| {
        b.iter(|| {
            out.clear();
            let mut replies = ReplyWriter::new(&header, Compat::Current, &mut out);
            for _ in 0..14 {
                replies.response(0);
                replies.object(black_box(&response));
            }
            out.len()
        });
    });
}

criterion_group!(blocks, hashes, checksums, encapsulation, flow_lookups, route_lookups, messages);
criterion_main!(blocks);
