//! Reading and writing messages on a socket that does not block.
//!
//! The crate `vhost` of rust-vmm would read them too. It gives up a connection when a message comes in pieces, and
//! leaves nothing for the other ports of the thread when it waits for one; so this module reads them itself.
#![allow(unsafe_code, reason = "descriptors beside messages")]

use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::protocol::{Broken, HEADER, Header, LONGEST_PAYLOAD, MOST_REGIONS, Message, Reply, Request};

/// Bytes for the descriptors of one message; the kernel passes no more than 253 at once.
const CONTROL: usize = 1100;

/// One connection to a front end.
pub(super) struct Connection {
    socket: OwnedFd,
    bytes: [u8; HEADER + LONGEST_PAYLOAD],
    /// How many bytes of a message are there.
    got: usize,
    files: Vec<OwnedFd>,
}

/// Room for ancillary data, aligned as its headers are.
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

impl Connection {
    pub(super) const fn new(socket: OwnedFd) -> Self {
        Self { socket, bytes: [0; HEADER + LONGEST_PAYLOAD], got: 0, files: Vec::new() }
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next message, if it is there in full.
    pub(super) fn next(&mut self) -> Result<Option<Message>, Broken> {
        loop {
            let mut wanted = HEADER;
            if let Some(header) = self.bytes[..self.got].first_chunk::<HEADER>() {
                let header = Header::parse(*header)?;
                wanted += header.len;
                if self.got == wanted {
                    let request = Request::parse(header.request, &self.bytes[HEADER..wanted])?;
                    self.got = 0;
                    return Ok(Some(Message { request, files: mem::take(&mut self.files) }));
                }
            }
            match self.receive(wanted) {
                Ok(0) | Err(Errno::ECONNRESET) => return Err(Broken::Gone),
                Ok(len) => self.got += len,
                Err(Errno::EAGAIN) => return Ok(None),
                Err(Errno::EINTR) => {}
                Err(error) => return Err(Broken::Socket(error)),
            }
            if self.files.len() > MOST_REGIONS {
                return Err(Broken::Regions);
            }
        }
    }

    /// Reads up to the end of the message that is being read; never beyond, so that descriptors belong to it.
    fn receive(&mut self, end: usize) -> Result<usize, Errno> {
        let mut control = Control([0; CONTROL]);
        let place = &mut self.bytes[self.got..end];
        let mut iov = libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() };
        // SAFETY: all zero bytes are a header without anything.
        let mut header: libc::msghdr = unsafe { mem::zeroed() };
        header.msg_iov = &raw mut iov;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = CONTROL as _;
        let flags = libc::MSG_DONTWAIT | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header names buffers that outlive the call.
        let len = unsafe { libc::recvmsg(self.socket.as_raw_fd(), &raw mut header, flags) };
        let len = Errno::result(len)?;
        // SAFETY: the kernel has filled the header's control buffer.
        unsafe { take_files(&header, &mut self.files) };
        Ok(len as usize)
    }

    /// Sends a reply, unless the front end has left so many unread that there is no room.
    pub(super) fn reply(&self, reply: Reply) -> Result<(), Broken> {
        let (message, len) = reply.encode();
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the message outlives the call, which reads `len` of its bytes.
        let sent = unsafe { libc::send(self.socket.as_raw_fd(), message.as_ptr().cast(), len, flags) };
        match Errno::result(sent) {
            // It may have closed its side for reading, or all of it; what it has sent before still counts.
            Ok(_) | Err(Errno::EPIPE | Errno::ECONNRESET) => Ok(()),
            Err(Errno::EAGAIN) => Err(Broken::Deaf),
            Err(error) => Err(Broken::Socket(error)),
        }
    }
}

/// Takes over the descriptors that came with a message.
///
/// # Safety
/// `header` has to be as the kernel has left it, with its control buffer.
unsafe fn take_files(header: &libc::msghdr, files: &mut Vec<OwnedFd>) {
    // SAFETY: the caller vouches for the header; the macros stay inside its control buffer.
    unsafe {
        let mut part = libc::CMSG_FIRSTHDR(header);
        while let Some(found) = part.as_ref() {
            if found.cmsg_level == libc::SOL_SOCKET && found.cmsg_type == libc::SCM_RIGHTS {
                let bytes = found.cmsg_len - libc::CMSG_LEN(0) as usize;
                let data = std::slice::from_raw_parts(libc::CMSG_DATA(part), bytes);
                // The kernel has just made the descriptors for us.
                let (numbers, _) = data.as_chunks();
                files.extend(numbers.iter().map(|number| OwnedFd::from_raw_fd(i32::from_ne_bytes(*number))));
            }
            part = libc::CMSG_NXTHDR(header, part);
        }
    }
}
