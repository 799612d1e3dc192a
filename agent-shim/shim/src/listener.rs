//! Where clients connect: a Unix socket, or TCP for R2.20 (control.md 3.1).

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use crate::ServerError;

/// Name of the control socket in its directory.
pub const SOCKET: &str = "dpdk_netlink";

/// A listening socket.
pub(crate) enum Listener {
    /// In the file system.
    Unix {
        /// The socket.
        socket: UnixListener,
        /// Its file.
        path: PathBuf,
        /// Device and inode of the file.
        inode: Option<(u64, u64)>,
    },
    /// On an address of the host.
    Tcp(TcpListener),
}

impl Listener {
    /// Listens in `directory`, which is made if it is missing. A socket that a dead daemon left is replaced.
    pub(crate) fn unix(directory: &Path) -> Result<Self, ServerError> {
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o775)
            .create(directory)
            .map_err(|source| ServerError::Directory { path: directory.to_owned(), source })?;
        let path = directory.join(SOCKET);
        let failed = |source| ServerError::Listen { path: path.clone(), source };
        if UnixStream::connect(&path).is_ok() {
            return Err(ServerError::InUse(path));
        }
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
            _ => {}
        }
        let socket = UnixListener::bind(&path).map_err(failed)?;
        socket.set_nonblocking(true).map_err(failed)?;
        let inode = inode(&path);
        Ok(Self::Unix { socket, path, inode })
    }

    /// Listens on an address.
    pub(crate) fn tcp(address: SocketAddr) -> Result<Self, ServerError> {
        let listen = || {
            let socket = TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        };
        listen().map(Self::Tcp).map_err(|source| ServerError::ListenTcp { address, source })
    }

    /// Takes a client that waits. [`io::ErrorKind::WouldBlock`] if there is none.
    pub(crate) fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Unix { socket, .. } => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
            Self::Tcp(socket) => {
                let (stream, _) = socket.accept()?;
                stream.set_nonblocking(true)?;
                // Without it replies are only slower.
                let _ = stream.set_nodelay(true);
                Ok(Stream::Tcp(stream))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix { socket, .. } => socket.as_fd(),
            Self::Tcp(socket) => socket.as_fd(),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        // A daemon that came after us may have put its own socket there.
        if let Self::Unix { path, inode: Some(made), .. } = self
            && inode(path) == Some(*made)
        {
            let _ = std::fs::remove_file(path);
        }
    }
}

fn inode(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()))
}

/// A connection.
pub(crate) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Unix(stream) => stream.as_fd(),
            Self::Tcp(stream) => stream.as_fd(),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.read(bytes),
            Self::Tcp(stream) => stream.read(bytes),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Unix(stream) => stream.write(bytes),
            Self::Tcp(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
