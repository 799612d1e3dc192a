//! The bridge table against a map.

use std::collections::BTreeMap;
use std::sync::Arc;

use proptest::prelude::*;
use vr_tables::bridge::{BridgeFlags, BridgeKey, BridgeTable, BridgeWriter};
use vr_tables::geometry::Geometry;
use vr_tables::grace::Grace;
use vr_tables::nexthop::NexthopSlot;
use vr_types::{BridgeIndex, Mac, NexthopId, VrfId, WorkerId};

const SMALL: Geometry = Geometry { entries: 8, overflow: 5 };

fn key(n: u8) -> BridgeKey {
    BridgeKey::new(VrfId(1 + u16::from(n % 2)), Mac([2, 0, 0, 0, 0, n]))
}

/// The first position of the bucket of a key, found out by a table in which everything is free.
fn bucket(n: u8) -> u32 {
    let table = Arc::new(BridgeTable::new(SMALL, 1, None).unwrap());
    let mut writer = BridgeWriter::new(table);
    writer.set(key(n), (NexthopSlot(1), NexthopId(1)), 0, BridgeFlags::empty()).unwrap().0
}

proptest! {
    #[test]
    fn the_bridge_table_is_a_map_with_places(
        ops in prop::collection::vec((0..24u8, prop::option::weighted(0.65, any::<u16>())), 0..150),
    ) {
        let buckets: Vec<u32> = (0..24).map(bucket).collect();
        let table = Arc::new(BridgeTable::new(SMALL, 2, None).unwrap());
        let mut writer = BridgeWriter::new(Arc::clone(&table));
        let grace = Grace::new(2);
        // Per key: position, value, packets.
        let mut model: BTreeMap<u8, (u32, u16, u64)> = BTreeMap::new();
        for (n, value) in ops {
            writer.recycle(&grace);
            let used: Vec<u32> = model.values().map(|(index, ..)| *index).collect();
            if let Some(value) = value {
                let bucket = buckets[usize::from(n)];
                let free = (bucket..bucket + 4).find(|index| !used.contains(index));
                let overflow = used.iter().filter(|index| **index >= SMALL.entries).count();
                let nexthop = (NexthopSlot(u32::from(value)), NexthopId(u32::from(value)));
                let label = 0xff_ff00 | u32::from(n);
                match (writer.set(key(n), nexthop, label, BridgeFlags::LABEL_VALID), model.get_mut(&n)) {
                    (Ok(index), Some(old)) => {
                        prop_assert_eq!(index.0, old.0, "a change does not move an entry");
                        old.1 = value;
                    }
                    (Ok(index), None) => {
                        match free {
                            Some(free) => prop_assert_eq!(index.0, free),
                            None => prop_assert!(index.0 >= SMALL.entries && !used.contains(&index.0)),
                        }
                        model.insert(n, (index.0, value, 0));
                    }
                    (Err(_), old) => {
                        prop_assert!(old.is_none() && free.is_none() && overflow == SMALL.overflow as usize);
                    }
                }
            } else {
                prop_assert_eq!(writer.remove(key(n)), model.remove(&n).is_some());
            }
            if let Some((index, _, packets)) = model.get_mut(&n) {
                table.counting(WorkerId(n % 2)).count(BridgeIndex(*index));
                *packets += 1;
            }
            for n in 0..24 {
                let found = table.lookup(key(n));
                prop_assert_eq!(found.map(|entry| (entry.index.0, entry.nexthop.0 as u16)),
                    model.get(&n).map(|(index, value, _)| (*index, *value)));
                if let Some(entry) = found {
                    prop_assert_eq!(entry.valid_label(), Some(0xff_ff00 | u32::from(n)));
                    prop_assert_eq!(table.packets(entry.index), model[&n].2);
                    prop_assert_eq!(table.entry(entry.index).map(|(key, _)| key), Some(key(n)));
                }
            }
            let overflow = model.values().filter(|(index, ..)| *index >= SMALL.entries).count() as u32;
            prop_assert_eq!(writer.used(), (model.len() as u32 - overflow, overflow));
        }
        for vrf in [1, 2] {
            let dumped: Vec<u32> = writer.iter(VrfId(vrf), None).map(|(_, entry)| entry.index.0).collect();
            let of_vrf = |(n, (index, ..)): (&u8, &(u32, u16, u64))| (key(*n).vrf() == VrfId(vrf)).then_some(*index);
            let mut expected: Vec<u32> = model.iter().filter_map(of_vrf).collect();
            expected.sort_unstable();
            prop_assert_eq!(dumped, expected);
        }
        writer.clear();
        prop_assert_eq!(writer.used(), (0, 0));
        prop_assert!((0..24).all(|n| table.lookup(key(n)).is_none()));
    }
}

#[test]
fn an_overflow_entry_is_not_reused_while_a_worker_may_stand_on_it() {
    let table = Arc::new(BridgeTable::new(Geometry { entries: 4, overflow: 1 }, 1, None).unwrap());
    let mut writer = BridgeWriter::new(table);
    let grace = Grace::new(1);
    let set = |writer: &mut BridgeWriter, n| {
        writer.set(key(n), (NexthopSlot(1), NexthopId(1)), 0, BridgeFlags::empty()).ok()
    };
    for n in 0..5 {
        assert_eq!(set(&mut writer, n), Some(BridgeIndex(u32::from(n))));
    }
    grace.enter(WorkerId(0));
    assert!(writer.remove(key(4)));
    writer.recycle(&grace);
    assert_eq!(set(&mut writer, 5), None);
    grace.leave(WorkerId(0));
    writer.recycle(&grace);
    assert_eq!(set(&mut writer, 5), Some(BridgeIndex(4)));
}
