//! Workers look up while entries come and go.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use vr_tables::bridge::{BridgeFlags, BridgeKey, BridgeTable, BridgeWriter};
use vr_tables::geometry::Geometry;
use vr_tables::grace::Grace;
use vr_tables::nexthop::NexthopSlot;
use vr_types::{Mac, NexthopId, VrfId, WorkerId};

/// Keys that stay.
const STAYING: u8 = 8;
const KEYS: u8 = 32;

fn key(n: u8) -> BridgeKey {
    BridgeKey::new(VrfId(1), Mac([2, 0, 0, 0, 0, n]))
}

fn set(writer: &mut BridgeWriter, n: u8, round: u32) -> bool {
    let value = round << 8 & 0x00ff_ff00 | u32::from(n);
    writer.set(key(n), (NexthopSlot(value), NexthopId(0)), value, BridgeFlags::LABEL_VALID).is_ok()
}

fn read(table: &BridgeTable, grace: &Grace, worker: WorkerId, stop: &AtomicBool) -> u64 {
    let mut hits = 0;
    loop {
        grace.enter(worker);
        for n in 0..KEYS {
            match table.lookup(key(n)) {
                Some(entry) => {
                    assert_eq!(entry.nexthop.0 as u8, n, "an entry of another key");
                    assert_eq!(entry.label, entry.nexthop.0, "halves of two values");
                    hits += 1;
                }
                None => assert!(n >= STAYING, "key {n} is there all the time"),
            }
        }
        grace.leave(worker);
        if stop.load(Relaxed) {
            return hits;
        }
    }
}

#[test]
fn readers_find_what_stays_and_never_a_mixture() {
    let table = Arc::new(BridgeTable::new(Geometry { entries: 8, overflow: 12 }, 2, None).unwrap());
    let mut writer = BridgeWriter::new(Arc::clone(&table));
    let grace = Grace::new(2);
    // Other keys first, so that some of those that stay are at the ends of chains.
    for n in STAYING..KEYS {
        set(&mut writer, n, 0);
        if n == 16 {
            (0..STAYING).for_each(|n| assert!(set(&mut writer, n, 0)));
        }
    }
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..2)
            .map(|w| {
                scope.spawn({
                    let (table, grace, stop) = (&table, &grace, &stop);
                    move || read(table, grace, WorkerId(w), stop)
                })
            })
            .collect();
        let mut changes = 0u32;
        for round in 0..20_000u32 {
            if round % 64 == 0 {
                // On a busy machine the readers might come only after the last round.
                std::thread::yield_now();
            }
            writer.recycle(&grace);
            // Steps without a common divisor visit the keys in ever new order.
            let n = STAYING + (round.wrapping_mul(7) % u32::from(KEYS - STAYING)) as u8;
            if round % 5 < 2 {
                writer.remove(key(n));
            } else {
                changes += u32::from(set(&mut writer, n, round));
            }
            changes += u32::from(set(&mut writer, (round % u32::from(STAYING)) as u8, round));
        }
        stop.store(true, Relaxed);
        let hits: u64 = readers.into_iter().map(|reader| reader.join().unwrap()).sum();
        assert!(hits > 0 && changes > 20_000, "{hits} hits, {changes} changes");
    });
}
