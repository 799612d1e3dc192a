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
