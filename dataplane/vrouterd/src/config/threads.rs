//! The threads of the daemon.

use serde::Deserialize;

use super::Bounded;

/// The threads that forward.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Workers {
    /// How many.
    pub(crate) count: Bounded<1, 64, 1>,
    /// CPUs that they are pinned to, in turn; those that do not exist are left out.
    pub(crate) cpus: Vec<u16>,
    /// What a worker without packets does.
    pub(crate) polling: Polling,
}

/// What a worker without packets does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Polling {
    /// Looks again at once, forever.
    Latency,
    /// Looks again for a moment, then sleeps.
    #[default]
    Balanced,
    /// Sleeps at once.
    Power,
}

/// CPUs of the other threads; wherever the process may run, without any.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Threads {
    /// Of the thread that serves clients, and of the one that speaks with virtual machines.
    pub(crate) control: Vec<u16>,
    /// Of the thread that folds counters and shows that workers live.
    pub(crate) housekeeping: Vec<u16>,
}

impl From<Polling> for vr_runtime::Polling {
    fn from(polling: Polling) -> Self {
        match polling {
            Polling::Latency => Self::Latency,
            Polling::Balanced => Self::Balanced,
            Polling::Power => Self::Power,
        }
    }
}
