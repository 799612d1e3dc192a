//! Clients for whom there is no place: the log is told of the first one, and then now and then how many there were.

use std::time::{Duration, Instant};

/// How long the log is not told of further ones.
const SILENCE: Duration = Duration::from_mins(1);

/// Refused clients that the log does not know of yet.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    untold: u64,
    told: Option<Instant>,
}

impl Refusals {
    /// One more. Returns how many there were since the log was told last, if it is to be told now.
    pub(crate) fn note(&mut self, now: Instant) -> Option<u64> {
        self.untold += 1;
        if self.told.is_some_and(|told| now.saturating_duration_since(told) < SILENCE) {
            return None;
        }
        self.told = Some(now);
        Some(std::mem::take(&mut self.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::{Refusals, SILENCE};
    use std::time::{Duration, Instant};

    #[test]
    fn many_refusals_are_few_lines() {
        let (mut refusals, start) = (Refusals::default(), Instant::now());
        let told = (0..1000).filter_map(|number| refusals.note(start + Duration::from_millis(number * 100)));
        // A hundred seconds: at the first one, and a minute later.
        assert_eq!(told.collect::<Vec<_>>(), [1, 600]);
        assert_eq!(refusals.note(start + SILENCE * 3), Some(400));
    }
}
