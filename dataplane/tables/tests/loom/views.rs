//! Copies of entries for R2.20.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{Relaxed, SeqCst};
use loom::sync::atomic::{AtomicU32, fence};
use loom::thread;

use crate::model;

/// `FlowTable::show`: two change a field each and copy the entry then. The last copy has both changes.
#[test]
fn the_last_copy_has_every_change() {
    model(|| {
        let entry =
            Arc::new(([AtomicU32::new(0), AtomicU32::new(0)], [AtomicU32::new(0), AtomicU32::new(0)]));
        let change = |entry: &([AtomicU32; 2], [AtomicU32; 2]), field: usize| {
            let (shared, view) = entry;
            let read = || [0, 1].map(|field: usize| shared[field].load(Relaxed));
            shared[field].store(1, Relaxed);
            fence(SeqCst);
            let mut words = read();
            // Each of the two changes once, so that three rounds are enough.
            for _ in 0..3 {
                for (cell, word) in view.iter().zip(words) {
                    if cell.load(Relaxed) != word {
                        cell.store(word, Relaxed);
                    }
                }
                fence(SeqCst);
                let now = read();
                if now == words {
                    return;
                }
                words = now;
            }
            panic!("it changes all the time");
        };
        let other = thread::spawn({
            let entry = Arc::clone(&entry);
            move || change(&entry, 1)
        });
        change(&entry, 0);
        other.join().unwrap();
        assert_eq!([0, 1].map(|field: usize| entry.1[field].load(Relaxed)), [1, 1]);
    });
}
