//! How flows begin and end.

use serde::Deserialize;
use vr_tables::flow::QuotaLimits;
use vr_tables::options::{FlowOptions, Options};

use super::Bounded;

/// Entries of the flow table at the most.
const ENTRIES: u32 = 16_777_212;

/// How flows begin and end; the agent may change the limit. What the original does not have is off by default.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Flows {
    /// Flows that may wait for the agent at a time; 0 for no limit.
    pub(crate) hold_limit: Bounded<0, { i32::MAX as u32 }, 8192>,
    /// Any reset closes a TCP flow, whatever its sequence number.
    pub(crate) close_on_reset: bool,
    /// Packets that one flow may keep waiting for the agent.
    pub(crate) hold_queue: Bounded<1, 64, 3>,
    /// Half-open and one-way flows make room when there is little.
    pub(crate) protect: bool,
    /// Entries that packets may make in one VRF; 0 for no bound.
    pub(crate) per_vrf: Bounded<0, ENTRIES, 0>,
    /// Entries that packets of one interface may make; 0 for no bound.
    pub(crate) per_vif: Bounded<0, ENTRIES, 0>,
}

impl Flows {
    /// The same for the tables.
    pub(crate) fn options(&self) -> Options {
        let quotas = QuotaLimits { per_vrf: self.per_vrf.get(), per_vif: self.per_vif.get() };
        let hold_queue = self.hold_queue.get() as usize;
        Options {
            flow_hold_limit: self.hold_limit.get() as i32,
            close_flow_on_rst: self.close_on_reset,
            flows: FlowOptions { hold_queue, protect: self.protect, quotas },
            ..Options::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use vr_tables::flow::QuotaLimits;
    use vr_tables::options::{FlowOptions, Options};

    use crate::config::Config;

    fn options(text: &str) -> Result<Options, String> {
        let config = Config::parse(Path::new("/etc/v.toml"), text).map_err(|error| error.to_string())?;
        Ok(config.flows.options())
    }

    #[test]
    fn without_a_word_everything_is_as_in_the_original() {
        assert_eq!(options(""), Ok(Options::default()));
    }

    #[test]
    fn every_key_is_taken() {
        let text = "[flows]\nhold_limit = 5\nclose_on_reset = true\nhold_queue = 7\nprotect = true\n\
                    per_vrf = 8\nper_vif = 9\n";
        let quotas = QuotaLimits { per_vrf: 8, per_vif: 9 };
        let expected = Options {
            flow_hold_limit: 5,
            close_flow_on_rst: true,
            flows: FlowOptions { hold_queue: 7, protect: true, quotas },
            ..Options::default()
        };
        assert_eq!(options(text), Ok(expected));
        assert!(options("[flows]\nhold_queue = 0\n").unwrap_err().contains("line 2: 0 is not a number"));
    }
}
