//! Changes of devices and addresses, as the kernel tells them.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, bind, recv, socket,
};

use crate::PortError;

/// Links and addresses, IPv4 and IPv6 (`linux/rtnetlink.h`).
const GROUPS: i32 = libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR | libc::RTMGRP_IPV6_IFADDR;

/// Hears whether anything has changed in this network namespace. What it was has to be looked up: messages may be lost
/// where there are many.
#[derive(Debug)]
pub struct DeviceWatch {
    socket: OwnedFd,
}

impl DeviceWatch {
    /// Begins to listen.
    ///
    /// # Errors
    /// [`PortError::System`] when there are no descriptors left.
    pub fn new() -> Result<Self, PortError> {
        let open = || {
            let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            let kind = SockProtocol::NetlinkRoute;
            let socket = socket(AddressFamily::Netlink, SockType::Raw, flags, kind)?;
            bind(socket.as_raw_fd(), &NetlinkAddr::new(0, GROUPS as u32))?;
            Ok(socket)
        };
        let socket = open().map_err(|error: Errno| PortError::System {
            doing: "listening for changes of devices".to_owned(),
            source: error.into(),
        })?;
        Ok(Self { socket })
    }

    /// Whether anything has changed since the last call.
    pub fn changed(&self) -> bool {
        let (mut any, mut bytes) = (false, [0; 8192]);
        loop {
            match recv(self.socket.as_raw_fd(), &mut bytes, MsgFlags::empty()) {
                // Messages were lost.
                Ok(_) | Err(Errno::ENOBUFS) => any = true,
                Err(Errno::EINTR) => {}
                Err(_) => return any,
            }
        }
    }
}
