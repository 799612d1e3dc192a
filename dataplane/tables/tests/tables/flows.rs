//! The flow table against a map.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

use proptest::prelude::*;
use vr_tables::flow::{FlowAction, FlowKey, FlowTable, InsertError};
use vr_tables::geometry::Geometry;
use vr_types::{FlowIndex, NexthopId, WorkerId};

const SMALL: Geometry = Geometry { entries: 8, overflow: 6 };

fn key(n: u16) -> FlowKey {
    let [a, b] = n.to_be_bytes();
    if n.is_multiple_of(3) {
        // Two IPv6 keys that are the same in the words of an IPv4 key.
        let mut destination = [0xfd; 16];
        destination[15] = b;
        FlowKey::inet6(6, [0, 0, a, 80], NexthopId(7), [1; 16], destination)
    } else {
        FlowKey::inet(17, [a, b, 0, 53], NexthopId(7), [10, 0, 0, 1], [10, 0, 0, 2])
    }
}

#[derive(Clone, Debug)]
enum Op {
    Insert(u16),
    Unlink(u16),
    /// The oldest of those that were unlinked.
    Release,
    Count(u16, u8),
    Drop(u16),
}

fn op() -> impl Strategy<Value = Op> {
    let key = 0..24u16;
    prop_oneof![
        4 => key.clone().prop_map(Op::Insert),
        2 => key.clone().prop_map(Op::Unlink),
        2 => Just(Op::Release),
        1 => (key.clone(), 0..2u8).prop_map(|(key, worker)| Op::Count(key, worker)),
        1 => key.prop_map(Op::Drop),
    ]
}

#[derive(Clone, Copy)]
struct Entry {
    index: u32,
    packets: u64,
    bytes: u64,
    action: FlowAction,
}

struct Model {
    table: FlowTable,
    flows: BTreeMap<u16, Entry>,
    /// Unlinked and not released, oldest first.
    leaving: Vec<u32>,
    generations: BTreeMap<u32, u8>,
}

impl Model {
    fn occupied(&self) -> BTreeSet<u32> {
        self.flows.values().map(|entry| entry.index).chain(self.leaving.iter().copied()).collect()
    }

    fn insert(&mut self, n: u16) -> Result<(), TestCaseError> {
        let (key, hash) = (key(n), key(n).hash());
        let bucket = SMALL.bucket(hash.primary);
        let occupied = self.occupied();
        let free = (bucket..bucket + 4).find(|index| !occupied.contains(index));
        let overflow =
            (SMALL.entries..SMALL.total() as u32).filter(|index| !occupied.contains(index)).count();
        let result = self.table.insert(&key, hash, |shared| shared.vrf.store(n, Relaxed));
        if let Some(entry) = self.flows.get(&n) {
            prop_assert_eq!(result, Err(InsertError::Exists(FlowIndex(entry.index))));
            return Ok(());
        }
        let index = match (result, free) {
            (Ok(FlowIndex(index)), Some(free)) => {
                prop_assert_eq!(index, free, "the first free entry of the bucket");
                index
            }
            (Ok(FlowIndex(index)), None) => {
                prop_assert!(index >= SMALL.entries && !occupied.contains(&index));
                index
            }
            (Err(error), free) => {
                prop_assert_eq!((error, free, overflow), (InsertError::Full, None, 0));
                return Ok(());
            }
        };
        let generation = self.generations.entry(index).or_default();
        *generation = generation.wrapping_add(1);
        self.flows.insert(n, Entry { index, packets: 0, bytes: 0, action: FlowAction::Hold });
        Ok(())
    }

    fn apply(&mut self, op: &Op) -> Result<(), TestCaseError> {
        match *op {
            Op::Insert(n) => self.insert(n)?,
            Op::Unlink(n) => {
                if let Some(entry) = self.flows.remove(&n) {
                    prop_assert!(self.table.unlink(FlowIndex(entry.index)));
                    prop_assert!(self.table.in_use(FlowIndex(entry.index)), "not before it is released");
                    self.leaving.push(entry.index);
                }
            }
            Op::Release => {
                if !self.leaving.is_empty() {
                    self.table.release(FlowIndex(self.leaving.remove(0)));
                }
            }
            Op::Count(n, worker) => {
                if let Some(entry) = self.flows.get_mut(&n) {
                    self.table.count(FlowIndex(entry.index), WorkerId(worker), 100);
                    entry.packets += 1;
                    entry.bytes += 100;
                }
            }
            Op::Drop(n) => {
                if let Some(entry) = self.flows.get_mut(&n) {
                    self.table.modify(FlowIndex(entry.index), |_| (FlowAction::Drop, false));
                    entry.action = FlowAction::Drop;
                }
            }
        }
        Ok(())
    }

    fn check(&self) -> Result<(), TestCaseError> {
        for n in 0..24 {
            let (key, hash) = (key(n), key(n).hash());
            let found = self.table.find(&key, hash);
            let Some(entry) = self.flows.get(&n) else {
                prop_assert_eq!(found, None);
                continue;
            };
            let index = FlowIndex(entry.index);
            prop_assert_eq!(found, Some(index));
            let shared = self.table.shared(index).unwrap();
            prop_assert_eq!(shared.key(), Some(key));
            prop_assert_eq!((shared.vrf.load(Relaxed), shared.index.load(Relaxed)), (n, entry.index));
            prop_assert_eq!(shared.generation.load(Relaxed), self.generations[&entry.index]);
            let (_, state) = self.table.check(index, &key).unwrap();
            prop_assert_eq!(
                (state.action(), state.generation()),
                (entry.action, self.generations[&entry.index])
            );
            prop_assert_eq!(self.table.counters(index), (entry.packets, entry.bytes));
        }
        let occupied = self.occupied();
        let overflow = occupied.iter().filter(|index| **index >= SMALL.entries).count();
        prop_assert_eq!(self.table.used(), ((occupied.len() - overflow) as u32, overflow as u32));
        let in_use: BTreeSet<u32> = self.table.indexes().map(|index| index.0).collect();
        prop_assert_eq!(in_use, occupied);
        self.check_chains()
    }

    /// Clients find the overflow entries of a bucket along the links, from its fourth entry on.
    fn check_chains(&self) -> Result<(), TestCaseError> {
        let next = |index: u32| self.table.shared(FlowIndex(index)).unwrap().next_index.load(Relaxed);
        for bucket in (0..SMALL.entries).step_by(4) {
            let of_bucket = |(n, entry): (&u16, &Entry)| {
                let here = SMALL.bucket(key(*n).hash().primary) == bucket && entry.index >= SMALL.entries;
                here.then_some(entry.index)
            };
            let expected: BTreeSet<u32> = self.flows.iter().filter_map(of_bucket).collect();
            let mut chain = BTreeSet::new();
            let mut at = next(bucket + 3);
            while at >= SMALL.entries && at != u32::MAX {
                prop_assert!(chain.insert(at), "a circle");
                at = next(at);
            }
            prop_assert_eq!(chain, expected);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn the_flow_table_is_a_map_with_places(ops in prop::collection::vec(op(), 0..150)) {
        let table = FlowTable::new(SMALL, 2, None).unwrap();
        let mut model =
            Model { table, flows: BTreeMap::new(), leaving: Vec::new(), generations: BTreeMap::new() };
        for op in &ops {
            model.apply(op)?;
            model.check()?;
        }
    }
}

/// The worked examples of test-rig.md 4.
#[test]
fn flows_are_where_the_original_puts_them() {
    let table = FlowTable::new(Geometry::FLOW, 1, None).unwrap();
    let icmp = FlowKey::inet(1, [0x04, 0x70, 0, 0], NexthopId(23), [1, 1, 1, 7], [2, 1, 1, 4]);
    let ports = |source: u16, destination: u16| {
        let ([a, b], [c, d]) = (source.to_be_bytes(), destination.to_be_bytes());
        [a, b, c, d]
    };
    let udp = FlowKey::inet(17, ports(10_000, 20_000), NexthopId(38), [1, 1, 1, 3], [2, 2, 2, 3]);
    for (key, index) in [(icmp, 338_668), (udp, 136_136)] {
        assert_eq!(table.insert(&key, key.hash(), |_| {}), Ok(FlowIndex(index)));
        assert_eq!(table.shared(FlowIndex(index)).unwrap().key(), Some(key));
    }
    assert_eq!(table.used(), (2, 0));
    assert_eq!(table.geometry().total() * 256, 161_218_560);
}

#[test]
fn a_generation_goes_round() {
    let table = FlowTable::new(Geometry { entries: 4, overflow: 0 }, 1, None).unwrap();
    let (one, other) = (key(1), key(2));
    for round in 1..=600u32 {
        let key = if round.is_multiple_of(2) { one } else { other };
        let index = table.insert(&key, key.hash(), |_| {}).unwrap();
        assert_eq!(index, FlowIndex(0));
        let (hot, state) = table.check(index, &key).unwrap();
        assert_eq!(u32::from(state.generation()), round & 0xff);
        assert!(hot.compiled(state, 0, &vr_tables::epochs::NexthopEpochs::default()).is_none());
        assert!(table.unlink(index));
        assert!(!table.unlink(FlowIndex(1)), "nobody is there");
        table.release(index);
    }
}
