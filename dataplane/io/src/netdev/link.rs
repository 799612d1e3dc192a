use std::io;

use crate::PortError;
use crate::netdev::netlink::Message;
use crate::netdev::{Request, index};

/// Numbers of `linux/veth.h` and `linux/if_link.h` that libc does not have.
const VETH_INFO_PEER: u16 = 1;
const IFLA_INET6_ADDR_GEN_MODE: u16 = 8;
const IFLA_VLAN_ID: u16 = 1;
const IFLA_MACVLAN_MODE: u16 = 1;
const MACVLAN_MODE_PASSTHRU: u32 = 8;
const ADDR_GEN_MODE_EUI64: u8 = 0;
const ADDR_GEN_MODE_NONE: u8 = 1;

/// Makes a pair of veth devices in this network namespace, each with `queues` queues in both directions. They
/// are down.
///
/// # Errors
/// [`PortError`] when one of the names is taken or the process may not.
pub fn create_veth(name: &str, peer: &str, queues: u32) -> Result<(), PortError> {
    // Both names are checked here, where the error can say which is wrong.
    for name in [name, peer] {
        Request::new(name)?;
    }
    let queues = queues.max(1).to_ne_bytes();
    let end = |message: &mut Message, name: &str| {
        message.put_str(libc::IFLA_IFNAME, name);
        message.put(libc::IFLA_NUM_TX_QUEUES, &queues);
        message.put(libc::IFLA_NUM_RX_QUEUES, &queues);
    };
    let mut message = Message::link(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0);
    end(&mut message, name);
    message.nest(libc::IFLA_LINKINFO, |message| {
        message.put_str(libc::IFLA_INFO_KIND, "veth");
        message.nest(libc::IFLA_INFO_DATA, |message| {
            message.nest(VETH_INFO_PEER, |message| {
                message.put_link(0);
                end(message, peer);
            });
        });
    });
    message
        .send()
        .map_err(|error| PortError::admin(format!("making the veth pair `{name}`, `{peer}`"), error))
}

/// Removes a device; of a veth pair both ends.
///
/// # Errors
/// [`PortError`] when there is no such device, the process may not, or it is hardware.
pub fn delete(name: &str) -> Result<(), PortError> {
    Message::link(libc::RTM_DELLINK, 0, index(name)?)
        .send()
        .map_err(|error| PortError::device(name, "removing", error))
}

/// Makes a device for one VLAN of another one. It is down.
///
/// # Errors
/// [`PortError`] when the name is taken, there is no such device or the process may not.
pub fn create_vlan(name: &str, parent: &str, vlan: u16) -> Result<(), PortError> {
    create_upper(name, parent, "vlan", |message| message.put(IFLA_VLAN_ID, &vlan.to_ne_bytes()))
}

/// Makes a device that receives everything from another one that no VLAN device of that takes, and sends by it under
/// its address. It is down.
///
/// # Errors
/// [`PortError`] when the name is taken, there is no such device or the process may not.
pub fn create_macvlan(name: &str, parent: &str) -> Result<(), PortError> {
    create_upper(name, parent, "macvlan", |message| {
        message.put(IFLA_MACVLAN_MODE, &MACVLAN_MODE_PASSTHRU.to_ne_bytes());
    })
}

fn create_upper(
    name: &str,
    parent: &str,
    kind: &str,
    data: impl FnOnce(&mut Message),
) -> Result<(), PortError> {
    Request::new(name)?;
    let mut message = Message::link(libc::RTM_NEWLINK, libc::NLM_F_CREATE | libc::NLM_F_EXCL, 0);
    message.put_str(libc::IFLA_IFNAME, name);
    message.put(libc::IFLA_LINK, &index(parent)?.to_ne_bytes());
    message.nest(libc::IFLA_LINKINFO, |message| {
        message.put_str(libc::IFLA_INFO_KIND, kind);
        message.nest(libc::IFLA_INFO_DATA, data);
    });
    message.send().map_err(|error| PortError::device(name, "making", error))
}

/// Tells the listeners of the routing socket that a link which is no device of the kernel has come up or gone down
/// (control.md 3.6).
///
/// # Errors
/// What the kernel says; it needs `CAP_NET_ADMIN`.
pub(crate) fn announce(name: &str, up: bool) -> io::Result<()> {
    let down = libc::IFF_UP | libc::IFF_BROADCAST;
    let flags = if up { down | libc::IFF_RUNNING | libc::IFF_MULTICAST } else { down };
    let mut message = Message::notification(flags);
    message.put_str(libc::IFLA_IFNAME, name);
    message.multicast((libc::RTMGRP_LINK | libc::RTMGRP_IPV4_IFADDR) as u32)
}

/// Turns the kernel's own IPv6 address of a device on or off. With it the kernel sends router solicitations and
/// multicast reports by itself. A kernel without IPv6 sends none: that is no error.
///
/// # Errors
/// [`PortError`] when there is no such device or the process may not.
pub fn set_ipv6_autoconfiguration(name: &str, on: bool) -> Result<(), PortError> {
    let mode = if on { ADDR_GEN_MODE_EUI64 } else { ADDR_GEN_MODE_NONE };
    let mut message = Message::link(libc::RTM_NEWLINK, 0, index(name)?);
    message.nest(libc::IFLA_AF_SPEC, |message| {
        message.nest(libc::AF_INET6 as u16, |message| message.put(IFLA_INET6_ADDR_GEN_MODE, &[mode]));
    });
    match message.send() {
        Err(error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => Ok(()),
        other => other.map_err(|error| PortError::device(name, "setting the IPv6 address mode of", error)),
    }
}
