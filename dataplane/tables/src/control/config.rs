use std::path::PathBuf;

use super::GracefulRestart;
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
    /// Dropped packets that each worker logs; 0 for none.
    pub drop_log: u32,
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
            drop_log: 200,
        }
    }
}

/// A table that cannot be made so large, or so small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{given} {what} are not possible; choose {least} to {most}")]
pub struct LimitError {
    /// Name of the field of [`Limits`].
    pub field: &'static str,
    what: &'static str,
    given: u64,
    least: u32,
    most: u32,
}

/// The least and the greatest size of each table: identifiers have so many bits in messages and entries.
impl Limits {
    /// Interfaces.
    pub const INTERFACES: (u32, u32) = (8, 65_000);
    /// Nexthop ids. Routes may keep twice as many objects alive (compiled flows have 21 bits for them).
    pub const NEXTHOPS: (u32, u32) = (16, 1 << 20);
    /// MPLS labels.
    pub const LABELS: (u32, u32) = (32, 1 << 20);
    /// VRFs.
    pub const VRFS: (u32, u32) = (2, 65_000);
    /// Flow entries, overflow included.
    pub const FLOWS: (u32, u32) = (1024, (1 << 24) - 4);
    /// Bridge entries, overflow included; compiled flows have 21 bits for them, one value means none.
    pub const BRIDGE: (u32, u32) = (1024, (1 << 21) - 1);
    /// Logged drops; their places have 16 bits in messages, signed.
    pub const DROP_LOG: (u32, u32) = (0, 32_767);

    /// Whether tables of these sizes can be made.
    ///
    /// # Errors
    /// [`LimitError`] names the first size that is out of range.
    pub fn check(&self) -> Result<(), LimitError> {
        let Self {
            interfaces,
            nexthops,
            labels,
            vrfs,
            mirrors,
            qos_maps,
            forwarding_classes,
            flows,
            bridge,
            drop_log,
        } = self;
        let sizes = [
            ("interfaces", "interfaces", u64::from(*interfaces), Self::INTERFACES),
            ("nexthops", "nexthops", u64::from(*nexthops), Self::NEXTHOPS),
            ("labels", "MPLS labels", u64::from(*labels), Self::LABELS),
            ("vrfs", "VRFs", u64::from(*vrfs), Self::VRFS),
            ("mirrors", "mirror entries", u64::from(*mirrors), (0, 255)),
            ("qos_maps", "QoS maps", u64::from(*qos_maps), (0, 65_535)),
            ("forwarding_classes", "forwarding classes", u64::from(*forwarding_classes), (0, 256)),
            ("flows", "flow entries, overflow included,", flows.total() as u64, Self::FLOWS),
            ("bridge", "bridge entries, overflow included,", bridge.total() as u64, Self::BRIDGE),
            ("drop_log", "logged drops", u64::from(*drop_log), Self::DROP_LOG),
        ];
        let outside = |given, (least, most)| given < u64::from(least) || given > u64::from(most);
        match sizes.into_iter().find(|(.., given, range)| outside(*given, *range)) {
            Some((field, what, given, (least, most))) => Err(LimitError { field, what, given, least, most }),
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
    /// Directory of a hugetlbfs that the table files are in instead; they are removed with the tables.
    pub hugetlbfs: Option<PathBuf>,
    /// Test mode (test-rig.md 3): host, agent and fabric interfaces are marked as mock devices, and a second
    /// agent interface is accepted.
    pub mock: bool,
    /// How a restarted agent takes over; without it a reset empties everything at once.
    pub graceful_restart: Option<GracefulRestart>,
    /// Options at start.
    pub options: Options,
}

impl Default for TablesConfig {
    fn default() -> Self {
        Self {
            workers: 1,
            limits: Limits::default(),
            directory: None,
            hugetlbfs: None,
            mock: false,
            graceful_restart: None,
            options: Options::default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Limits;
    use crate::geometry::Geometry;

    #[test]
    fn sizes_are_checked_and_named() {
        assert_eq!(Limits::default().check(), Ok(()));
        let error = Limits { vrfs: 70_000, ..Limits::default() }.check().unwrap_err();
        assert_eq!(error.to_string(), "70000 VRFs are not possible; choose 2 to 65000");
        let flows = Geometry { entries: Limits::FLOWS.1, overflow: 0 };
        assert_eq!(Limits { flows, ..Limits::default() }.check(), Ok(()));
        let flows = Geometry { overflow: 1, ..flows };
        assert_eq!(Limits { flows, ..Limits::default() }.check().unwrap_err().field, "flows");
    }
}
