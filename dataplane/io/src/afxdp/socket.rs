//! Making and binding an `AF_XDP` socket.
#![allow(unsafe_code, reason = "system calls")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use vr_frame::Arena;

use super::AfXdpConfig;
use super::report::Refusal;
use super::ring::{Consumer, Layout, Producer};
use crate::{KernelStatistics, PortError, sys};

/// How many frames the kernel sends in one system call, without being asked for more.
pub(super) const KICK: u32 = 32;
/// How many we ask for, where that can be done (Linux 6.18).
const MORE_PER_KICK: u32 = 128;
const XDP_MAX_TX_SKB_BUDGET: i32 = 9;

/// A bound socket.
pub(super) struct XdpSocket {
    fd: OwnedFd,
}

/// Its rings.
pub(super) struct Rings {
    pub(super) receive: Consumer<libc::xdp_desc>,
    pub(super) transmit: Producer<libc::xdp_desc>,
    pub(super) fill: Producer<u64>,
    pub(super) completion: Consumer<u64>,
}

/// What a socket gives a port.
pub(super) struct Bound {
    pub(super) socket: XdpSocket,
    pub(super) rings: Rings,
    pub(super) frames_per_kick: u32,
}

/// Makes a socket whose memory are the packet buffers of the arena, and binds it.
pub(super) fn open(
    config: &AfXdpConfig,
    index: u32,
    arena: &Arena,
    zero_copy: bool,
) -> Result<Bound, Refusal> {
    let fd =
        sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map_err(|error| Refusal::Final(no_socket(error)))?;
    register(fd.as_fd(), arena).map_err(Refusal::Final)?;
    let system = |source| {
        let doing = format!("making the AF_XDP rings of `{}`", config.interface);
        Refusal::Final(PortError::System { doing, source })
    };
    let rings = rings(fd.as_fd(), config.ring).map_err(system)?;
    // Frames that are being sent count against this; the default is room for a few hundred.
    sys::set_buffers(fd.as_fd(), config.ring as usize * 2 * Arena::PACKET_SIZE);
    let more = sys::set_option(fd.as_fd(), libc::SOL_XDP, XDP_MAX_TX_SKB_BUDGET, &MORE_PER_KICK).is_ok();
    bind(fd.as_fd(), index, config.queue, zero_copy).map_err(Refusal::Bind)?;
    let frames_per_kick = if more { MORE_PER_KICK } else { KICK };
    Ok(Bound { socket: XdpSocket::new(fd), rings, frames_per_kick })
}

pub(super) fn no_socket(error: io::Error) -> PortError {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::raw("opening an AF_XDP socket", error),
        _ => PortError::NoAfXdp(error),
    }
}

fn register(fd: BorrowedFd<'_>, arena: &Arena) -> Result<(), PortError> {
    let (base, bytes) = arena.packet_region();
    let region = libc::xdp_umem_reg {
        addr: base.as_ptr() as u64,
        len: bytes as u64,
        chunk_size: Arena::PACKET_SIZE as u32,
        // The kernel keeps `Arena::HEADROOM` bytes free by itself.
        headroom: 0,
        flags: 0,
        tx_metadata_len: 0,
    };
    sys::set_option(fd, libc::SOL_XDP, libc::XDP_UMEM_REG, &region).map_err(|source| {
        match source.raw_os_error() {
            Some(libc::ENOBUFS | libc::ENOMEM) => PortError::Memlock { bytes },
            _ => PortError::System { doing: "registering packet buffers with AF_XDP".to_owned(), source },
        }
    })
}

fn rings(fd: BorrowedFd<'_>, entries: u32) -> io::Result<Rings> {
    // Completions of frames that are still being sent have to find room besides those not looked at yet.
    let completions = entries * 2;
    for (option, entries) in [
        (libc::XDP_UMEM_FILL_RING, entries),
        (libc::XDP_UMEM_COMPLETION_RING, completions),
        (libc::XDP_RX_RING, entries),
        (libc::XDP_TX_RING, entries),
    ] {
        sys::set_option(fd, libc::SOL_XDP, option, &entries)?;
    }
    // SAFETY: numbers only.
    let none: libc::xdp_mmap_offsets = unsafe { mem::zeroed() };
    let all = sys::get_option(fd, libc::SOL_XDP, libc::XDP_MMAP_OFFSETS, none)?;
    let layout = |offsets, entries, page| Layout { offsets, entries, page };
    let (fill, completion) = (libc::XDP_UMEM_PGOFF_FILL_RING, libc::XDP_UMEM_PGOFF_COMPLETION_RING);
    Ok(Rings {
        receive: Consumer::map(fd, &layout(all.rx, entries, libc::XDP_PGOFF_RX_RING))?,
        transmit: Producer::map(fd, &layout(all.tx, entries, libc::XDP_PGOFF_TX_RING))?,
        fill: Producer::map(fd, &layout(all.fr, entries, fill as libc::off_t))?,
        completion: Consumer::map(fd, &layout(all.cr, completions, completion as libc::off_t))?,
    })
}

fn bind(fd: BorrowedFd<'_>, index: u32, queue: u32, zero_copy: bool) -> io::Result<()> {
    let mode = if zero_copy { libc::XDP_ZEROCOPY } else { libc::XDP_COPY };
    let address = libc::sockaddr_xdp {
        sxdp_family: libc::AF_XDP as u16,
        sxdp_flags: mode | libc::XDP_USE_NEED_WAKEUP,
        sxdp_ifindex: index,
        sxdp_queue_id: queue,
        sxdp_shared_umem_fd: 0,
    };
    let len = mem::size_of_val(&address) as u32;
    // SAFETY: pointer and length are those of an address that outlives the call.
    sys::check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

impl XdpSocket {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self { fd }
    }

    /// Makes the kernel send what is in the transmit ring, or as much as it does at once.
    pub(super) fn kick_transmit(&self) -> io::Result<()> {
        let (none, flags) = (std::ptr::null(), libc::MSG_DONTWAIT);
        // SAFETY: nothing is read from the empty buffer.
        let sent = unsafe { libc::sendto(self.fd.as_raw_fd(), none, 0, flags, std::ptr::null(), 0) };
        sys::check_len(sent).map(|_| ())
    }

    /// Makes a driver that has run out of buffers look at the fill ring.
    pub(super) fn kick_receive(&self) -> io::Result<()> {
        let (none, flags) = (std::ptr::null_mut(), libc::MSG_DONTWAIT);
        let (from, len) = (std::ptr::null_mut(), std::ptr::null_mut());
        // SAFETY: nothing is written to the empty buffer.
        let got = unsafe { libc::recvfrom(self.fd.as_raw_fd(), none, 0, flags, from, len) };
        sys::check_len(got).map(|_| ())
    }
}

impl AsFd for XdpSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl KernelStatistics for XdpSocket {
    fn drops(&self) -> io::Result<u64> {
        kernel_drops(self.as_fd())
    }
}

/// Frames that the kernel had for a socket and no room to put.
fn kernel_drops(fd: BorrowedFd<'_>) -> io::Result<u64> {
    // SAFETY: numbers only.
    let none: libc::xdp_statistics = unsafe { mem::zeroed() };
    let statistics = sys::get_option(fd, libc::SOL_XDP, libc::XDP_STATISTICS, none)?;
    Ok(statistics.rx_dropped + statistics.rx_ring_full)
}
