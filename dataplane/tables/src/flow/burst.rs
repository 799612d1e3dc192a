//! Flows that may be made although too many wait for the agent (forwarding.md 6.5).

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// How many, as the agent configures it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstLimits {
    /// The most flows at a time.
    pub tokens: u32,
    /// After so many milliseconds some of them do not count any more; 0 for never.
    pub interval: u32,
    /// How many these are.
    pub step: u32,
}

/// How many flows count at present. Workers share it, and touch it only while the hold limit is exceeded.
#[derive(Debug, Default)]
pub struct Burst {
    used: AtomicU32,
    /// When the present interval began, nanoseconds of a monotonic clock.
    since: AtomicU64,
}

impl Burst {
    /// Takes a token at the time `now`, nanoseconds of a monotonic clock, if there is one.
    #[must_use]
    pub fn take(&self, limits: BurstLimits, now: u64) -> bool {
        self.refill(limits, now);
        let took =
            self.used.fetch_update(Relaxed, Relaxed, |used| (used < limits.tokens).then_some(used + 1));
        if took == Ok(0) {
            // Nothing to fill up until now.
            self.since.store(now, Relaxed);
        }
        took.is_ok()
    }

    /// Gives a token back that was not needed.
    pub fn give_back(&self) {
        self.fewer(1);
    }

    /// Fills up for the intervals that have ended.
    pub fn refill(&self, limits: BurstLimits, now: u64) {
        let interval = u64::from(limits.interval) * 1_000_000;
        if interval == 0 || self.used.load(Relaxed) == 0 {
            return;
        }
        let since = self.since.load(Relaxed);
        let ended = now.saturating_sub(since) / interval;
        let next = since + ended * interval;
        // Of several workers one counts an interval.
        if ended > 0 && self.since.compare_exchange(since, next, Relaxed, Relaxed).is_ok() {
            self.fewer(u32::try_from(ended * u64::from(limits.step)).unwrap_or(u32::MAX));
        }
    }

    /// Tokens of `tokens` that are left.
    #[must_use]
    pub fn free(&self, tokens: u32) -> u32 {
        tokens.saturating_sub(self.used.load(Relaxed))
    }

    fn fewer(&self, count: u32) {
        // Never refused.
        let _ = self.used.fetch_update(Relaxed, Relaxed, |used| Some(used.saturating_sub(count)));
    }
}

#[cfg(test)]
mod tests {
    use super::{Burst, BurstLimits};

    const LIMITS: BurstLimits = BurstLimits { tokens: 10, interval: 100, step: 4 };
    const MS: u64 = 1_000_000;

    fn take(burst: &Burst, now: u64) -> usize {
        (0..20).filter(|_| burst.take(LIMITS, now)).count()
    }

    #[test]
    fn tokens_come_back_in_steps_until_all_are_there() {
        let burst = Burst::default();
        let start = 5000 * MS;
        assert_eq!((take(&burst, start), burst.free(10)), (10, 0));
        assert_eq!(take(&burst, start + 99 * MS), 0);
        assert_eq!(take(&burst, start + 100 * MS), 4);
        assert_eq!(take(&burst, start + 199 * MS), 0, "intervals do not begin anew");
        assert_eq!(
            take(&burst, start + 400 * MS),
            10,
            "three more steps are twelve tokens, ten are the most"
        );
        burst.refill(LIMITS, start + 550 * MS);
        assert_eq!(burst.free(10), 4);
        burst.give_back();
        assert_eq!(burst.free(10), 5);
        assert_eq!(burst.free(3), 0, "fewer were configured meanwhile");
    }

    #[test]
    fn without_interval_or_tokens_none_comes() {
        let burst = Burst::default();
        let never = BurstLimits { interval: 0, ..LIMITS };
        assert!((0..10).all(|_| burst.take(never, 0)));
        assert!(!burst.take(never, u64::MAX));
        assert!(!Burst::default().take(BurstLimits { tokens: 0, ..LIMITS }, 1));
    }
}
