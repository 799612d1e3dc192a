//! The packets that a worker dropped lately: a ring (forwarding.md 9.8). The worker writes it and waits for nobody;
//! readers leave out an entry that changes while they read it.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use vr_types::{DropReason, VifId};

use crate::mapped::{MapError, Mapped};

/// Bytes of a packet that are kept.
pub const HEAD: usize = 100;
/// Words of an entry in front of the packet's bytes: its version, its version when it was cleared, time, facts, nexthop.
const FACTS: usize = 5;
const WORDS: usize = FACTS + HEAD.div_ceil(8);

/// Which drops are logged, and what of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DropLogging {
    /// Leave out the bytes of packets.
    pub minimal: bool,
    /// Log this reason only.
    pub only: Option<DropReason>,
}

impl Default for DropLogging {
    /// As the original begins (agent-startup-trace.txt).
    fn default() -> Self {
        Self { minimal: true, only: None }
    }
}

/// A packet that was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dropped {
    /// When, in nanoseconds of the monotonic clock.
    pub at: u64,
    /// Why.
    pub reason: DropReason,
    /// Type of the packet (constants.tsv, `packet_type`).
    pub kind: u8,
    /// The interface that it came from.
    pub vif: VifId,
    /// The nexthop at which it was, 0 if it had come to none.
    pub nexthop: u32,
    /// Its length as received.
    pub length: u16,
    /// Its first bytes, from the innermost IP header on if it has one.
    pub head: [u8; HEAD],
    /// How many of them there are.
    pub head_len: u8,
}

/// The ring of one worker.
pub struct DropLog {
    words: Mapped<AtomicU64>,
    entries: usize,
    /// Where the next entry is written.
    next: AtomicU64,
}

impl DropLog {
    /// A ring of so many entries; none switches the log off.
    pub(crate) fn new(entries: usize) -> Result<Self, MapError> {
        Ok(Self { words: Mapped::private(entries.max(1) * WORDS)?, entries, next: AtomicU64::new(0) })
    }

    /// Whether anything is logged.
    #[inline]
    #[must_use]
    pub const fn is_on(&self) -> bool {
        self.entries > 0
    }

    /// Entries of the ring, used or not.
    #[must_use]
    pub const fn entries(&self) -> usize {
        self.entries
    }

    /// Writes an entry over the oldest one. Only the worker calls this.
    pub fn write(&self, dropped: &Dropped) {
        let place = self.next.load(Ordering::Relaxed) as usize;
        let Some([version, _, time, facts, nexthop, bytes @ ..]) = self.entry(place) else { return };
        let before = version.load(Ordering::Relaxed);
        version.store(before.wrapping_add(1), Ordering::Relaxed);
        fence(Ordering::Release);
        time.store(dropped.at, Ordering::Relaxed);
        facts.store(dropped.facts(), Ordering::Relaxed);
        nexthop.store(u64::from(dropped.nexthop), Ordering::Relaxed);
        let used = usize::from(dropped.head_len).div_ceil(8);
        for (word, chunk) in bytes.iter().zip(dropped.head.chunks(8)).take(used) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            word.store(u64::from_le_bytes(eight), Ordering::Relaxed);
        }
        version.store(before.wrapping_add(2), Ordering::Release);
        let next = if place + 1 == self.entries { 0 } else { place + 1 };
        self.next.store(next as u64, Ordering::Relaxed);
    }

    /// The entry at a place of the ring, unless there is none, it was cleared, or it is just being written.
    #[must_use]
    pub fn read(&self, place: usize) -> Option<Dropped> {
        let [version, cleared, time, facts, nexthop, bytes @ ..] = self.entry(place)? else { return None };
        let before = version.load(Ordering::Acquire);
        if before % 2 == 1 || before == cleared.load(Ordering::Relaxed) {
            return None;
        }
        let (at, facts) = (time.load(Ordering::Relaxed), facts.load(Ordering::Relaxed));
        let nexthop = nexthop.load(Ordering::Relaxed) as u32;
        let mut head = [0; HEAD];
        for (chunk, word) in head.chunks_mut(8).zip(bytes) {
            let eight = word.load(Ordering::Relaxed).to_le_bytes();
            chunk.copy_from_slice(&eight[..chunk.len()]);
        }
        fence(Ordering::Acquire);
        (version.load(Ordering::Relaxed) == before).then(|| Dropped::new(at, facts, nexthop, head))?
    }

    /// Leaves out what was written until now.
    pub fn clear(&self) {
        for place in 0..self.entries {
            if let Some([version, cleared, ..]) = self.entry(place) {
                // One that is just being written counts as new.
                cleared.store(version.load(Ordering::Relaxed), Ordering::Relaxed);
            }
        }
    }

    fn entry(&self, place: usize) -> Option<&[AtomicU64]> {
        if place < self.entries { self.words.get(place * WORDS..(place + 1) * WORDS) } else { None }
    }
}

impl Dropped {
    /// What fits into one word.
    fn facts(&self) -> u64 {
        u64::from(self.vif.0)
            | u64::from(self.length) << 16
            | u64::from(self.reason as u8) << 32
            | u64::from(self.kind) << 40
            | u64::from(self.head_len) << 48
    }

    fn new(at: u64, facts: u64, nexthop: u32, mut head: [u8; HEAD]) -> Option<Self> {
        let head_len = (facts >> 48) as u8;
        // Older bytes may be behind.
        head.get_mut(usize::from(head_len)..)?.fill(0);
        Some(Self {
            at,
            reason: *DropReason::ALL.get(usize::from((facts >> 32) as u8))?,
            kind: (facts >> 40) as u8,
            vif: VifId(facts as u16),
            nexthop,
            length: (facts >> 16) as u16,
            head,
            head_len,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{DropLog, Dropped, HEAD};
    use std::sync::atomic::{AtomicBool, Ordering};
    use vr_types::{DropReason, VifId};

    fn dropped(number: u8) -> Dropped {
        let head_len = number % 101;
        let mut head = [0; HEAD];
        head[..usize::from(head_len)].fill(number);
        Dropped {
            at: u64::from(number) << 40,
            reason: DropReason::ALL[usize::from(number) % DropReason::COUNT],
            kind: number % 9,
            vif: VifId(u16::from(number) << 8),
            nexthop: u32::from(number) << 24,
            length: u16::from(number) * 255,
            head,
            head_len,
        }
    }

    #[test]
    fn the_oldest_entry_is_overwritten_and_what_was_cleared_is_gone() {
        let log = DropLog::new(3).unwrap();
        assert_eq!(log.read(0), None);
        (1..=200).for_each(|number| log.write(&dropped(number)));
        let now = [199, 200, 198];
        assert_eq!([0, 1, 2].map(|place| log.read(place).unwrap()), now.map(dropped));
        assert_eq!(log.read(3), None);
        log.clear();
        log.write(&dropped(255));
        assert_eq!([0, 1, 2].map(|place| log.read(place)), [None, None, Some(dropped(255))]);
    }

    #[test]
    fn a_log_without_entries_is_off() {
        let log = DropLog::new(0).unwrap();
        log.write(&dropped(1));
        assert_eq!((log.is_on(), log.read(0)), (false, None));
    }

    #[test]
    fn who_reads_while_it_is_written_sees_whole_entries() {
        let (log, done) = (DropLog::new(2).unwrap(), AtomicBool::new(false));
        let seen = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut seen = 0_u32;
                while !done.load(Ordering::Relaxed) || seen == 0 {
                    if let Some(entry) = log.read(seen as usize % 2) {
                        assert_eq!(entry, dropped((entry.at >> 40) as u8));
                        seen += 1;
                    }
                }
                seen
            });
            (0..400_000_u32).for_each(|number| log.write(&dropped(number as u8)));
            done.store(true, Ordering::Relaxed);
            reader.join().unwrap()
        });
        assert!(seen > 0);
    }
}
