use std::sync::atomic::{AtomicU64, Ordering};

/// Flows in HOLD, over all workers (forwarding.md 6.5).
#[derive(Debug, Default)]
pub struct HoldCounters {
    /// Entries that came into HOLD: created by a packet, or put back there by the agent.
    pub created: AtomicU64,
    /// Entries that the agent took out of HOLD or deleted there.
    pub resolved: AtomicU64,
    /// Packets for which no entry was made because too many flows wait.
    pub refused: AtomicU64,
}

impl HoldCounters {
    /// Flows that wait for the agent now.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        self.created.load(Ordering::Relaxed).saturating_sub(self.resolved.load(Ordering::Relaxed))
    }
}
