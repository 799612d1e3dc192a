//! What userspace tells the program about one device.

use crate::ABI_VERSION;

/// Bits of [`SteerConfig::flags`].
pub mod flags {
    /// The program passes every packet to the kernel, as though it were not attached.
    pub const BYPASS: u32 = 1;
}

/// The one entry of the map `CONFIG`.
///
/// [`pair_ifindex`](Self::pair_ifindex) says who owns the address of the host. Without it the address is on the fabric
/// device: everything but tunnel packets to local endpoints goes to the kernel. With it the address is on vhost0, of
/// whose pair the dataplane has one end: everything goes to the dataplane, and while that does not live the programs
/// join the fabric device and the pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SteerConfig {
    /// [`ABI_VERSION`] of the process that wrote the entry.
    pub abi_version: u32,
    /// Bits of [`flags`].
    pub flags: u32,
    /// The dataplane's end of the pair whose other end is vhost0; 0 when the address of the host is on the fabric
    /// device.
    pub pair_ifindex: u32,
    /// The fabric device.
    pub fabric_ifindex: u32,
    /// A heartbeat older than this many nanoseconds is stale; 0 turns the check off.
    pub heartbeat_timeout_ns: u64,
}

impl SteerConfig {
    /// A configuration without flags and with the address of the host on the fabric device.
    #[must_use]
    pub const fn new(heartbeat_timeout_ns: u64) -> Self {
        Self { abi_version: ABI_VERSION, flags: 0, pair_ifindex: 0, fabric_ifindex: 0, heartbeat_timeout_ns }
    }

    /// The same with the address of the host on vhost0.
    #[must_use]
    pub const fn with_pair(self, fabric_ifindex: u32, pair_ifindex: u32) -> Self {
        Self { pair_ifindex, fabric_ifindex, ..self }
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
