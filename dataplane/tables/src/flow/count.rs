//! Counting packets, and finding what was counted on.

use std::sync::atomic::{AtomicU8, Ordering};

use vr_types::{FlowIndex, WorkerId};

use super::table::FlowTable;

/// Entries per byte of the touched map.
pub(super) const BLOCK: usize = 64;

/// The marks of one worker: a byte per block of entries.
#[derive(Clone, Copy)]
pub struct Marks<'a>(&'a [AtomicU8]);

impl Marks<'_> {
    /// Asks for the line that [`Marks::touch`] will write.
    #[inline]
    pub fn prefetch(self, index: FlowIndex) {
        if let Some(cell) = self.0.get(index.index() / BLOCK) {
            crate::prefetch::prefetch(cell);
        }
    }

    /// As [`FlowTable::touch`].
    #[inline]
    pub fn touch(self, index: FlowIndex) {
        if let Some(cell) = self.0.get(index.index() / BLOCK) {
            // Release: whoever takes the mark sees what was counted before.
            cell.store(1, Ordering::Release);
        }
    }
}

impl FlowTable {
    /// Counts a packet on an entry, owned by the worker or not.
    pub fn count(&self, index: FlowIndex, worker: WorkerId, bytes: usize) {
        let Some(hot) = self.hot.get(index.index()) else { return };
        if self.claim(index, worker) {
            hot.count(bytes);
        } else if let Some(foreign) = self.foreign.get(index.index()) {
            foreign.count(bytes);
        }
        self.touch(index, worker);
    }

    /// Marks an entry for the next folding, after it was counted on. The worker stores without looking: had
    /// it looked first, its count might become visible only after folding has cleared the mark and read the
    /// counters.
    #[inline]
    pub fn touch(&self, index: FlowIndex, worker: WorkerId) {
        self.marks_of(worker).touch(index);
    }

    /// The marks that a worker makes.
    #[inline]
    #[must_use]
    pub fn marks_of(&self, worker: WorkerId) -> Marks<'_> {
        let first = worker.index() * self.marks;
        Marks(self.touched.get(first..first + self.marks).unwrap_or_default())
    }

    /// Takes the marks of a block; says whether there was one.
    pub(super) fn take_marks(&self, block: usize) -> bool {
        let mut touched = false;
        for cell in self.touched.iter().skip(block).step_by(self.marks) {
            // A mark that this load misses is seen in the next round.
            touched |= cell.load(Ordering::Relaxed) != 0 && cell.swap(0, Ordering::Acquire) != 0;
        }
        touched
    }

    /// The entries in blocks, as marks are about them.
    pub(super) fn blocks(&self) -> impl Iterator<Item = std::ops::Range<u32>> + use<> {
        let total = self.geometry.total() as u32;
        (0..total).step_by(BLOCK).map(move |first| first..total.min(first + BLOCK as u32))
    }

    /// Packets and bytes of an entry so far.
    #[must_use]
    pub fn counters(&self, index: FlowIndex) -> (u64, u64) {
        let (Some(hot), Some(foreign)) = (self.hot.get(index.index()), self.foreign.get(index.index()))
        else {
            return (0, 0);
        };
        let (others_packets, others_bytes) = foreign.counters();
        // The owner's packet counter has 32 bits; the shared half remembers the carries.
        let low = hot.packets.load(Ordering::Relaxed).wrapping_add(others_packets as u32);
        let (before, _) = self.shared[index.index()].counters();
        let carry = u64::from(low < before as u32);
        let packets = ((before >> 32) + carry) << 32 | u64::from(low);
        (packets, hot.bytes.load(Ordering::Relaxed).wrapping_add(others_bytes))
    }
}
