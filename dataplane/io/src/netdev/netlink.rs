//! Requests to the kernel's routing socket (rtnetlink(7)).

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
};

const HEADER: usize = 16;

/// A request that is being written.
pub(super) struct Message {
    bytes: Vec<u8>,
}

impl Message {
    /// A request about a device: `RTM_*LINK` with these flags beside "request" and "acknowledge".
    pub(super) fn link(kind: u16, flags: i32, index: u32) -> Self {
        let flags = (flags | libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16;
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&kind.to_ne_bytes());
        bytes[6..8].copy_from_slice(&flags.to_ne_bytes());
        let mut message = Self { bytes };
        message.put_link(index);
        message
    }

    /// A notification about a link that is no device of the kernel, as the kernel sends them: no request.
    pub(super) fn notification(flags: i32) -> Self {
        let mut bytes = vec![0; HEADER];
        bytes[4..6].copy_from_slice(&libc::RTM_NEWLINK.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend((-1_i32).to_ne_bytes());
        bytes.extend((flags as u32).to_ne_bytes());
        bytes.extend(u32::MAX.to_ne_bytes());
        Self { bytes }
    }

    /// Sends it to all members of these groups.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn multicast(mut self, groups: u32) -> io::Result<()> {
        let netlink = self.finish()?;
        sendto(netlink.as_raw_fd(), &self.bytes, &NetlinkAddr::new(0, groups), MsgFlags::empty())?;
        Ok(())
    }

    /// Writes the length, now that it is known, and opens a socket.
    fn finish(&mut self) -> io::Result<OwnedFd> {
        let len = (self.bytes.len() as u32).to_ne_bytes();
        self.bytes[..4].copy_from_slice(&len);
        let kind = SockProtocol::NetlinkRoute;
        Ok(socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, kind)?)
    }

    /// Adds `struct ifinfomsg`, of which only the index matters here.
    pub(super) fn put_link(&mut self, index: u32) {
        self.bytes.extend([0; 4]);
        self.bytes.extend(index.to_ne_bytes());
        self.bytes.extend([0; 8]);
    }

    /// Adds an attribute.
    pub(super) fn put(&mut self, kind: u16, value: &[u8]) {
        self.nest(kind, |message| message.bytes.extend(value));
    }

    /// Adds an attribute that holds a string, with its terminating zero.
    pub(super) fn put_str(&mut self, kind: u16, value: &str) {
        self.nest(kind, |message| {
            message.bytes.extend(value.as_bytes());
            message.bytes.push(0);
        });
    }

    /// Adds an attribute that holds what `fill` writes.
    pub(super) fn nest(&mut self, kind: u16, fill: impl FnOnce(&mut Self)) {
        let start = self.bytes.len();
        self.bytes.extend([0; 2]);
        self.bytes.extend(kind.to_ne_bytes());
        fill(self);
        let len = (self.bytes.len() - start) as u16;
        self.bytes[start..start + 2].copy_from_slice(&len.to_ne_bytes());
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    /// Sends the request and waits for its acknowledgement.
    ///
    /// # Errors
    /// What the kernel says.
    pub(super) fn send(mut self) -> io::Result<()> {
        let netlink = self.finish()?;
        sendto(netlink.as_raw_fd(), &self.bytes, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;
        // The acknowledgement repeats at most the request.
        let mut reply = vec![0; self.bytes.len() + 4096];
        let len = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::empty())?;
        acknowledged(&reply[..len.min(reply.len())])
    }
}

fn acknowledged(reply: &[u8]) -> io::Result<()> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is no acknowledgement");
    let kind = reply.get(4..6).and_then(|bytes| bytes.first_chunk()).copied().map(u16::from_ne_bytes);
    if kind.map(i32::from) != Some(libc::NLMSG_ERROR) {
        return Err(broken());
    }
    let code = reply.get(HEADER..).and_then(|body| body.first_chunk()).copied().ok_or_else(broken)?;
    match i32::from_ne_bytes(code) {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
    }
}

#[cfg(test)]
mod tests {
    use super::{Message, acknowledged};

    #[test]
    fn attributes_are_padded_and_nested_lengths_are_not() {
        let mut message = Message::link(16, 0, 7);
        let start = message.bytes.len();
        message.nest(18, |message| message.put_str(1, "veth"));
        let attribute = &message.bytes[start..];
        assert_eq!(attribute[..4], [16, 0, 18, 0], "the padding of the inner attribute counts");
        assert_eq!(attribute[4..8], [9, 0, 1, 0], "its own length does not count it");
        assert_eq!(&attribute[8..], b"veth\0\0\0\0");
    }

    #[test]
    fn answers_are_not_trusted() {
        let mut reply = vec![0; 36];
        reply[4] = 2;
        assert!(acknowledged(&reply).is_ok());
        reply[16..20].copy_from_slice(&(-libc::EEXIST).to_ne_bytes());
        assert_eq!(acknowledged(&reply).unwrap_err().raw_os_error(), Some(libc::EEXIST));
        for len in 0..20 {
            assert!(acknowledged(&reply[..len]).is_err());
        }
        reply[4] = 3;
        assert!(acknowledged(&reply).is_err());
    }
}
