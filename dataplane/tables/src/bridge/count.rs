//! Packets of entries.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use vr_types::{BridgeIndex, WorkerId};

use super::table::BridgeTable;
use crate::mapped::{MapError, Mapped};

/// Packets of each entry as one worker counted them, and which blocks of entries it touched.
pub(super) struct Hits {
    pub(super) packets: Mapped<AtomicU64>,
    touched: Mapped<AtomicU8>,
}

/// Entries per byte of the touched map.
const BLOCK: usize = 256;

impl Hits {
    /// For so many entries.
    pub(super) fn new(total: usize) -> Result<Self, MapError> {
        Ok(Self { packets: Mapped::private(total)?, touched: Mapped::private(total.div_ceil(BLOCK))? })
    }
}

/// Counts packets of entries for one worker.
#[derive(Clone, Copy)]
pub struct BridgeCounting<'a> {
    packets: &'a [AtomicU64],
    touched: &'a [AtomicU8],
}

impl BridgeCounting<'_> {
    /// Counts a packet of an entry.
    #[inline]
    pub fn count(self, index: BridgeIndex) {
        if let (Some(cell), Some(mark)) =
            (self.packets.get(index.index()), self.touched.get(index.index() / BLOCK))
        {
            cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
            // The mark is stored without looking, or the count might become visible only after folding has taken
            // an earlier mark and read the counters. No other worker writes to this line.
            mark.store(1, Ordering::Release);
        }
    }

    /// Asks for the cache line that counting a packet of an entry will change.
    #[inline]
    pub fn prefetch(self, index: BridgeIndex) {
        if let Some(cell) = self.packets.get(index.index()) {
            crate::prefetch::prefetch(cell);
        }
    }
}

impl BridgeTable {
    /// What a worker counts with. Only the worker itself calls this with its number.
    #[inline]
    #[must_use]
    pub fn counting(&self, worker: WorkerId) -> BridgeCounting<'_> {
        match self.hits.get(worker.index()) {
            Some(hits) => BridgeCounting { packets: &hits.packets, touched: &hits.touched },
            None => BridgeCounting { packets: &[], touched: &[] },
        }
    }

    /// Packets of an entry so far.
    #[must_use]
    pub fn packets(&self, index: BridgeIndex) -> u64 {
        self.hits.iter().map(|hits| hits.packets[index.index()].load(Ordering::Relaxed)).sum()
    }

    /// Brings the packet counters of touched entries into the shared half; returns how many it looked at.
    pub fn fold(&self) -> usize {
        let mut scanned = 0;
        for block in 0..self.geometry.total().div_ceil(BLOCK) {
            let mut touched = false;
            for hits in &self.hits {
                // A mark that this load misses is seen in the next round; one that is taken shows what was
                // counted before it.
                touched |= hits.touched[block].load(Ordering::Relaxed) != 0
                    && hits.touched[block].swap(0, Ordering::Acquire) != 0;
            }
            if touched {
                for index in block * BLOCK..((block + 1) * BLOCK).min(self.geometry.total()) {
                    let packets = self.packets(BridgeIndex(index as u32));
                    self.shared[index].set_packets(self.release, packets);
                    scanned += 1;
                }
            }
        }
        scanned
    }
}
