use std::path::PathBuf;

use crate::geometry::Geometry;
use crate::options::Options;

/// Sizes of the tables: what the agent is told and allocates its numbers from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Interfaces.
    pub interfaces: u32,
    /// Nexthop ids.
    pub nexthops: u32,
    /// MPLS labels.
    pub labels: u32,
    /// VRFs.
    pub vrfs: u32,
    /// Mirror entries, at most 255.
    pub mirrors: u32,
    /// QoS maps.
    pub qos_maps: u32,
    /// Forwarding classes, at most 256.
    pub forwarding_classes: u32,
    /// Flow table.
    pub flows: Geometry,
    /// Bridge table.
    pub bridge: Geometry,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            interfaces: 4355,
            nexthops: 524_288,
            labels: 5120,
            vrfs: 4096,
            mirrors: 255,
            qos_maps: 4096,
            forwarding_classes: 256,
            flows: Geometry::FLOW,
            bridge: Geometry::BRIDGE,
        }
    }
}

/// A table that cannot be made so large, or so small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} {what} are not possible; choose {least} to {most}")]
pub struct LimitError {
    what: &'static str,
    given: u64,
    least: u64,
    most: u64,
}

impl Limits {
    /// Whether tables of these sizes can be made: identifiers have so many bits in messages and entries.
    ///
    /// # Errors
    /// [`LimitError`] names the first size that is out of range.
    pub fn check(&self) -> Result<(), LimitError> {
        let slots = (1 << 21) - 1;
        let sizes = [
            ("interfaces", u64::from(self.interfaces), 3, 65_535),
            ("nexthops", u64::from(self.nexthops), 1, slots),
            ("MPLS labels", u64::from(self.labels), 1, 1 << 20),
            ("VRFs", u64::from(self.vrfs), 1, 65_535),
            ("mirror entries", u64::from(self.mirrors), 0, 255),
            ("QoS maps", u64::from(self.qos_maps), 0, 65_535),
            ("forwarding classes", u64::from(self.forwarding_classes), 0, 256),
            ("bridge entries", self.bridge.total() as u64, 4, slots),
            ("flow entries", self.flows.total() as u64, 4, 1 << 24),
        ];
        let bad = sizes.into_iter().find(|(_, given, least, most)| !(least..=most).contains(&given));
        match bad {
            Some((what, given, least, most)) => Err(LimitError { what, given, least, most }),
            None => Ok(()),
        }
    }
}

/// How the tables are set up.
#[derive(Clone, Debug)]
pub struct TablesConfig {
    /// Forwarding workers; each gets counters of its own.
    pub workers: u8,
    /// Sizes.
    pub limits: Limits,
    /// Directory of the table files that clients map; private memory if none.
    pub directory: Option<PathBuf>,
    /// Test mode (test-rig.md 3): host, agent and fabric interfaces are marked as mock devices, and a second
    /// agent interface is accepted.
    pub mock: bool,
    /// Options at start.
    pub options: Options,
}

impl Default for TablesConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            limits: Limits::default(),
            directory: None,
            mock: false,
            options: Options::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;

    #[test]
    fn sizes_are_checked_and_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let error = Limits { vrfs: 70_000, ..Limits::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "70000 VRFs are not possible; choose 1 to 65535");
    }
}
