//! Grace periods: when has every worker finished the batch that it was in?
//!
//! A worker announces the start and the end of each batch. What was unlinked before a [`Token`] was taken is
//! referred to by no worker once the token has passed. Workers that sleep count as finished. The thread that
//! folds counters takes part like a worker: what it looks at does not change hands meanwhile.

use std::sync::atomic::{AtomicU64, Ordering, fence};

use crossbeam::utils::CachePadded;
use vr_types::WorkerId;

/// One counter per worker and one for housekeeping: odd while it is in a batch.
pub struct Grace {
    workers: Box<[CachePadded<AtomicU64>]>,
}

/// The counters at one moment.
#[derive(Clone, Debug)]
pub struct Token(Box<[u64]>);

impl Grace {
    /// For so many workers, and housekeeping.
    #[must_use]
    pub fn new(workers: u8) -> Self {
        Self { workers: (0..=workers).map(|_| CachePadded::new(AtomicU64::new(0))).collect() }
    }

    /// Under this number housekeeping takes part.
    #[must_use]
    pub const fn housekeeping(&self) -> WorkerId {
        WorkerId((self.workers.len() - 1) as u8)
    }

    /// The worker starts a batch; what it reads from now on stays until [`Grace::leave`].
    #[inline]
    pub fn enter(&self, worker: WorkerId) {
        if let Some(counter) = self.workers.get(worker.index()) {
            // Only the worker itself writes its counter.
            counter.store(counter.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
            // Orders the store before every read of the batch; pairs with the fence of `token`.
            fence(Ordering::SeqCst);
        }
    }

    /// The worker has finished its batch.
    #[inline]
    pub fn leave(&self, worker: WorkerId) {
        if let Some(counter) = self.workers.get(worker.index()) {
            counter.store((counter.load(Ordering::Relaxed) | 1) + 1, Ordering::Release);
        }
    }

    /// The present moment.
    #[must_use]
    pub fn token(&self) -> Token {
        fence(Ordering::SeqCst);
        Token(self.workers.iter().map(|counter| counter.load(Ordering::Acquire)).collect())
    }

    /// Whether every batch that was under way when the token was taken has ended.
    #[must_use]
    pub fn passed(&self, token: &Token) -> bool {
        self.workers
            .iter()
            .zip(&token.0)
            .all(|(counter, then)| then % 2 == 0 || counter.load(Ordering::Acquire) != *then)
    }
}

#[cfg(test)]
mod tests {
    use super::Grace;
    use vr_types::WorkerId;

    #[test]
    fn a_token_passes_when_the_batch_ends() {
        let grace = Grace::new(2);
        assert!(grace.passed(&grace.token()), "nobody is in a batch");
        grace.enter(WorkerId(1));
        let token = grace.token();
        assert!(!grace.passed(&token));
        grace.leave(WorkerId(1));
        assert!(grace.passed(&token));
        grace.enter(WorkerId(1));
        assert!(grace.passed(&token), "a later batch does not matter");
    }
}
