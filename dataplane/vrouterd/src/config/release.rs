//! The release of agent and utilities (docs/compatibility.md).

use serde::Deserialize;
use vr_types::Release;

use super::{Config, VhostUserRole};

/// Ids of nexthops have 16 bits in R2.20.
const R220_NEXTHOPS: u32 = 1 << 16;

/// Release of agent and utilities.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
pub(crate) enum Compat {
    /// That of 2025.
    #[default]
    #[serde(rename = "current")]
    Current,
    /// R2.20 of 2015.
    #[serde(rename = "r2.20")]
    R220,
}

impl From<Compat> for Release {
    fn from(compat: Compat) -> Self {
        match compat {
            Compat::Current => Self::Current,
            Compat::R220 => Self::R220,
        }
    }
}

impl Compat {
    /// Nexthops without a configured number.
    #[must_use]
    pub(super) const fn nexthops(self) -> u32 {
        match self {
            Self::Current => 524_288,
            Self::R220 => R220_NEXTHOPS,
        }
    }

    /// Interfaces without a configured number.
    #[must_use]
    pub(super) const fn interfaces(self) -> u32 {
        match self {
            Self::Current => 4355,
            Self::R220 => 4352,
        }
    }
}

impl Config {
    /// Which side of the sockets of virtual machines the daemon is. That of R2.20 always listens, but has no test mode.
    #[must_use]
    pub(crate) fn vhost_user_role(&self) -> VhostUserRole {
        self.vhost_user.role.unwrap_or(match self.compat {
            Compat::R220 if !self.mock => VhostUserRole::Server,
            Compat::Current | Compat::R220 => VhostUserRole::Client,
        })
    }

    /// Whether the release can name all nexthops.
    pub(super) fn check_nexthops(&self) -> Result<(), String> {
        let nexthops = self.limits().nexthops;
        if self.compat == Compat::R220 && nexthops > R220_NEXTHOPS {
            return Err(format!(
                "{nexthops} nexthops are not possible with compat = \"r2.20\"; choose at most {R220_NEXTHOPS}"
            ));
        }
        Ok(())
    }
}
