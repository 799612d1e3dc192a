//! Tables for ten million flows.

use vr_tables::control::{Limits, Tables, TablesConfig};
use vr_tables::flow::{FlowKey, FlowTable};
use vr_tables::geometry::Geometry;
use vr_types::{FlowIndex, NexthopId, WorkerId};

const TEN_MILLION: Geometry = Geometry::with_default_overflow(10_000_000);
const WORKER: WorkerId = WorkerId(0);

fn key(n: u32) -> FlowKey {
    let [a, b, c, d] = n.to_be_bytes();
    FlowKey::inet(17, [c, d, 0, 53], NexthopId(1), [10, 0, a, b], [10, 0, 0, 2])
}

fn tables(flows: Geometry) -> Tables {
    let limits = Limits { flows, ..Limits::default() };
    limits.check().unwrap();
    Tables::new(TablesConfig { limits, workers: 2, ..TablesConfig::default() }).unwrap()
}

fn insert(table: &FlowTable, n: u32) -> FlowIndex {
    let index = table.insert(&key(n), key(n).hash(), |_| {}).unwrap();
    assert_eq!(table.find(&key(n), key(n).hash()), Some(index));
    assert_eq!(table.candidate(key(n).hash()), Some(index));
    index
}

/// The last entries of all structures are reached: buckets, overflow area, marks and counters.
#[test]
fn every_entry_of_a_table_for_ten_million_flows_can_be_used() {
    let tables = tables(TEN_MILLION);
    let (table, mut folding) = (tables.flow_table(), tables.flow_folding());
    let bucket = |n: u32| TEN_MILLION.bucket(key(n).hash().primary);
    // A flow of the last bucket, and more than four of one near the end.
    let last = (0..u32::MAX).find(|n| bucket(*n) == TEN_MILLION.entries - 4).unwrap();
    let index = insert(table, last);
    assert_eq!(index, FlowIndex(TEN_MILLION.entries - 4));
    let crowd: Vec<u32> =
        (last + 1..u32::MAX).filter(|n| bucket(*n) == TEN_MILLION.entries - 4).take(5).collect();
    let indexes: Vec<FlowIndex> = crowd.iter().map(|n| insert(table, *n)).collect();
    assert_eq!((indexes[2], table.used()), (FlowIndex(TEN_MILLION.entries - 1), (4, 2)));
    assert!(indexes[3..].iter().all(|index| index.0 >= TEN_MILLION.entries));
    for index in indexes.iter().chain([&index]) {
        table.count(*index, WORKER, 100);
    }
    folding.run();
    for index in &indexes {
        assert_eq!(table.shared(*index).unwrap().counters(), (1, 100));
    }
    let wide = FlowIndex(TEN_MILLION.total() as u32 - 1);
    assert!(table.hot(wide).is_some() && table.shared(wide).is_some());
    assert!(table.hot(FlowIndex(wide.0 + 1)).is_none());
}

/// One that names ten million flows, and the largest that can be configured.
#[test]
fn ten_million_flows_take_less_than_five_gib() {
    for (geometry, most) in
        [(TEN_MILLION, 5u64 << 30), (Geometry { entries: 1 << 23, overflow: 1 << 21 }, 4 << 30)]
    {
        let tables = tables(geometry);
        let memory = tables.flow_table().memory();
        let sum: u64 = memory.iter().map(|(_, bytes)| *bytes as u64).sum();
        assert!(sum < most, "{sum} bytes: {memory:?}");
        assert!(sum > geometry.total() as u64 * (256 + 64), "something is missing: {memory:?}");
    }
    let (_, most) = Limits::FLOWS;
    let tables = tables(Geometry { entries: most, overflow: 0 });
    insert(tables.flow_table(), 1);
}
