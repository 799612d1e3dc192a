//! Publication of immutable snapshots from one writer to many workers.
//!
//! The writer keeps a reference to every snapshot that it has replaced and frees one only when no reader
//! holds it any more, so a worker never frees memory and never waits: it looks at a generation counter once
//! per batch and exchanges its reference when that has moved. The lock is held for the exchange of one
//! pointer; a worker that finds it taken goes on with the snapshot that it has.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

struct Shared<T> {
    generation: AtomicU64,
    current: Mutex<Arc<T>>,
}

/// The writing side; there is one.
pub struct Publisher<T> {
    shared: Arc<Shared<T>>,
    retired: Vec<Arc<T>>,
}

impl<T> Publisher<T> {
    /// Publishes a first value.
    #[must_use]
    pub fn new(value: T) -> Self {
        let shared = Shared { generation: AtomicU64::new(1), current: Mutex::new(Arc::new(value)) };
        Self { shared: Arc::new(shared), retired: Vec::new() }
    }

    /// Makes `value` what readers find from now on.
    pub fn publish(&mut self, value: T) {
        let value = Arc::new(value);
        let old = {
            let mut current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
            let old = std::mem::replace(&mut *current, value);
            self.shared.generation.fetch_add(1, Ordering::Release);
            old
        };
        self.retired.push(old);
        self.reclaim();
    }

    /// Frees the snapshots that no reader holds any more and says how many are still held.
    pub fn reclaim(&mut self) -> usize {
        self.retired.retain(|old| Arc::strong_count(old) > 1);
        self.retired.len()
    }

    /// A reader that starts with the current value.
    #[must_use]
    pub fn reader(&self) -> Reader<T> {
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.shared.generation.load(Ordering::Acquire);
        Reader { held: Arc::clone(&current), generation, shared: Arc::clone(&self.shared) }
    }
}

/// The reading side of one worker.
pub struct Reader<T> {
    held: Arc<T>,
    generation: u64,
    shared: Arc<Shared<T>>,
}

impl<T> Reader<T> {
    /// The newest snapshot. It stays valid, unchanged, until the next call.
    #[inline]
    pub fn latest(&mut self) -> &T {
        if self.shared.generation.load(Ordering::Acquire) != self.generation {
            self.exchange();
        }
        &self.held
    }

    #[cold]
    fn exchange(&mut self) {
        if let Ok(current) = self.shared.current.try_lock() {
            self.generation = self.shared.generation.load(Ordering::Acquire);
            self.held = Arc::clone(&current);
        }
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), generation: self.generation, shared: Arc::clone(&self.shared) }
    }
}

#[cfg(test)]
mod tests {
    use super::Publisher;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    struct Counted(u64, Arc<AtomicUsize>);

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_held_snapshot_outlives_its_successors_and_is_freed_by_the_writer() {
        let freed = Arc::new(AtomicUsize::new(0));
        let mut publisher = Publisher::new(Counted(0, Arc::clone(&freed)));
        let mut reader = publisher.reader();
        assert_eq!(reader.latest().0, 0);
        publisher.publish(Counted(1, Arc::clone(&freed)));
        publisher.publish(Counted(2, Arc::clone(&freed)));
        assert_eq!(freed.load(Ordering::Relaxed), 1, "only the one that nobody holds");
        assert_eq!(reader.latest().0, 2);
        assert_eq!(freed.load(Ordering::Relaxed), 1, "a reader frees nothing");
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(freed.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn readers_see_values_in_order_while_the_writer_runs() {
        let freed = Arc::new(AtomicUsize::new(0));
        let mut publisher = Publisher::new(Counted(0, Arc::clone(&freed)));
        let stop = Arc::new(AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut reader = publisher.reader();
                let stop = Arc::clone(&stop);
                scope.spawn(move || {
                    let mut last = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let now = reader.latest().0;
                        assert!(now >= last, "{now} after {last}");
                        last = now;
                    }
                });
            }
            for value in 1..=20_000 {
                publisher.publish(Counted(value, Arc::clone(&freed)));
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(freed.load(Ordering::Relaxed), 20_000);
    }
}
