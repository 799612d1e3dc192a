//! Sizes of tables and buffers.

use serde::Deserialize;
use vr_frame::PoolSizes;
use vr_tables::control::Limits;
use vr_tables::geometry::Geometry;

use super::{AbsolutePath, Bounded, Compat};

/// Sizes of the tables; the agent asks for them and stays within.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct TableSizes {
    /// Interfaces; without it as many as the release has.
    pub(crate) interfaces: Option<Bounded<{ Limits::INTERFACES.0 }, { Limits::INTERFACES.1 }, 0>>,
    /// Nexthops; without it as many as the release has.
    pub(crate) nexthops: Option<Bounded<{ Limits::NEXTHOPS.0 }, { Limits::NEXTHOPS.1 }, 0>>,
    /// MPLS labels.
    pub(crate) labels: Bounded<{ Limits::LABELS.0 }, { Limits::LABELS.1 }, 5120>,
    /// VRFs.
    pub(crate) vrfs: Bounded<{ Limits::VRFS.0 }, { Limits::VRFS.1 }, 4096>,
    /// Flow entries in buckets, a multiple of four. One takes 256 bytes in the shared
    /// file, 128 with R2.20.
    pub(crate) flows: Bounded<{ Limits::FLOWS.0 }, { Limits::FLOWS.1 }, { Geometry::FLOW.entries }>,
    /// Flow entries besides; without it a fifth of `flows`, rounded up to 1,024.
    pub(crate) flow_overflow: Option<Bounded<0, { Limits::FLOWS.1 }, 0>>,
    /// Bridge entries in buckets, a multiple of four. One takes 64 bytes in the shared file.
    pub(crate) bridge: Bounded<{ Limits::BRIDGE.0 }, { Limits::BRIDGE.1 }, { Geometry::BRIDGE.entries }>,
    /// Bridge entries besides; without it a fifth of `bridge`, rounded up to 1,024.
    pub(crate) bridge_overflow: Option<Bounded<0, { Limits::BRIDGE.1 }, 0>>,
    /// Dropped packets that each worker logs; 0 for none.
    pub(crate) drop_log: Bounded<{ Limits::DROP_LOG.0 }, { Limits::DROP_LOG.1 }, 200>,
    /// Directory of a hugetlbfs for the shared files; ordinary memory in the socket directory without it.
    pub(crate) hugetlbfs: Option<AbsolutePath>,
}

impl TableSizes {
    /// The sizes as the tables take them. Entries are rounded down to a multiple of four.
    #[must_use]
    pub(super) fn limits(&self, compat: Compat) -> Limits {
        Limits {
            interfaces: self.interfaces.map_or(compat.interfaces(), Bounded::get),
            nexthops: self.nexthops.map_or(compat.nexthops(), Bounded::get),
            labels: self.labels.get(),
            vrfs: self.vrfs.get(),
            flows: geometry(self.flows.get(), self.flow_overflow.map(Bounded::get)),
            bridge: geometry(self.bridge.get(), self.bridge_overflow.map(Bounded::get)),
            drop_log: self.drop_log.get(),
            ..Limits::default()
        }
    }
}

fn geometry(entries: u32, overflow: Option<u32>) -> Geometry {
    let usual = Geometry::with_default_overflow(entries);
    Geometry { overflow: overflow.unwrap_or(usual.overflow), ..usual }
}

/// Packet buffers of one worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Buffers {
    /// Of 2 KiB.
    pub(crate) packets: Bounded<1024, 1_048_576, 8192>,
    /// Of 66 KiB, for super-frames of pods.
    pub(crate) super_frames: Bounded<16, 65_536, 256>,
}

impl Buffers {
    /// The sizes as the pools take them.
    #[must_use]
    pub(crate) const fn sizes(&self) -> PoolSizes {
        PoolSizes { packets: self.packets.get(), supers: self.super_frames.get() }
    }
}
