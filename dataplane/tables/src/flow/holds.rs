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
    /// One more flow waits; says how many waited before. Counted before the answer is compared with a limit, so that no
    /// number of workers gets beyond it.
    #[must_use]
    pub fn enter(&self) -> u64 {
        // What goes meanwhile still counts.
        let gone = self.gone();
        self.created.fetch_add(1, Ordering::Relaxed).saturating_sub(gone)
    }

    /// Takes back [`HoldCounters::enter`]: no entry was made.
    pub fn leave(&self) {
        self.created.fetch_sub(1, Ordering::Relaxed);
    }

    /// Flows that wait for the agent now.
    #[must_use]
    pub fn outstanding(&self) -> u64 {
        // An entry is counted when it comes before it is counted when it goes, but others may be read in between.
        let gone = self.gone();
        self.created.load(Ordering::Relaxed).saturating_sub(gone)
    }

    fn gone(&self) -> u64 {
        self.resolved.load(Ordering::Acquire) + self.evicted.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::{HoldCounters, Ordering};

    #[test]
    fn workers_that_look_at_the_same_time_do_not_see_the_same_room() {
        let holds = HoldCounters::default();
        assert_eq!([holds.enter(), holds.enter(), holds.enter()], [0, 1, 2]);
        holds.leave();
        holds.resolved.fetch_add(1, Ordering::Release);
        holds.evicted.fetch_add(1, Ordering::Release);
        assert_eq!((holds.outstanding(), holds.enter()), (0, 0));
    }
}
