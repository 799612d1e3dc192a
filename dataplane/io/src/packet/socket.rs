#![allow(unsafe_code, reason = "system calls")]

use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use super::filter;
use crate::{KernelStatistics, PacketConfig, PortError, netdev, sys};

/// The socket of a port, and what the kernel has dropped for it.
pub(super) struct PacketSocket {
    fd: OwnedFd,
    /// The kernel forgets the number when it is read.
    drops: AtomicU64,
}

impl PacketSocket {
    pub(super) const fn new(fd: OwnedFd) -> Self {
        Self { fd, drops: AtomicU64::new(0) }
    }
}

impl AsFd for PacketSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl KernelStatistics for PacketSocket {
    fn drops(&self) -> io::Result<u64> {
        let none = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let new = sys::get_option(self.as_fd(), libc::SOL_PACKET, libc::PACKET_STATISTICS, none)?;
        let new = u64::from(new.tp_drops);
        Ok(self.drops.fetch_add(new, Ordering::Relaxed) + new)
    }
}

/// Opens the sockets of a device, one per queue.
pub(super) fn open(config: &PacketConfig) -> Result<Vec<PacketSocket>, PortError> {
    let name = &config.interface;
    let index = netdev::index(name)?;
    let doing = || format!("receiving from `{name}` by AF_PACKET");
    let mut sockets = Vec::new();
    let mut group = None;
    for _ in 0..config.queues.max(1) {
        // Protocol 0: nothing arrives before the socket is bound to its device.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
            .map_err(|error| PortError::raw(doing(), error))?;
        set_up(fd.as_fd(), config, index)
            .and_then(|()| bind(fd.as_fd(), index))
            .map_err(|error| PortError::device(name, "receiving by AF_PACKET from", error))?;
        if config.queues > 1 {
            group = Some(join(fd.as_fd(), group).map_err(|error| PortError::raw(doing(), error))?);
        }
        sockets.push(PacketSocket::new(fd));
    }
    if config.queues > 1 {
        // What came before all had joined the group came to several.
        for socket in &sockets {
            drain(socket.as_fd());
        }
    }
    Ok(sockets)
}

fn set_up(fd: BorrowedFd<'_>, config: &PacketConfig, index: u32) -> io::Result<()> {
    for option in [libc::PACKET_VNET_HDR, libc::PACKET_AUXDATA, libc::PACKET_IGNORE_OUTGOING] {
        sys::set_option(fd, libc::SOL_PACKET, option, &1)?;
    }
    sys::set_buffers(fd, config.buffer);
    filter::attach(fd, config.filter)?;
    if config.promiscuous {
        let membership = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        sys::set_option(fd, libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)?;
    }
    Ok(())
}

fn bind(fd: BorrowedFd<'_>, index: u32) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: (libc::ETH_P_ALL as u16).to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let len = mem::size_of_val(&address) as u32;
    // SAFETY: pointer and length are those of an address that outlives the call.
    sys::check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), len) })?;
    Ok(())
}

/// Makes a socket one of those that share a device's traffic; without a group founds one. Returns its number.
fn join(fd: BorrowedFd<'_>, group: Option<u16>) -> io::Result<u16> {
    let flags = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
    let mode = (libc::PACKET_FANOUT_HASH | flags) as i32;
    sys::set_option(
        fd,
        libc::SOL_PACKET,
        libc::PACKET_FANOUT,
        &(mode << 16 | i32::from(group.unwrap_or(0))),
    )?;
    Ok(sys::get_option(fd, libc::SOL_PACKET, libc::PACKET_FANOUT, 0)? as u16)
}

fn drain(fd: BorrowedFd<'_>) {
    let mut byte = 0_u8;
    // More than the buffer of the socket holds; a flood shall not keep us here.
    for _ in 0..100_000 {
        // SAFETY: the kernel writes at most one byte.
        let got = unsafe { libc::recv(fd.as_raw_fd(), (&raw mut byte).cast(), 1, libc::MSG_TRUNC) };
        if got < 0 {
            break;
        }
    }
}

/// Whether this kernel takes UDP super-frames with a virtio-net header: Linux 6.2 and later.
pub(super) fn takes_udp_super_frames() -> bool {
    static TAKES: OnceLock<bool> = OnceLock::new();
    *TAKES.get_or_init(|| {
        let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        is_at_least(&release, (6, 2))
    })
}

fn is_at_least(release: &str, wanted: (u32, u32)) -> bool {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= wanted
}

#[cfg(test)]
mod tests {
    use super::is_at_least;

    #[test]
    fn releases_are_compared_as_numbers() {
        for (release, expected) in [
            ("6.18.44-fc-v669", true),
            ("6.2.0", true),
            ("6.1.0-21-amd64", false),
            ("5.15.0", false),
            ("10.0", true),
            ("", false),
        ] {
            assert_eq!(is_at_least(release, (6, 2)), expected, "{release}");
        }
    }
}
