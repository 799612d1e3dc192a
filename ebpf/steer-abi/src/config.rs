//! What userspace tells the program about one device.

use crate::ABI_VERSION;

/// Who owns the address of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(u32)]
pub enum HostMode {
    /// The address is on the NIC: everything but tunnel packets to local endpoints goes to the kernel.
    #[default]
    Nic = 0,
    /// The address is on vhost0: everything goes to the dataplane; while no worker shows that it lives, the
    /// program cross-connects the device with [`SteerConfig::cross_ifindex`].
    Vhost0 = 1,
}

/// Bits of [`SteerConfig::flags`].
pub mod flags {
    /// The program passes every packet to the kernel, as though it were not attached.
    pub const BYPASS: u32 = 1;
}

/// The one entry of the map `CONFIG`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SteerConfig {
    /// [`ABI_VERSION`] of the process that wrote the entry.
    pub abi_version: u32,
    /// A [`HostMode`] as a number.
    pub host_mode: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// Device to cross-connect with in [`HostMode::Vhost0`]; 0 when there is none, then packets pass.
    pub cross_ifindex: u32,
    /// A heartbeat older than this many nanoseconds is stale; 0 turns the check off.
    pub heartbeat_timeout_ns: u64,
}

impl SteerConfig {
    /// A configuration without flags and without a device to cross-connect with.
    #[must_use]
    pub const fn new(host_mode: HostMode, heartbeat_timeout_ns: u64) -> Self {
        Self {
            abi_version: ABI_VERSION,
            host_mode: host_mode as u32,
            flags: 0,
            cross_ifindex: 0,
            heartbeat_timeout_ns,
        }
    }
}

/// The sockets that serve one receive queue: `count` slots from `first` on. With more than one, the hash of the
/// inner headers chooses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct QueueSlots {
    /// First slot of the queue in the map `SOCKETS`.
    pub first: u32,
    /// Slots of the queue; 0 when no socket serves it.
    pub count: u32,
}

impl QueueSlots {
    /// The slot for a packet whose inner headers hash to `hash`; `None` without slots.
    #[inline(always)]
    #[must_use]
    pub const fn slot(self, hash: u32) -> Option<u32> {
        if self.count == 0 {
            return None;
        }
        let scaled = (hash as u64 * self.count as u64) >> 32;
        Some(self.first.wrapping_add(scaled as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_cover_the_range_and_nothing_else() {
        let queue = QueueSlots { first: 7, count: 3 };
        assert_eq!(queue.slot(0), Some(7));
        assert_eq!(queue.slot(u32::MAX / 2), Some(8));
        assert_eq!(queue.slot(u32::MAX), Some(9));
        assert_eq!(QueueSlots { first: 7, count: 0 }.slot(5), None);
    }
}
