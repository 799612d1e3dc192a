use std::time::Duration;

use serde::Deserialize;
use vr_tables::control::GracefulRestart;

use super::Bounded;

/// What happens when the agent restarts (docs/agent-restart.md).
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Agent {
    /// Pods go on with what the former agent has programmed until the new one has done the same.
    pub(crate) graceful_restart: bool,
    /// Seconds that the new agent may take for that, and to confirm flows.
    pub(crate) restart_grace: Bounded<1, 3600, 60>,
    /// Seconds that it is silent when it is ready.
    pub(crate) restart_quiet: Bounded<1, 60, 2>,
}

impl Agent {
    /// How a restarted agent takes over, if it is to do so gracefully.
    pub(crate) fn restart(&self) -> Option<GracefulRestart> {
        let seconds = |number: u32| Duration::from_secs(u64::from(number));
        self.graceful_restart.then(|| GracefulRestart {
            grace: seconds(self.restart_grace.get()),
            quiet: seconds(self.restart_quiet.get()),
        })
    }
}
