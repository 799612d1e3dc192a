//! Where front ends are found: connecting to their sockets, or listening for them.

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use nix::sys::socket::{self, AddressFamily, SockFlag, SockType, UnixAddr};

use crate::PortError;

/// Bytes of the longest path of a socket, without its NUL (unix(7)).
const LONGEST: usize = 107;

/// Refuses paths that are no socket's.
pub(super) fn check_path(path: &Path) -> Result<(), PortError> {
    if path.as_os_str().len() > LONGEST {
        return Err(PortError::PathTooLong { path: path.to_owned(), longest: LONGEST });
    }
    Ok(())
}

/// Connects to a front end that listens. Connecting to a Unix socket does not wait, but for room in a full queue.
pub(super) fn connect(path: &Path) -> nix::Result<OwnedFd> {
    let flags = SockFlag::SOCK_NONBLOCK | SockFlag::SOCK_CLOEXEC;
    let socket = socket::socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    socket::connect(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(socket)
}

/// A socket on which we listen. Removes its file when it is dropped, unless somebody has put another one there.
pub(super) struct Listener {
    socket: UnixListener,
    path: PathBuf,
    identity: (u64, u64),
}

impl Listener {
    /// Listens, in place of a socket that nobody listens on any more.
    pub(super) fn bind(path: &Path) -> Result<Self, PortError> {
        let fail = |source| PortError::File { path: path.to_owned(), source };
        match UnixStream::connect(path) {
            Ok(_) => return Err(PortError::SocketInUse(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => remove(path).map_err(fail)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(fail(error)),
        }
        let socket = UnixListener::bind(path).map_err(fail)?;
        socket.set_nonblocking(true).map_err(fail)?;
        let identity = identity(path).map_err(fail)?;
        Ok(Self { socket, path: path.to_owned(), identity })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// A front end that has connected.
    pub(super) fn accept(&self) -> Option<OwnedFd> {
        let (stream, _) = self.socket.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(stream.into())
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|there| there == self.identity) {
            // Nothing can be done when the directory has become read-only.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Removes a socket, unless its owner does so just now.
fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result,
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}
