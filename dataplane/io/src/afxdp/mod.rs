//! `AF_XDP` sockets: one per queue of a device.
//!
//! The XDP program that redirects to the sockets, and the map that it finds them in, are somebody else's: attach
//! the program, [`open`] a port and put its [`socket`](XdpPort::socket) into the map.
//!
//! There are two implementations behind [`XdpPort`]. [`XskBackend::Ring`] has rings of its own and registers
//! the packet buffers of the [`Arena`] as the socket's memory, so that frames are received and sent without a
//! copy in user space, headers can be pushed and pulled in place, and any port sends any frame.
//! [`XskBackend::XskRs`] uses the library xsk-rs, which has memory of its own and does not move the start of a
//! frame: every frame is copied in and out.

mod lent;
mod port;
mod report;
mod ring;
mod socket;
#[cfg(feature = "xsk-rs")]
mod xsk_rs;

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vr_frame::Arena;

use crate::{Port, PortError, netdev, sys};

pub use report::{AfXdpReport, RefusedRung, Rung};

/// Longest frame that fits into a buffer behind the headroom of the kernel.
pub const LONGEST_XDP_FRAME: usize = Arena::PACKET_SIZE - Arena::HEADROOM;

/// Which implementation drives the socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum XskBackend {
    /// Rings of our own over the arena.
    #[default]
    Ring,
    /// The library xsk-rs, if it was built in (feature `xsk-rs`).
    XskRs,
}

impl XskBackend {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ring => "ring",
            Self::XskRs => "xsk-rs",
        }
    }
}

/// How the XDP program is attached to the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum XdpHook {
    /// In the driver, or in the NIC.
    Native,
    /// Behind the driver; `reason` says why not in it.
    Generic {
        /// For people.
        reason: String,
    },
}

/// What to open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AfXdpConfig {
    /// The device.
    pub interface: String,
    /// Which of its queues.
    pub queue: u32,
    /// Which implementation.
    pub backend: XskBackend,
    /// How the program is attached.
    pub hook: XdpHook,
    /// Whether to try zero-copy.
    pub zero_copy: bool,
    /// Entries of the rings, a power of two. As many buffers lie ready for received frames.
    pub ring: u32,
}

impl AfXdpConfig {
    /// A queue with rings of 2,048 entries, the highest rung that goes, and a program that is attached natively.
    #[must_use]
    pub fn new(interface: &str, queue: u32) -> Self {
        Self {
            interface: interface.to_owned(),
            queue,
            backend: XskBackend::default(),
            hook: XdpHook::Native,
            zero_copy: true,
            ring: 2048,
        }
    }
}

/// Finds out whether this process may open `AF_XDP` sockets.
///
/// # Errors
/// [`PortError::NoAfXdp`] when the kernel has none, and [`PortError`] when the process may not.
pub fn probe() -> Result<(), PortError> {
    sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map(drop).map_err(socket::no_socket)
}

/// A port over an `AF_XDP` socket.
pub trait XdpPort: Port {
    /// The socket, to be put into the map of the XDP program.
    fn socket(&self) -> BorrowedFd<'_>;

    /// How the socket is bound, and why so.
    fn report(&self) -> &AfXdpReport;
}

/// Opens a queue of a device. All ports over one arena can send each other's frames.
///
/// # Errors
/// [`PortError`] when the kernel has no `AF_XDP`, the queue is taken or absent, the buffers cannot be locked, or
/// the process may not.
pub fn open(config: &AfXdpConfig, arena: &Arc<Arena>) -> Result<Box<dyn XdpPort>, PortError> {
    if !config.ring.is_power_of_two() || !(64..=32768).contains(&config.ring) {
        return Err(PortError::BadRingSize(config.ring));
    }
    let index = netdev::index(&config.interface)?;
    let queues = netdev::queues(&config.interface)?;
    let queues = queues.receive.max(queues.transmit);
    if config.queue >= queues {
        let (interface, queue) = (config.interface.clone(), config.queue);
        return Err(PortError::NoSuchQueue { interface, queue, queues });
    }
    match config.backend {
        XskBackend::Ring => Ok(Box::new(port::AfXdpPort::open(config, index, arena)?)),
        #[cfg(feature = "xsk-rs")]
        XskBackend::XskRs => Ok(Box::new(xsk_rs::XskRsPort::open(config)?)),
        #[cfg(not(feature = "xsk-rs"))]
        XskBackend::XskRs => Err(PortError::NoXskRs),
    }
}
