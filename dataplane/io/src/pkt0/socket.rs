//! The socket to the agent, which stays while agents and their interfaces come and go (control.md 6.1).
#![allow(unsafe_code, reason = "system calls")]

use std::fs;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::Pkt0Port;
use crate::{PortError, sys};

/// Room for traps that the agent has not read yet, bytes.
const BUFFER: usize = 8 << 20;
/// Datagrams from before that are thrown away when a port is made.
const OLD: usize = 4096;

/// Our socket in the directory where agents look for it. Its file is removed when it is dropped.
///
/// A new agent connects to what its predecessor has left, before it asks for its interface, and does not look
/// again. So one socket serves all agents, and each interface gets a port over it.
pub struct Pkt0Socket {
    fd: OwnedFd,
    agents: libc::sockaddr_un,
    path: PathBuf,
    /// Device and inode of our socket: what somebody else has put in its place is not ours to remove.
    identity: (u64, u64),
}

impl Pkt0Socket {
    /// Makes our socket in `directory`, in place of one that nobody uses any more. The agent's need not be
    /// there yet.
    ///
    /// # Errors
    /// [`PortError::SocketInUse`], [`PortError::PathTooLong`], [`PortError::File`].
    pub fn bind(directory: &Path) -> Result<Self, PortError> {
        let path = directory.join(Pkt0Port::OURS);
        let (ours, agents) = (address(&path)?, address(&directory.join(Pkt0Port::AGENTS))?);
        let fail = |source| PortError::File { path: path.clone(), source };
        let fd = sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).map_err(fail)?;
        remove_stale(&path, &ours)?;
        with_address(fd.as_fd(), &ours, libc::bind).map_err(fail)?;
        sys::set_buffers(fd.as_fd(), BUFFER);
        let identity = identity(&path).map_err(fail)?;
        Ok(Self { fd, agents, path, identity })
    }

    /// A port over this socket; there should be one at a time. What came before it is thrown away.
    ///
    /// # Errors
    /// [`PortError::File`] when there is no descriptor left.
    pub fn port(&self) -> Result<Pkt0Port, PortError> {
        let fail = |source| PortError::File { path: self.path.clone(), source };
        let fd = self.fd.try_clone().map_err(fail)?;
        for _ in 0..OLD {
            // SAFETY: the kernel writes nothing into a buffer of no bytes.
            let got = unsafe { libc::recv(fd.as_raw_fd(), std::ptr::null_mut(), 0, libc::MSG_DONTWAIT) };
            if got < 0 {
                break;
            }
        }
        Ok(Pkt0Port::over(fd, self.agents))
    }

    /// Lets go of an agent that has died. As long as our socket is connected to its, the kernel refuses the next agent,
    /// which tries again after a second only. To be called now and then.
    pub fn let_go(&self) {
        if !is_connected(self.fd.as_fd()) || connect(self.fd.as_fd(), &self.agents).is_ok() {
            return;
        }
        // SAFETY: all zero bytes are an address; its family is `AF_UNSPEC`, which ends a connection.
        let nobody: libc::sockaddr_un = unsafe { mem::zeroed() };
        // It can only fail when there is no connection any more.
        let _ = connect(self.fd.as_fd(), &nobody);
    }
}

impl Drop for Pkt0Socket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing can be done when the directory has become read-only.
            let _ = fs::remove_file(&self.path);
        }
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

/// Connects a socket, which stays as it is when that is not possible. Nothing happens to one that is connected so already.
pub(super) fn connect(fd: BorrowedFd<'_>, address: &libc::sockaddr_un) -> io::Result<()> {
    with_address(fd, address, libc::connect)
}

fn is_connected(fd: BorrowedFd<'_>) -> bool {
    // SAFETY: all zero bytes are an address.
    let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
    let mut len = mem::size_of_val(&address) as u32;
    // SAFETY: the kernel writes no more than the length into an address that outlives the call.
    unsafe { libc::getpeername(fd.as_raw_fd(), (&raw mut address).cast(), &raw mut len) == 0 }
}

fn with_address(fd: BorrowedFd<'_>, address: &libc::sockaddr_un, call: AddressCall) -> io::Result<()> {
    let len = mem::size_of_val(address) as u32;
    // SAFETY: pointer and length are those of an address that outlives the call.
    sys::check(unsafe { call(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), len) })?;
    Ok(())
}

/// Removes a socket that nobody receives on.
fn remove_stale(path: &Path, address: &libc::sockaddr_un) -> Result<(), PortError> {
    let fail = |source| PortError::File { path: path.to_owned(), source };
    let probe = sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0).map_err(fail)?;
    match connect(probe.as_fd(), address) {
        Ok(()) => Err(PortError::SocketInUse(path.to_owned())),
        Err(error) => match error.raw_os_error() {
            Some(libc::ENOENT) => Ok(()),
            Some(libc::ECONNREFUSED) => fs::remove_file(path).map_err(fail),
            _ => Err(fail(error)),
        },
    }
}
