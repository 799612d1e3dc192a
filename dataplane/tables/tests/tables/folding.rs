//! Counters reach the shared half, and entries follow their packets to other workers.

use std::os::unix::fs::FileExt;
use std::sync::{Arc, Barrier};

use vr_tables::bridge::BridgeTable;
use vr_tables::control::Tables;
use vr_tables::flow::FlowTable;
use vr_tables::geometry::Geometry;
use vr_types::{BridgeIndex, FlowIndex, WorkerId};

use crate::support::{NoPorts, flow, node};

const FIRST: WorkerId = WorkerId(0);
const SECOND: WorkerId = WorkerId(1);

fn flow_of(tables: &mut Tables) -> (Arc<FlowTable>, FlowIndex) {
    let reply = tables.flow_set(&flow(1), &mut NoPorts);
    reply.result.unwrap();
    (Arc::clone(tables.flow_table()), reply.index.unwrap())
}

fn owner(table: &FlowTable, index: FlowIndex) -> Vec<WorkerId> {
    let state = table.hot(index).unwrap().state();
    [FIRST, SECOND].into_iter().filter(|worker| state.is_owned_by(*worker)).collect()
}

#[test]
fn a_flow_whose_packets_moved_gets_a_new_owner() {
    let mut tables = node();
    let (table, index) = flow_of(&mut tables);
    let mut folding = tables.flow_folding();
    let grace = Arc::clone(tables.grace());
    for _ in 0..3 {
        table.count(index, FIRST, 100);
    }
    assert_eq!(owner(&table, index), [FIRST]);
    assert!(folding.run() > 0);
    for _ in 0..2 {
        assert_eq!(owner(&table, index), [FIRST], "it may be one packet that went astray");
        table.count(index, SECOND, 100);
        folding.run();
    }
    assert_eq!(owner(&table, index), []);
    // The former owner may still count on the entry in the batch that it is in.
    grace.enter(FIRST);
    table.hot(index).unwrap().count(100);
    table.touch(index, FIRST);
    folding.run();
    grace.leave(FIRST);
    table.count(index, SECOND, 100);
    folding.run();
    table.count(index, SECOND, 100);
    assert_eq!(owner(&table, index), [SECOND]);
    folding.run();
    assert_eq!(table.counters(index), (8, 800));
    assert_eq!(table.shared(index).unwrap().counters(), (8, 800));
    assert_eq!(folding.run(), 0, "nothing was touched");
}

#[test]
fn an_entry_waits_for_the_batch_of_its_former_owner() {
    let mut tables = node();
    let (table, index) = flow_of(&mut tables);
    let mut folding = tables.flow_folding();
    let grace = Arc::clone(tables.grace());
    table.count(index, FIRST, 1);
    grace.enter(FIRST);
    for _ in 0..4 {
        table.count(index, SECOND, 1);
        folding.run();
        assert_ne!(owner(&table, index), [SECOND]);
    }
    grace.leave(FIRST);
    folding.run();
    table.count(index, SECOND, 1);
    assert_eq!(owner(&table, index), [SECOND]);
    assert_eq!(table.counters(index), (6, 6));
}

#[test]
fn an_entry_of_two_workers_keeps_its_owner() {
    let mut tables = node();
    let (table, index) = flow_of(&mut tables);
    let mut folding = tables.flow_folding();
    for round in 1..20 {
        table.count(index, FIRST, 1);
        table.count(index, SECOND, 1);
        folding.run();
        assert_eq!(owner(&table, index), [FIRST]);
        assert_eq!(table.shared(index).unwrap().counters(), (2 * round, 2 * round));
    }
}

/// A worker counts while folding runs; whatever comes first, the next round has the count.
#[test]
fn no_count_is_left_behind() {
    const ROUNDS: u64 = 3000;
    const PACKETS: u64 = 37;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bridge");
    let bridge = BridgeTable::new(Geometry { entries: 8, overflow: 0 }, 2, Some(&path)).unwrap();
    let file = std::fs::File::open(path).unwrap();
    let mut tables = node();
    let (table, index) = flow_of(&mut tables);
    let mut folding = tables.flow_folding();
    let barrier = Barrier::new(2);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                barrier.wait();
                table.count(index, FIRST, 10);
                bridge.counting(FIRST).count(BridgeIndex(5));
                barrier.wait();
            }
        });
        for round in 1..=ROUNDS {
            barrier.wait();
            folding.run();
            bridge.fold();
            barrier.wait();
            folding.run();
            bridge.fold();
            assert_eq!(table.shared(index).unwrap().counters(), (round, 10 * round));
            let mut packets = [0; 8];
            file.read_exact_at(&mut packets, 5 * BridgeTable::ENTRY_SIZE as u64 + PACKETS).unwrap();
            assert_eq!(u64::from_le_bytes(packets), round);
        }
    });
}
