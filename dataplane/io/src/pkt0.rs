//! The socket to the agent (control.md 6.1).
#![allow(unsafe_code, reason = "system calls")]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use vr_frame::{Batch, FramePool, Packet};

use crate::counters::Cells;
use crate::mmsg::{Datagram, Receiver, Refusal, Sender};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind, sys};

/// Bytes of the longest frame that the agent takes; longer traps are cut (control.md 6.2).
pub const LONGEST_PKT0_FRAME: usize = 9060;

/// Room for traps that the agent has not read yet, bytes.
const BUFFER: usize = 8 << 20;

/// Frames to and from the agent, as datagrams between two sockets in one directory.
///
/// Each datagram names its receiver by path, so that an agent that comes back is found without being noticed.
pub struct Pkt0Port {
    fd: OwnedFd,
    path: PathBuf,
    /// Device and inode of our socket: what somebody else has put in its place is not ours to remove.
    identity: (u64, u64),
    receiver: Receiver,
    sender: Sender<0>,
    counters: Arc<PortCounters>,
}

impl Pkt0Port {
    /// Name of our socket in the directory.
    pub const OURS: &str = "dpdk_pkt0";
    /// Name of the agent's.
    pub const AGENTS: &str = "agent_pkt0";

    /// Makes our socket in `directory`, in place of one that nobody uses any more. The agent's need not be
    /// there yet.
    ///
    /// # Errors
    /// [`PortError::SocketInUse`], [`PortError::PathTooLong`], [`PortError::File`].
    pub fn open(directory: &Path) -> Result<Self, PortError> {
        let path = directory.join(Self::OURS);
        let ours = address(&path)?;
        let fail = |source| PortError::File { path: path.clone(), source };
        let fd = sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).map_err(fail)?;
        remove_stale(&path, &ours)?;
        with_address(&fd, &ours, libc::bind).map_err(fail)?;
        sys::set_buffers(fd.as_fd(), BUFFER);
        Self::from_fd(fd, directory)
    }

    /// A port over a socket that [`Pkt0Port::open`] has made in `directory`, in this process or in its
    /// predecessor.
    ///
    /// # Errors
    /// [`PortError::File`] when the socket is no longer in the directory, and [`PortError::PathTooLong`].
    pub fn from_fd(fd: OwnedFd, directory: &Path) -> Result<Self, PortError> {
        let path = directory.join(Self::OURS);
        let identity = identity(&path).map_err(|source| PortError::File { path: path.clone(), source })?;
        Ok(Self {
            fd,
            path,
            identity,
            receiver: Receiver::new(0, false),
            sender: Sender::new(Some(address(&directory.join(Self::AGENTS))?)),
            counters: Arc::default(),
        })
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// The socket address of a path.
fn address(path: &Path) -> Result<libc::sockaddr_un, PortError> {
    // SAFETY: all zero bytes are an address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = path.as_os_str().as_bytes();
    let longest = address.sun_path.len() - 1;
    if bytes.len() > longest {
        return Err(PortError::PathTooLong { path: path.to_owned(), longest });
    }
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as libc::c_char;
    }
    Ok(address)
}

type AddressCall = unsafe extern "C" fn(i32, *const libc::sockaddr, libc::socklen_t) -> i32;

fn with_address(fd: &OwnedFd, address: &libc::sockaddr_un, call: AddressCall) -> io::Result<()> {
    let len = mem::size_of_val(address) as u32;
    // SAFETY: pointer and length are those of an address that outlives the call.
    sys::check(unsafe { call(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), len) })?;
    Ok(())
}

/// Removes a socket that nobody receives on.
fn remove_stale(path: &Path, address: &libc::sockaddr_un) -> Result<(), PortError> {
    let fail = |source| PortError::File { path: path.to_owned(), source };
    let probe = sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).map_err(fail)?;
    match with_address(&probe, address, libc::connect) {
        Ok(()) => Err(PortError::SocketInUse(path.to_owned())),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            Some(libc::ECONNREFUSED) => fs::remove_file(path).map_err(fail),
            _ => Err(fail(error)),
        },
    }
}

impl Port for Pkt0Port {
    fn kind(&self) -> PortKind {
        PortKind::Pkt0
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let cells = self.counters.cells();
        let wanted = self.receiver.wanted(batch.remaining_capacity());
        let got = match self.receiver.receive(self.fd.as_fd(), pool, wanted) {
            Ok((got, asked)) => {
                cells.rx_syscalls.add(u64::from(asked > 0));
                got
            }
            Err(error) => {
                cells.rx_syscalls.add(1);
                cells.rx_errors.add(u64::from(!sys::is_transient(&error)));
                0
            }
        };
        for index in 0..got {
            if let Some(packet) = accept(self.receiver.take(index), cells, pool) {
                self.counters.received(1, packet.frame.len() as u64);
                if let Err(packet) = batch.push(packet) {
                    pool.free(packet.frame);
                }
            }
        }
        self.receiver.give_back(pool);
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let (capabilities, counters) = (self.capabilities(), &self.counters);
        self.sender.load(batch, |mut packet| {
            packet.frame.truncate(LONGEST_PKT0_FRAME);
            match capabilities.check(&packet.frame, &packet.offload) {
                Ok(()) => Some(packet),
                Err(unfit) => {
                    counters.unfit(unfit);
                    pool.free(packet.frame);
                    None
                }
            }
        });
        let refused = |error: &io::Error, rest| refused(error, rest, counters.cells());
        let (packets, bytes, calls) = self.sender.send(self.fd.as_fd(), pool, |_| [], refused);
        counters.sent(packets, bytes);
        counters.cells().tx_syscalls.add(calls);
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    /// Traps go as they came: the agent takes partial checksums as they are, and super-frames are cut.
    fn capabilities(&self) -> Capabilities {
        Capabilities { longest_frame: LONGEST_PKT0_FRAME, ..Capabilities::everything() }
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    /// Removes our socket from its directory.
    fn close(self: Box<Self>, _: &mut FramePool) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing can be done when the directory has become read-only.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// The packet that a datagram is, if it is one.
fn accept(datagram: Datagram, cells: &Cells, pool: &mut FramePool) -> Option<Packet> {
    match datagram {
        Datagram::Whole(frame, _) if frame.len() > LONGEST_PKT0_FRAME => {
            cells.rx_too_long.add(1);
            pool.free(frame);
        }
        Datagram::Whole(frame, _) if frame.len() < ETHERNET_HEADER => {
            cells.rx_malformed.add(1);
            pool.free(frame);
        }
        Datagram::Whole(frame, _) => return Some(Packet::plain(frame)),
        Datagram::NoBuffer => cells.rx_no_buffer.add(1),
        Datagram::TooLong => cells.rx_too_long.add(1),
    }
    None
}

#[cold]
fn refused(error: &io::Error, rest: u64, cells: &Cells) -> Refusal {
    let counter = match error.raw_os_error() {
        // The agent is slow: its queue is full.
        Some(libc::EAGAIN | libc::ENOBUFS) => &cells.tx_full,
        // The agent is not there, or has just gone.
        _ => &cells.tx_errors,
    };
    counter.add(rest);
    Refusal::Rest
}
