//! Publication of immutable snapshots from one writer to many workers.
//!
//! The writer keeps a reference to every snapshot that it has replaced and frees one only when no reader
//! holds it any more, so a worker never frees memory: it looks at a generation counter once per batch and
//! exchanges its reference when that has moved. Only then it takes a lock, which everybody holds for the exchange
//! of one pointer. It has to wait for that lock: who began a batch after a [token](crate::grace::Token) was taken
//! must not use what was published before, because slots that no newer snapshot refers to are reused then.

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
    /// The newest snapshot: not older than any whose publication happened before this call. It stays valid,
    /// unchanged, until the next call.
    #[inline]
    pub fn latest(&mut self) -> &T {
        if self.shared.generation.load(Ordering::Acquire) != self.generation {
            self.exchange();
        }
        &self.held
    }

    #[cold]
    fn exchange(&mut self) {
        let current = self.shared.current.lock().unwrap_or_else(PoisonError::into_inner);
        self.generation = self.shared.generation.load(Ordering::Acquire);
        let latest = Arc::clone(&current);
        drop(current);
        self.held = latest;
    }
}

impl<T> Clone for Reader<T> {
    fn clone(&self) -> Self {
        Self { held: Arc::clone(&self.held), generation: self.generation, shared: Arc::clone(&self.shared) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use super::Publisher;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

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
    fn a_reader_waits_for_the_lock_rather_than_go_on_with_an_older_value() {
        let mut publisher = Publisher::new(0);
        let mut reader = publisher.reader();
        publisher.publish(1);
        let (shared, (calls, called)) = (Arc::clone(&publisher.shared), std::sync::mpsc::channel());
        let taken = shared.current.lock().unwrap();
        let worker = std::thread::spawn(move || {
            calls.send(()).unwrap();
            *reader.latest()
        });
        called.recv().unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        drop(taken);
        assert_eq!(worker.join().unwrap(), 1);
    }

    #[test]
    fn readers_see_what_was_published_before_they_looked() {
        let freed = Arc::new(AtomicUsize::new(0));
        let mut publisher = Publisher::new(Counted(0, Arc::clone(&freed)));
        let (stop, published) = (AtomicBool::new(false), AtomicU64::new(0));
        std::thread::scope(|scope| {
            for _ in 0..2 {
                let mut reader = publisher.reader();
                let (stop, published) = (&stop, &published);
                scope.spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        let before = published.load(Ordering::Acquire);
                        let now = reader.latest().0;
                        assert!(now >= before, "{now} after {before} was published");
                    }
                });
            }
            for value in 1..=20_000 {
                publisher.publish(Counted(value, Arc::clone(&freed)));
                published.store(value, Ordering::Release);
            }
            stop.store(true, Ordering::Relaxed);
        });
        assert_eq!(publisher.reclaim(), 0);
        assert_eq!(freed.load(Ordering::Relaxed), 20_000);
    }
}
