//! What the steering program in the kernel and its loader in userspace agree on: the keys and values of the
//! maps, the counters, the metadata in front of a redirected packet, and the hash of the inner headers.
//!
//! Every number that crosses the boundary is in the byte order of the machine, except the bytes of an address,
//! which stay as they are on the wire. Both sides run on one machine, and only little-endian machines are
//! supported, since the committed object is built for `bpfel`.
#![no_std]
#![allow(unsafe_code, reason = "the marker trait of layouts that the kernel reads as bytes")]
#![allow(
    clippy::inline_always,
    reason = "a function that is not inlined is one more for the verifier to enter"
)]

mod config;
mod counter;
mod endpoint;
mod hash;
mod inspect;
mod meta;

pub use config::{QueueSlots, SteerConfig, flags};
pub use counter::{Counter, SwallowCounter};
pub use endpoint::{EndpointKey, Tunnel, TunnelSet};
pub use hash::InnerHash;
pub use inspect::{Payload, inspect_payload};
pub use meta::{METADATA_LEN, SteerMeta};

/// Version of everything in this crate. The loader writes it into [`SteerConfig`]; a process that finds the
/// pinned maps of a predecessor uses them only if the version is its own.
pub const ABI_VERSION: u32 = 2;

/// Receive queues of one device that the program can serve; packets of a queue beyond are dropped and counted.
pub const MAX_QUEUES: u32 = 256;

/// Socket slots of one device, over all its queues.
pub const MAX_SLOTS: u32 = 1024;

/// Local tunnel endpoint addresses of one device.
pub const MAX_ENDPOINTS: u32 = 256;

/// Names of the maps in the object, the same as under the pin path of an instance.
pub mod map {
    /// Array of one [`SteerConfig`](crate::SteerConfig).
    pub const CONFIG: &str = "CONFIG";
    /// Memory-mappable array of one `u64`: when a worker last showed that it lives, `CLOCK_MONOTONIC` in ns.
    pub const HEARTBEAT: &str = "HEARTBEAT";
    /// Hash from [`EndpointKey`](crate::EndpointKey) to the bits of a [`TunnelSet`](crate::TunnelSet).
    pub const ENDPOINTS: &str = "ENDPOINTS";
    /// Array from receive queue to [`QueueSlots`](crate::QueueSlots).
    pub const QUEUES: &str = "QUEUES";
    /// `XSKMAP` from slot to `AF_XDP` socket.
    pub const SOCKETS: &str = "SOCKETS";
    /// Per-CPU array of `u64` indexed by [`Counter`](crate::Counter).
    pub const COUNTERS: &str = "COUNTERS";
    /// Per-CPU array of `u64` indexed by [`SwallowCounter`](crate::SwallowCounter).
    pub const SWALLOWED: &str = "SWALLOWED";
}

/// Names of the programs in the object.
pub mod program {
    /// The XDP program that takes tunnel packets.
    pub const STEER: &str = "steer";
    /// The tc program that drops and counts everything.
    pub const SWALLOW: &str = "swallow";
    /// The tc program on the fabric device that sends to vhost0 what `steer` has passed.
    pub const TO_HOST: &str = "to_host";
    /// The tc program on the dataplane's end of the pair of vhost0: it drops what the dataplane has copied, and sends
    /// it out of the fabric device while there is no dataplane.
    pub const FROM_HOST: &str = "from_host";
}

/// A type that the kernel may read and write as plain bytes.
///
/// # Safety
/// The type is `repr(C)` or `repr(transparent)`, has no padding, and every bit pattern is a value of it.
pub unsafe trait Plain: Copy + 'static {}

// SAFETY: a primitive integer.
unsafe impl Plain for u32 {}
// SAFETY: a primitive integer.
unsafe impl Plain for u64 {}
// SAFETY: one array of two u64.
unsafe impl Plain for EndpointKey {}
// SAFETY: two u32.
unsafe impl Plain for QueueSlots {}
// SAFETY: four u32, then a u64 at offset 16: no padding.
unsafe impl Plain for SteerConfig {}

const _: () = assert!(size_of::<EndpointKey>() == 16);
const _: () = assert!(size_of::<QueueSlots>() == 8);
const _: () = assert!(size_of::<SteerConfig>() == 24);
