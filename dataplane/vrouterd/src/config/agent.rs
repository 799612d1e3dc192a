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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::GracefulRestart;
    use crate::config::Config;

    fn parse(text: &str) -> Result<Option<GracefulRestart>, String> {
        let config = Config::parse(Path::new("/etc/v.toml"), text).map_err(|error| error.to_string())?;
        Ok(config.agent.restart())
    }

    #[test]
    fn restarts_are_graceful_only_when_asked_for() {
        assert_eq!(parse("[agent]\nrestart_grace = 5\n"), Ok(None));
        let seconds = |grace, quiet| {
            let [grace, quiet] = [grace, quiet].map(Duration::from_secs);
            Ok(Some(GracefulRestart { grace, quiet }))
        };
        assert_eq!(parse("[agent]\ngraceful_restart = true\n"), seconds(60, 2));
        let all = "[agent]\ngraceful_restart = true\nrestart_grace = 5\nrestart_quiet = 1\n";
        assert_eq!(parse(all), seconds(5, 1));
    }

    #[test]
    fn times_out_of_range_are_named_with_their_line() {
        for (line, what) in [
            ("restart_grace = 0", "/etc/v.toml, line 3: 0 is not a number from 1 to 3600"),
            ("restart_quiet = 61", "/etc/v.toml, line 3: 61 is not a number from 1 to 60"),
        ] {
            assert_eq!(parse(&format!("[agent]\ngraceful_restart = true\n{line}\n")), Err(what.to_owned()));
        }
        assert!(parse("[agent]\ngraceful = true\n").unwrap_err().contains("line 2"));
    }
}
