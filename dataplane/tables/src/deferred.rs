use std::collections::VecDeque;

use crate::grace::{Grace, Token};

/// Things that were unlinked and may be reused once no worker can refer to them any more.
pub(crate) struct Deferred<T> {
    fresh: Vec<T>,
    waiting: VecDeque<(Token, Vec<T>)>,
}

impl<T> Default for Deferred<T> {
    fn default() -> Self {
        Self { fresh: Vec::new(), waiting: VecDeque::new() }
    }
}

impl<T> Deferred<T> {
    /// Adds what was just unlinked.
    pub(crate) fn push(&mut self, item: T) {
        self.fresh.push(item);
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.waiting.is_empty()
    }

    /// Starts the grace period of everything added so far: workers that begin a batch from now on do not
    /// find it.
    pub(crate) fn seal(&mut self, grace: &Grace) {
        if !self.fresh.is_empty() {
            self.waiting.push_back((grace.token(), std::mem::take(&mut self.fresh)));
        }
    }

    /// What may be reused now.
    pub(crate) fn take(&mut self, grace: &Grace) -> Option<Vec<T>> {
        let passed = self.waiting.front().is_some_and(|(token, _)| grace.passed(token));
        if passed { self.waiting.pop_front().map(|(_, items)| items) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::Deferred;
    use crate::grace::Grace;
    use vr_types::WorkerId;

    #[test]
    fn nothing_is_given_back_before_the_batch_that_may_use_it_has_ended() {
        let grace = Grace::new(1);
        let mut deferred = Deferred::default();
        grace.enter(WorkerId(0));
        deferred.push(1);
        assert_eq!(deferred.take(&grace), None, "its grace period has not begun");
        deferred.seal(&grace);
        deferred.push(2);
        assert_eq!(deferred.take(&grace), None);
        grace.leave(WorkerId(0));
        assert_eq!(deferred.take(&grace), Some(vec![1]));
        assert_eq!(deferred.take(&grace), None);
        deferred.seal(&grace);
        assert_eq!(deferred.take(&grace), Some(vec![2]), "nobody is in a batch");
    }
}
