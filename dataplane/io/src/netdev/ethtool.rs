//! Offloads and queues of a device (`linux/ethtool.h`).
#![allow(unsafe_code, reason = "types that the kernel writes")]

use std::os::fd::AsFd;

use crate::netdev::{Request, control_socket};
use crate::{PortError, sys};

/// Something that a device does for the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Feature {
    /// Verifies checksums of received frames.
    ReceiveChecksums,
    /// Completes checksums of sent frames.
    TransmitChecksums,
    /// Takes frames in pieces.
    ScatterGather,
    /// Cuts super-frames of TCP.
    Tso,
    /// Super-frames are cut as late as possible.
    Gso,
    /// Received frames are joined.
    Gro,
}

impl Feature {
    /// The commands to get and to set it.
    const fn commands(self) -> (u32, u32) {
        match self {
            Self::ReceiveChecksums => (0x14, 0x15),
            Self::TransmitChecksums => (0x16, 0x17),
            Self::ScatterGather => (0x18, 0x19),
            Self::Tso => (0x1e, 0x1f),
            Self::Gso => (0x23, 0x24),
            Self::Gro => (0x2b, 0x2c),
        }
    }
}

/// `struct ethtool_value`.
#[derive(Clone, Copy)]
#[repr(C)]
struct Value {
    command: u32,
    data: u32,
}

// SAFETY: numbers only.
unsafe impl sys::Plain for Value {}

/// `struct ethtool_channels`: maxima and present numbers of receive, transmit, other and combined queues.
#[derive(Clone, Copy, Default)]
#[repr(C)]
struct Channels {
    command: u32,
    most: [u32; 4],
    rx: u32,
    tx: u32,
    other: u32,
    combined: u32,
}

// SAFETY: numbers only.
unsafe impl sys::Plain for Channels {}

const GET_CHANNELS: u32 = 0x3c;

fn send<T: sys::Plain>(name: &str, doing: &str, data: &mut T) -> Result<(), PortError> {
    let mut request = Request::new(name)?;
    control_socket()
        .and_then(|socket| request.send_with(socket.as_fd(), libc::SIOCETHTOOL as libc::Ioctl, data))
        .map_err(|error| PortError::device(name, doing, error))
}

/// Whether a device does something.
///
/// # Errors
/// [`PortError`] when there is no such device or it does not tell.
pub fn feature(name: &str, feature: Feature) -> Result<bool, PortError> {
    let mut value = Value { command: feature.commands().0, data: 0 };
    send(name, "reading offloads of", &mut value)?;
    Ok(value.data != 0)
}

/// Makes a device do something, or not.
///
/// # Errors
/// [`PortError`] when there is no such device, the process may not, or the device cannot.
pub fn set_feature(name: &str, feature: Feature, on: bool) -> Result<(), PortError> {
    send(name, "setting offloads of", &mut Value { command: feature.commands().1, data: u32::from(on) })
}

/// How many queues a device uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Queues {
    /// For receiving.
    pub receive: u32,
    /// For sending.
    pub transmit: u32,
}

/// How many queues a device uses; one each when its driver does not tell.
///
/// # Errors
/// [`PortError::NoSuchInterface`].
pub fn queues(name: &str) -> Result<Queues, PortError> {
    let mut channels = Channels { command: GET_CHANNELS, ..Channels::default() };
    match send(name, "reading the queues of", &mut channels) {
        Err(PortError::System { source, .. }) if source.raw_os_error() == Some(libc::EOPNOTSUPP) => {
            Ok(Queues { receive: 1, transmit: 1 })
        }
        Err(error) => Err(error),
        Ok(()) => Ok(Queues {
            receive: (channels.rx + channels.combined).max(1),
            transmit: (channels.tx + channels.combined).max(1),
        }),
    }
}

/// `struct ethtool_rxnfc` as far as it is used for the hash of a kind of flows.
#[derive(Clone, Copy)]
#[repr(C)]
struct FlowHash {
    command: u32,
    flow: u32,
    fields: u64,
}

// SAFETY: numbers only, without padding.
unsafe impl sys::Plain for FlowHash {}

const GET_FLOW_HASH: u32 = 0x29;
const SET_FLOW_HASH: u32 = 0x2a;
/// UDP over IPv4.
const UDP_V4_FLOW: u32 = 2;
/// Both addresses and both ports.
const ADDRESSES_AND_PORTS: u64 = 0xf0;

/// Makes a device choose the receive queue of UDP packets over IPv4 by their ports and not only by their addresses.
/// The source port of a tunnel packet tells flows apart. Says whether that is new.
///
/// # Errors
/// [`PortError`] when there is no such device, the process may not, or the device cannot.
pub fn spread_udp(name: &str) -> Result<bool, PortError> {
    let doing = "spreading UDP over the queues of";
    let mut hash = FlowHash { command: GET_FLOW_HASH, flow: UDP_V4_FLOW, fields: 0 };
    send(name, doing, &mut hash)?;
    if hash.fields & ADDRESSES_AND_PORTS == ADDRESSES_AND_PORTS {
        return Ok(false);
    }
    hash = FlowHash { command: SET_FLOW_HASH, flow: UDP_V4_FLOW, fields: ADDRESSES_AND_PORTS };
    send(name, doing, &mut hash)?;
    Ok(true)
}
