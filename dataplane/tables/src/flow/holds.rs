use std::sync::atomic::{AtomicU64, Ordering};

use super::burst::Burst;

/// Flows in HOLD, over all workers (forwarding.md 6.5).
#[derive(Debug, Default)]
pub struct HoldCounters {
    /// Entries that came into HOLD: created by a packet, or put back there by the agent.
    pub created: AtomicU64,
    /// Entries that the agent took out of HOLD or deleted there.
    pub resolved: AtomicU64,
    /// Entries that were evicted in HOLD.
    pub evicted: AtomicU64,
    /// Packets for which no entry was made because too many flows wait.
    pub refused: AtomicU64,
    /// Entries made beyond the limit.
    pub burst: Burst,
}

impl HoldCounters {
    /// Flows that wait for the agent now.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        // An entry is counted when it comes before it is counted when it goes, but others may be read in between.
        let gone = self.resolved.load(Ordering::Acquire) + self.evicted.load(Ordering::Acquire);
        self.created.load(Ordering::Relaxed).saturating_sub(gone)
    }
}
