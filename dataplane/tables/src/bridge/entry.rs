//! Keys and entries, and how workers keep them.

use std::sync::atomic::AtomicU64;

use vr_types::{BridgeIndex, Mac, VrfId};
use vr_wire::hash;

use crate::mapped::Zeroed;
use crate::nexthop::NexthopSlot;

bitflags::bitflags! {
    /// Flags of a bridge entry.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct BridgeFlags: u8 {
        /// The entry is in use.
        const VALID = 0x01;
        /// The label or VNI is to be used.
        const LABEL_VALID = 0x02;
        /// Flood DHCP of this source instead of trapping it.
        const FLOOD_DHCP = 0x04;
        /// Learnt elsewhere.
        const MAC_MOVED = 0x08;
        /// A control word precedes the frame in tunnels.
        const L2_CONTROL_DATA = 0x10;
        /// Learnt, not confirmed by the agent.
        const MAC_NEW = 0x20;
        /// ARP and DHCP of this source as from a top of rack switch.
        const EVPN_CONTROL = 0x40;
    }
}

/// The key: six bytes of MAC and the VRF, as they are hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeKey(pub(super) u64);

impl BridgeKey {
    /// The key of a MAC in a VRF.
    #[inline]
    #[must_use]
    pub const fn new(vrf: VrfId, mac: Mac) -> Self {
        let [a, b, c, d, e, f] = mac.0;
        let [lo, hi] = vrf.0.to_le_bytes();
        Self(u64::from_le_bytes([a, b, c, d, e, f, lo, hi]))
    }

    /// The MAC.
    #[must_use]
    pub const fn mac(self) -> Mac {
        let [a, b, c, d, e, f, ..] = self.0.to_le_bytes();
        Mac([a, b, c, d, e, f])
    }

    /// The VRF.
    #[must_use]
    pub const fn vrf(self) -> VrfId {
        VrfId((self.0 >> 48) as u16)
    }

    #[inline]
    pub(super) fn hash(self) -> u32 {
        hash::hash_8(self.0.to_le_bytes())
    }
}

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeEntry {
    /// Position, stable while the entry lives.
    pub index: BridgeIndex,
    /// Where to send the frame.
    pub nexthop: NexthopSlot,
    /// Label or VNI; counts only with [`BridgeFlags::LABEL_VALID`].
    pub label: u32,
    /// Its flags.
    pub flags: BridgeFlags,
}

impl BridgeEntry {
    /// The label or VNI, if the entry has one.
    #[inline]
    #[must_use]
    pub const fn valid_label(&self) -> Option<u32> {
        if self.flags.contains(BridgeFlags::LABEL_VALID) { Some(self.label) } else { None }
    }
}

/// Bit of a value: the overflow chain of this bucket (in its fourth entry) is not empty.
pub(super) const CHAINED: u64 = 1 << 62;
const LABEL_MASK: u32 = 0x00ff_ffff;

pub(super) const fn pack(nexthop: NexthopSlot, label: u32, flags: BridgeFlags) -> u64 {
    (nexthop.0 & LABEL_MASK) as u64 | ((label & LABEL_MASK) as u64) << 24 | (flags.bits() as u64) << 48
}

pub(super) const fn unpack(index: u32, value: u64) -> BridgeEntry {
    BridgeEntry {
        index: BridgeIndex(index),
        nexthop: NexthopSlot(value as u32 & LABEL_MASK),
        label: (value >> 24) as u32 & LABEL_MASK,
        flags: BridgeFlags::from_bits_truncate((value >> 48) as u8),
    }
}

/// The private half of an entry: its key, and what [`pack`] makes of the rest.
#[repr(C, align(16))]
pub(super) struct Hot {
    pub(super) key: AtomicU64,
    pub(super) value: AtomicU64,
}

// SAFETY: two atomics, for which zero is a value.
#[allow(unsafe_code, reason = "states a property of a plain layout")]
unsafe impl Zeroed for Hot {}
