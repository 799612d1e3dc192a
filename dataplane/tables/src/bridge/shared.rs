//! What clients map of an entry (control.md 5.3).

use std::sync::atomic::{AtomicU8, Ordering};

use vr_types::{NexthopId, Release};

use super::entry::BridgeFlags;
use crate::mapped::Zeroed;

/// The agent's view of an entry, byte by byte because its fields are unaligned.
#[repr(C)]
pub(super) struct Shared([AtomicU8; 64]);

// SAFETY: bytes, for which zero is a value.
#[allow(unsafe_code, reason = "states a property of a plain layout")]
unsafe impl Zeroed for Shared {}

impl Shared {
    pub(super) fn describe(&self, release: Release, label: u32, nexthop: NexthopId, flags: BridgeFlags) {
        let (label, flags) = (label.to_le_bytes(), u16::from(flags.bits()).to_le_bytes());
        match release {
            Release::Current => {
                self.put(45, label);
                self.put(49, nexthop.0.to_le_bytes());
                self.put(53, flags);
            }
            Release::R220 => {
                self.put(37, label);
                self.put(41, flags);
            }
        }
    }

    /// R2.20 does not count.
    pub(super) fn set_packets(&self, release: Release, packets: u64) {
        if release == Release::Current {
            self.put(37, packets.to_le_bytes());
        }
    }

    pub(super) fn put<const N: usize>(&self, offset: usize, bytes: [u8; N]) {
        for (cell, byte) in self.0[offset..offset + N].iter().zip(bytes) {
            cell.store(byte, Ordering::Relaxed);
        }
    }

    pub(super) fn clear(&self) {
        for cell in &self.0 {
            cell.store(0, Ordering::Relaxed);
        }
    }
}
