//! What a worker without packets does.

use std::time::Duration;

/// Polling policy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Polling {
    /// Never sleeps.
    Latency,
    /// Spins briefly, then sleeps until something happens.
    #[default]
    Balanced,
    /// Sleeps as soon as there is nothing to do.
    Power,
}

/// How long a worker of the balanced policy looks for packets before it sleeps. About what waking up costs, so
/// that neither spinning nor sleeping loses much.
const SPIN: Duration = Duration::from_micros(50);
/// The longest sleep: held packets age and the sign of life has to be given meanwhile.
pub(crate) const LONGEST_SLEEP: Duration = Duration::from_millis(100);

/// What to do after a pass without work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rest {
    /// Look again at once.
    Spin,
    /// Sleep until something happens.
    Sleep,
}

impl Polling {
    /// What to do `idle` nanoseconds after the last work.
    pub(crate) const fn rest(self, idle: u64) -> Rest {
        match self {
            Self::Latency => Rest::Spin,
            Self::Balanced if idle < SPIN.as_nanos() as u64 => Rest::Spin,
            Self::Balanced | Self::Power => Rest::Sleep,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Polling, Rest};

    #[test]
    fn policies_differ_in_when_they_sleep() {
        let rest = |policy: Polling| [0, 10_000, 1_000_000].map(|idle| policy.rest(idle));
        assert_eq!(rest(Polling::Latency), [Rest::Spin; 3]);
        assert_eq!(rest(Polling::Balanced), [Rest::Spin, Rest::Spin, Rest::Sleep]);
        assert_eq!(rest(Polling::Power), [Rest::Sleep; 3]);
    }
}
