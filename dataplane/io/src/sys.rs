//! System calls on sockets, with Rust's errors.
#![allow(unsafe_code, reason = "system calls")]

use std::ffi::c_int;
use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Types that the kernel may write in a socket option.
///
/// # Safety
/// Every bit pattern is a value.
pub(crate) unsafe trait Plain: Copy {}

// SAFETY: a number.
unsafe impl Plain for c_int {}
// SAFETY: numbers only.
unsafe impl Plain for libc::tpacket_stats {}
// SAFETY: numbers only.
unsafe impl Plain for libc::xdp_mmap_offsets {}
// SAFETY: numbers only.
unsafe impl Plain for libc::xdp_statistics {}
// SAFETY: numbers only.
unsafe impl Plain for libc::xdp_options {}

/// The result of a system call, or the error that it left in `errno`.
pub(crate) fn check(result: c_int) -> io::Result<c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// As [`check`], for calls that return a length.
pub(crate) fn check_len(result: isize) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// A socket, closed on exec and not blocking.
pub(crate) fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain system call.
    let fd = check(unsafe { libc::socket(domain, kind, protocol) })?;
    // SAFETY: the descriptor was just made and nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Sets a socket option.
pub(crate) fn set_option<T>(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let value = std::ptr::from_ref(value).cast();
    // SAFETY: pointer and length are those of a value that outlives the call, which only reads it.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, value, mem::size_of::<T>() as u32) })?;
    Ok(())
}

/// Reads a socket option into `value`, which keeps what the kernel does not write.
pub(crate) fn get_option<T: Plain>(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    mut value: T,
) -> io::Result<T> {
    let mut len = mem::size_of::<T>() as u32;
    // SAFETY: pointer and length are those of a value that takes any bits.
    check(unsafe { libc::getsockopt(fd.as_raw_fd(), level, name, (&raw mut value).cast(), &raw mut len) })?;
    Ok(value)
}

/// Gives a socket room for `bytes` in both directions, or as much as the system allows.
pub(crate) fn set_buffers(fd: BorrowedFd<'_>, bytes: usize) {
    // The kernel doubles it, for its own overhead.
    let size = c_int::try_from(bytes / 2).unwrap_or(c_int::MAX);
    let kinds = [(libc::SO_RCVBUFFORCE, libc::SO_RCVBUF), (libc::SO_SNDBUFFORCE, libc::SO_SNDBUF)];
    for (beyond_limit, within_limit) in kinds {
        if set_option(fd, libc::SOL_SOCKET, beyond_limit, &size).is_err() {
            // Without the privilege the system's limit applies, silently.
            let _ = set_option(fd, libc::SOL_SOCKET, within_limit, &size);
        }
    }
}

/// Whether a call that does not block had nothing to do, or was interrupted before it did something.
pub(crate) fn is_transient(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EINTR))
}
