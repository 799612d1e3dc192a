//! Network devices of this network namespace: what they are, and setting them up. Needs `CAP_NET_ADMIN` for
//! changes, and no other program.

mod ethtool;
mod link;
mod netlink;
mod request;
mod statistics;
mod watch;

use std::os::fd::{AsFd, OwnedFd};

use vr_types::Mac;

use crate::{PortError, sys};

pub use ethtool::{Feature, Queues, feature, queues, set_feature, spread_udp};
pub(crate) use link::announce;
pub use link::{create_macvlan, create_veth, create_vlan, delete, set_ipv6_autoconfiguration};
pub(crate) use request::Request;
pub use statistics::{Statistics, statistics};
pub use watch::DeviceWatch;

/// The index of a device.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn index(name: &str) -> Result<u32, PortError> {
    nix::net::if_::if_nametoindex(name).map_err(|errno| PortError::device(name, "looking up", errno.into()))
}

/// The address of a device.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn mac(name: &str) -> Result<Mac, PortError> {
    let request = ask(name, libc::SIOCGIFHWADDR, "reading the address of")?;
    Ok(Mac(request.mac()))
}

/// Sets the address of a device.
///
/// # Errors
/// [`PortError`] when there is no such device, the process may not, or the device cannot.
pub fn set_mac(name: &str, mac: Mac) -> Result<(), PortError> {
    tell(name, libc::SIOCSIFHWADDR, "setting the address of", |request| request.set_mac(mac.0))
}

/// The MTU of a device: bytes behind the Ethernet header.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn mtu(name: &str) -> Result<u32, PortError> {
    let request = ask(name, libc::SIOCGIFMTU, "reading the MTU of")?;
    Ok(request.number().max(0) as u32)
}

/// Sets the MTU of a device, bytes.
///
/// # Errors
/// [`PortError`] when there is no such device, the process may not, or the device cannot.
pub fn set_mtu(name: &str, mtu: u32) -> Result<(), PortError> {
    let mtu = i32::try_from(mtu).unwrap_or(i32::MAX);
    tell(name, libc::SIOCSIFMTU, "setting the MTU of", |request| request.set_number(mtu))
}

/// Whether a device is administratively up.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn is_up(name: &str) -> Result<bool, PortError> {
    let request = ask(name, libc::SIOCGIFFLAGS, "reading the state of")?;
    Ok(i32::from(request.flags()) & libc::IFF_UP != 0)
}

/// Whether a device is up and has a carrier.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn is_running(name: &str) -> Result<bool, PortError> {
    let request = ask(name, libc::SIOCGIFFLAGS, "reading the state of")?;
    let both = libc::IFF_UP | libc::IFF_RUNNING;
    Ok(i32::from(request.flags()) & both == both)
}

/// Takes a device up or down.
///
/// # Errors
/// [`PortError`] when there is no such device or the process may not.
pub fn set_up(name: &str, up: bool) -> Result<(), PortError> {
    let flags = ask(name, libc::SIOCGIFFLAGS, "reading the state of")?.flags();
    let flag = libc::IFF_UP as i16;
    let flags = if up { flags | flag } else { flags & !flag };
    tell(name, libc::SIOCSIFFLAGS, "changing the state of", |request| request.set_flags(flags))
}

/// Makes a device receive unicast frames for all addresses, as long as the value lives.
#[derive(Debug)]
pub struct Promiscuous {
    _membership: OwnedFd,
}

impl Promiscuous {
    /// Turns it on. Several may do so for one device; it ends with the last of them, or with the process.
    ///
    /// # Errors
    /// [`PortError`] when there is no such device or the process may not.
    pub fn on(name: &str) -> Result<Self, PortError> {
        let index = index(name)?;
        // Protocol 0: the socket itself receives nothing.
        let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)
            .map_err(|error| PortError::raw(format!("receiving all frames of `{name}`"), error))?;
        let membership = libc::packet_mreq {
            mr_ifindex: index as i32,
            mr_type: libc::PACKET_MR_PROMISC as u16,
            mr_alen: 0,
            mr_address: [0; 8],
        };
        sys::set_option(fd.as_fd(), libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &membership)
            .map_err(|error| PortError::device(name, "receiving all frames of", error))?;
        Ok(Self { _membership: fd })
    }
}

/// Any socket will do for requests about devices.
fn control_socket() -> std::io::Result<OwnedFd> {
    sys::socket(libc::AF_UNIX, libc::SOCK_DGRAM, 0)
}

fn ask(name: &str, code: libc::c_ulong, doing: &str) -> Result<Request, PortError> {
    let mut request = Request::new(name)?;
    control_socket()
        .and_then(|socket| request.send(socket.as_fd(), code as libc::Ioctl))
        .map_err(|error| PortError::device(name, doing, error))?;
    Ok(request)
}

fn tell(
    name: &str,
    code: libc::c_ulong,
    doing: &str,
    fill: impl FnOnce(&mut Request),
) -> Result<(), PortError> {
    let mut request = Request::new(name)?;
    fill(&mut request);
    control_socket()
        .and_then(|socket| request.send(socket.as_fd(), code as libc::Ioctl))
        .map_err(|error| PortError::device(name, doing, error))
}
