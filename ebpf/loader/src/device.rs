//! What the kernel says about a network device: its index, and the XDP program that is on it.

use crate::error::SteerError;
use nix::{
    errno::Errno,
    net::if_::if_nametoindex,
    sys::socket::{
        AddressFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType, recv, sendto, socket,
    },
};
use std::{io, os::fd::AsRawFd as _};

/// The index of the device in this network namespace.
pub(crate) fn index_of(interface: &str) -> Result<u32, SteerError> {
    if_nametoindex(interface).map_err(|errno| match errno {
        Errno::ENODEV | Errno::ENXIO | Errno::EINVAL => SteerError::NoSuchInterface(interface.to_owned()),
        other => SteerError::Device { interface: interface.to_owned(), source: other.into() },
    })
}

/// An XDP program on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Attached {
    /// `XDP_ATTACHED_*` of `linux/if_link.h`.
    pub(crate) mode: u8,
    /// Id of the program.
    pub(crate) program: u32,
}

/// Behind the driver.
pub(crate) const ATTACHED_GENERIC: u8 = 2;
/// In the NIC.
pub(crate) const ATTACHED_OFFLOADED: u8 = 3;

/// The XDP program on a device, if any.
pub(crate) fn xdp_program(interface: &str, ifindex: u32) -> Result<Option<Attached>, SteerError> {
    ask(ifindex)
        .and_then(|reply| find_program(&reply))
        .map_err(|source| SteerError::Device { interface: interface.to_owned(), source })
}

const HEADER: usize = 16;
const LINK_HEADER: usize = 16;
const IFLA_XDP: u16 = 43;
const IFLA_XDP_ATTACHED: u16 = 2;
const IFLA_XDP_PROG_ID: u16 = 4;
/// Several programs at once: their ids are given by mode.
const ATTACHED_MULTI: u8 = 4;
const IFLA_XDP_DRV_PROG_ID: u16 = 5;

/// Sends `RTM_GETLINK` for one device and returns the reply (rtnetlink(7)).
fn ask(ifindex: u32) -> io::Result<Vec<u8>> {
    let netlink =
        socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkRoute)?;
    let mut request = Vec::with_capacity(HEADER + LINK_HEADER);
    request.extend_from_slice(&((HEADER + LINK_HEADER) as u32).to_ne_bytes());
    request.extend_from_slice(&libc::RTM_GETLINK.to_ne_bytes());
    request.extend_from_slice(&(libc::NLM_F_REQUEST as u16).to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    request.extend_from_slice(&[0; 4]);
    request.extend_from_slice(&ifindex.to_ne_bytes());
    request.extend_from_slice(&[0; 8]);
    sendto(netlink.as_raw_fd(), &request, &NetlinkAddr::new(0, 0), MsgFlags::empty())?;

    // A device with many virtual functions is described in tens of kilobytes.
    let mut reply = vec![0; 128 * 1024];
    let length = recv(netlink.as_raw_fd(), &mut reply, MsgFlags::MSG_TRUNC)?;
    if length > reply.len() {
        return Err(io::Error::other("the description of the device is too long"));
    }
    reply.truncate(length);
    Ok(reply)
}

fn find_program(reply: &[u8]) -> io::Result<Option<Attached>> {
    let kind = u16_at(reply, 4).ok_or_else(short)?;
    if i32::from(kind) == libc::NLMSG_ERROR {
        let code = reply.get(HEADER..).and_then(|body| body.first_chunk()).copied().map(i32::from_ne_bytes);
        return Err(io::Error::from_raw_os_error(-code.ok_or_else(short)?));
    }
    let attributes = reply.get(HEADER + LINK_HEADER..).ok_or_else(short)?;
    let Some(xdp) = attribute(attributes, IFLA_XDP) else {
        return Ok(None);
    };
    let mode = attribute(xdp, IFLA_XDP_ATTACHED).and_then(|value| value.first()).copied().unwrap_or(0);
    let id = if mode == ATTACHED_MULTI { IFLA_XDP_DRV_PROG_ID } else { IFLA_XDP_PROG_ID };
    let program = attribute(xdp, id).and_then(|value| value.first_chunk()).copied().map(u32::from_ne_bytes);
    Ok(program.filter(|_| mode != 0).map(|program| Attached { mode, program }))
}

/// The value of the first attribute of a kind in a list of them.
fn attribute(mut list: &[u8], kind: u16) -> Option<&[u8]> {
    while let (Some(length), Some(found)) = (u16_at(list, 0), u16_at(list, 2)) {
        let length = usize::from(length);
        // The upper two bits say how the value is laid out.
        if found & 0x3fff == kind {
            return list.get(4..length);
        }
        list = list.get(length.max(4).next_multiple_of(4)..)?;
    }
    None
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    bytes.get(offset..)?.first_chunk().copied().map(u16::from_ne_bytes)
}

fn short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "short netlink message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_has_an_index_and_no_program() {
        let index = index_of("lo").unwrap();
        assert_eq!(xdp_program("lo", index).unwrap(), None);
        assert!(matches!(index_of("no-such-device"), Err(SteerError::NoSuchInterface(_))));
        assert!(matches!(index_of("with\0zero"), Err(SteerError::NoSuchInterface(_))));
        let gone = xdp_program("gone", 0x7fff_fff0);
        assert!(matches!(gone, Err(SteerError::Device { .. })), "{gone:?}");
    }

    #[test]
    fn damaged_replies_are_survived() {
        let mut reply = vec![0; HEADER + LINK_HEADER];
        // IFLA_XDP { ATTACHED = 2, PROG_ID = 7 }
        reply.extend_from_slice(&[20, 0, 43, 0x80, 5, 0, 2, 0, 2, 0, 0, 0, 8, 0, 4, 0, 7, 0, 0, 0]);
        let expected = Attached { mode: ATTACHED_GENERIC, program: 7 };
        assert_eq!(find_program(&reply).unwrap(), Some(expected));
        for length in 0..reply.len() {
            let found = find_program(&reply[..length]);
            assert!(!matches!(found, Ok(Some(_))), "cut to {length}: {found:?}");
        }
        for position in HEADER + LINK_HEADER..reply.len() {
            for value in 0..=255 {
                let mut damaged = reply.clone();
                damaged[position] = value;
                let _ = find_program(&damaged);
            }
        }
    }
}
