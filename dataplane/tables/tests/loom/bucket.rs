//! The lock of a bucket, and the list of free overflow entries.

use loom::sync::Arc;
use loom::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use loom::sync::atomic::{AtomicU32, AtomicU64};
use loom::thread;

use crate::model;

const LOCKED: u32 = 1 << 31;
const TAG: u32 = 0xff;

/// A bucket of two slots: tags of eight bits and the lock in one word, and what stands in the slots.
struct Bucket {
    word: AtomicU32,
    keys: [AtomicU32; 2],
    in_use: [AtomicU32; 2],
}

/// Why a key was not inserted.
#[derive(Debug, PartialEq, Eq)]
enum Refused {
    Exists,
    Busy,
}

impl Bucket {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            word: AtomicU32::new(0),
            keys: [AtomicU32::new(0), AtomicU32::new(0)],
            in_use: [AtomicU32::new(0), AtomicU32::new(0)],
        })
    }

    /// `FlowTable::lock`; twice stands for a hundred times.
    fn lock(&self) -> Result<u32, Refused> {
        for _ in 0..2 {
            let word = self.word.load(Relaxed);
            if word & LOCKED == 0 && self.word.compare_exchange(word, word | LOCKED, Acquire, Relaxed).is_ok()
            {
                return Ok(word);
            }
            thread::yield_now();
        }
        Err(Refused::Busy)
    }

    fn find(&self, word: u32, key: u32) -> Option<usize> {
        (0..2).find(|slot| word >> (slot * 8) & TAG == key && self.keys[*slot].load(Relaxed) == key)
    }

    /// `insert_as`: the key is looked for once more under the lock.
    fn insert(&self, key: u32) -> Result<usize, Refused> {
        let word = self.lock()?;
        if self.find(word, key).is_some() {
            self.word.store(word, Release);
            return Err(Refused::Exists);
        }
        let slot = (0..2).find(|slot| self.in_use[*slot].load(Acquire) == 0).unwrap();
        self.keys[slot].store(key, Relaxed);
        self.in_use[slot].store(1, Release);
        self.word.store(word | key << (slot * 8), Release);
        Ok(slot)
    }

    /// `unlink`.
    fn unlink(&self, slot: usize) -> bool {
        let Ok(word) = self.lock() else { return false };
        self.word.store(word & !(TAG << (slot * 8)), Release);
        true
    }
}

/// Two workers miss the same flow: one entry is made, and who has found the bucket locked has made none.
#[test]
fn a_key_is_inserted_once() {
    model(|| {
        let bucket = Bucket::new();
        let other = thread::spawn({
            let bucket = Arc::clone(&bucket);
            move || bucket.insert(5)
        });
        let mine = bucket.insert(5);
        let other = other.join().unwrap();
        let made = [&mine, &other].into_iter().filter(|result| result.is_ok()).count();
        assert_eq!(made, 1, "{mine:?} {other:?}");
        assert!(bucket.find(bucket.word.load(Acquire), 5).is_some());
    });
}

/// An insertion and a removal in one bucket: neither undoes what the other has done to the word.
#[test]
fn tags_are_changed_by_one_at_a_time() {
    model(|| {
        let bucket = Bucket::new();
        let first = bucket.insert(5).unwrap();
        let control = thread::spawn({
            let bucket = Arc::clone(&bucket);
            move || bucket.unlink(first)
        });
        let inserted = bucket.insert(6);
        let unlinked = control.join().unwrap();
        let word = bucket.word.load(Acquire);
        assert_eq!(word & LOCKED, 0);
        assert_eq!(bucket.find(word, 6).is_some(), inserted.is_ok());
        assert_eq!(bucket.find(word, 5).is_none(), unlinked);
        assert!(inserted.is_ok() || unlinked, "one of them had the lock");
    });
}

/// What a reader finds by a tag is whole.
#[test]
fn a_tag_leads_to_a_whole_key() {
    model(|| {
        let bucket = Bucket::new();
        let worker = thread::spawn({
            let bucket = Arc::clone(&bucket);
            move || bucket.insert(5)
        });
        let word = bucket.word.load(Acquire);
        if word & TAG == 5 {
            assert_eq!((bucket.keys[0].load(Relaxed), bucket.in_use[0].load(Relaxed)), (5, 1));
        }
        worker.join().unwrap().unwrap();
    });
}

/// `pop_free` and `push_free`: the position plus one, and a count against reuse.
struct FreeList {
    head: AtomicU64,
    next: [AtomicU32; 3],
}

impl FreeList {
    fn pop(&self) -> Option<u32> {
        let mut head = self.head.load(Acquire);
        loop {
            let position = (head as u32).checked_sub(1)?;
            let next = self.next[position as usize].load(Relaxed);
            let new = ((head >> 32) + 1) << 32 | u64::from(next);
            match self.head.compare_exchange(head, new, AcqRel, Acquire) {
                Ok(_) => return Some(position),
                Err(now) => head = now,
            }
        }
    }

    fn push(&self, position: u32) {
        let mut head = self.head.load(Acquire);
        loop {
            self.next[position as usize].store(head as u32, Relaxed);
            let new = ((head >> 32) + 1) << 32 | u64::from(position + 1);
            match self.head.compare_exchange(head, new, AcqRel, Acquire) {
                Ok(_) => return,
                Err(now) => head = now,
            }
        }
    }
}

/// A worker takes one while another takes two and the first of them comes back: nobody gets what another has, and
/// nothing is lost.
#[test]
fn a_free_entry_has_one_taker() {
    model(|| {
        let list = Arc::new(FreeList {
            head: AtomicU64::new(1),
            next: [AtomicU32::new(2), AtomicU32::new(3), AtomicU32::new(0)],
        });
        let other = thread::spawn({
            let list = Arc::clone(&list);
            move || {
                let [first, second] = [list.pop(), list.pop()];
                list.push(first.unwrap());
                second.unwrap()
            }
        });
        let mine = list.pop().unwrap();
        let theirs = other.join().unwrap();
        let left: Vec<u32> = std::iter::from_fn(|| list.pop()).collect();
        let mut all = [&left[..], &[mine, theirs]].concat();
        all.sort_unstable();
        assert_eq!(all, [0, 1, 2]);
    });
}
