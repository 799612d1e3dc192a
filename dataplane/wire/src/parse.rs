//! One look at the headers of a received frame (forwarding.md 2.1 to 2.6).

use core::num::NonZeroU16;

use vr_types::Mac;

use crate::ethernet::{self, Ethernet, ethertype};
use crate::ipv4::{Ipv4, MORE_FRAGMENTS, OFFSET};
use crate::ipv6::fragment::{self, Fragment};
use crate::ipv6::{self, Ipv6};
use crate::tcp::Tcp;
use crate::{Error, icmp, protocol, sctp, udp, vlan};

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Network {
    /// IPv4.
    Inet,
    /// IPv6.
    Inet6,
    /// ARP.
    Arp,
    /// A backbone frame (IEEE 802.1ah), whose inner frame is not looked at.
    Pbb,
    /// Anything else.
    Other,
}

/// Which part of a datagram a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Part {
    /// All of it.
    Whole,
    /// The first fragment; it has the layer 4 header.
    Head,
    /// A fragment between first and last.
    Middle,
    /// The last fragment.
    Tail,
}

impl Part {
    /// Whether the packet begins with the layer 4 header.
    #[inline]
    #[must_use]
    pub const fn has_transport(self) -> bool {
        matches!(self, Self::Whole | Self::Head)
    }

    const fn new(offset: u16, more: bool) -> Self {
        match (offset, more) {
            (0, false) => Self::Whole,
            (0, true) => Self::Head,
            (_, true) => Self::Middle,
            (_, false) => Self::Tail,
        }
    }
}

/// What was found. Offsets count from the first byte that was parsed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// What the frame carries.
    pub network: Network,
    /// Which part of a datagram it is.
    pub part: Part,
    /// Layer 4 protocol, behind a fragment header of IPv6 if there is one; 0 when `network` is not IP.
    pub protocol: u8,
    /// Flags of TCP, see [`tcp::flag`](crate::tcp::flag); 0 when there is no TCP header.
    pub tcp_flags: u8,
    /// Whether the destination address is a group address.
    pub group: bool,
    /// The first thing found wrong. What lies behind it is not described.
    pub fault: Option<Error>,
    /// VLAN id of the outermost tag.
    pub vlan: Option<u16>,
    /// Offset of the layer 3 header; of what follows the type field for other kinds.
    pub l3: u16,
    /// Offset of the layer 4 header; see [`Parsed::l4`].
    transport: Option<NonZeroU16>,
}

impl Parsed {
    const NOTHING: Self = Self {
        network: Network::Other,
        part: Part::Whole,
        protocol: 0,
        tcp_flags: 0,
        group: false,
        fault: None,
        vlan: None,
        l3: 0,
        transport: None,
    };

    /// Offset of the layer 4 header. All of it is there: for TCP with its options, for UDP, SCTP, ICMP the
    /// eight or twelve bytes that it always has; of other protocols nothing is known, not even that there is
    /// a byte. `None` for later fragments, which have no such header, and where something is wrong.
    #[inline]
    #[must_use]
    pub const fn l4(&self) -> Option<usize> {
        match self.transport {
            Some(offset) => Some(offset.get() as usize),
            None => None,
        }
    }

    const fn with_fault(mut self, fault: Error) -> Self {
        self.fault = Some(fault);
        self
    }
}

/// Parses an Ethernet frame.
///
/// Any number of VLAN tags (0x8100) is skipped; only the id of the outermost is kept. Headers are looked for in
/// the first 65,535 bytes.
#[inline]
#[must_use]
pub fn parse_headers(frame: &[u8]) -> Parsed {
    parse_plain(frame).unwrap_or_else(|| parse_any(frame))
}

/// Parses the IP packet at offset `l3` by its version, as it follows a label. Anything but version 4 and 6 is
/// [`Error::Malformed`].
#[inline]
#[must_use]
pub fn parse_l3(bytes: &[u8], l3: u16) -> Parsed {
    let found = Parsed { l3, ..Parsed::NOTHING };
    match bytes.get(usize::from(l3)).map(|first| first >> 4) {
        Some(4) => inet(bytes, found),
        Some(6) => inet6(bytes, found),
        Some(_) => found.with_fault(Error::Malformed),
        None => found.with_fault(Error::Truncated),
    }
}

/// Untagged TCP and UDP over IPv4 without options and fragments: what nearly all frames are.
#[inline]
fn parse_plain(frame: &[u8]) -> Option<Parsed> {
    const L3: usize = ethernet::LEN;
    const L4: usize = L3 + crate::ipv4::LEN;

    let headers = frame.first_chunk::<{ L4 + udp::LEN }>()?;
    let fragment = u16::from_be_bytes([headers[L3 + 6], headers[L3 + 7]]) & (MORE_FRAGMENTS | OFFSET) != 0;
    if [headers[12], headers[13], headers[L3]] != [0x08, 0x00, 0x45] || fragment {
        return None;
    }
    let protocol = headers[L3 + 9];
    let tcp_flags = match protocol {
        protocol::UDP => 0,
        protocol::TCP => {
            let [header_len, flags] = *frame.get(L4 + 12..)?.first_chunk()?;
            let len = usize::from(header_len >> 4) * 4;
            if len < crate::tcp::LEN || frame.len() < L4 + len {
                return None;
            }
            flags
        }
        _ => return None,
    };
    Some(Parsed {
        network: Network::Inet,
        protocol,
        tcp_flags,
        group: headers[0] & 1 != 0,
        l3: L3 as u16,
        transport: NonZeroU16::new(L4 as u16),
        ..Parsed::NOTHING
    })
}

#[cold]
fn parse_any(frame: &[u8]) -> Parsed {
    const PBB_LEN: usize = ethernet::LEN + 4 + ethernet::LEN;

    let mut found = Parsed::NOTHING;
    let frame = frame.get(..usize::from(u16::MAX)).unwrap_or(frame);
    let header = match Ethernet::new_checked(frame) {
        Ok(header) => header,
        Err(error) => return found.with_fault(error),
    };
    found.group = Mac::is_group(header.destination());
    let mut kind = header.ethertype();
    let mut at = ethernet::LEN;
    if kind == ethertype::PBB {
        found.network = Network::Pbb;
        found.l3 = at as u16;
        return if frame.len() < PBB_LEN { found.with_fault(Error::Truncated) } else { found };
    }
    while kind == ethertype::VLAN {
        // The tag's own type is what was read last; its control information and the next type follow.
        let Some([a, b, c, d]) = frame.get(at..).and_then(|rest| rest.first_chunk()) else {
            return found.with_fault(Error::Truncated);
        };
        found.vlan = found.vlan.or(Some(u16::from_be_bytes([*a, *b]) & 0xfff));
        kind = u16::from_be_bytes([*c, *d]);
        at += vlan::LEN;
    }
    found.l3 = at as u16;
    match kind {
        ethertype::INET => inet(frame, found),
        ethertype::INET6 => inet6(frame, found),
        ethertype::ARP => Parsed { network: Network::Arp, ..found },
        _ => found,
    }
}

fn inet(bytes: &[u8], mut found: Parsed) -> Parsed {
    found.network = Network::Inet;
    let packet = bytes.get(usize::from(found.l3)..).unwrap_or_default();
    let header = match Ipv4::new_checked(packet) {
        Ok(header) => header,
        Err(error) => return found.with_fault(error),
    };
    found.protocol = header.protocol();
    found.part = Part::new(header.flags_offset() & OFFSET, header.more_fragments());
    transport(packet, header.header_len(), found)
}

fn inet6(bytes: &[u8], mut found: Parsed) -> Parsed {
    found.network = Network::Inet6;
    let packet = bytes.get(usize::from(found.l3)..).unwrap_or_default();
    let header = match Ipv6::new_checked(packet) {
        Ok(header) => header,
        Err(error) => return found.with_fault(error),
    };
    found.protocol = header.next_header();
    if found.protocol != protocol::FRAGMENT {
        return transport(packet, ipv6::LEN, found);
    }
    let header = match Fragment::new_checked(packet.get(ipv6::LEN..).unwrap_or_default()) {
        Ok(header) => header,
        Err(error) => return found.with_fault(error),
    };
    found.protocol = header.next_header();
    found.part = Part::new(header.offset_more() >> 3, header.more_fragments());
    transport(packet, ipv6::LEN + fragment::LEN, found)
}

/// The layer 4 header at offset `at` of the packet.
fn transport(packet: &[u8], at: usize, mut found: Parsed) -> Parsed {
    if !found.part.has_transport() {
        return found;
    }
    let message = packet.get(at..).unwrap_or_default();
    let needed = match found.protocol {
        protocol::TCP => match Tcp::new_checked(message) {
            Ok(header) => {
                found.tcp_flags = header.flags();
                crate::tcp::LEN
            }
            Err(error) => return found.with_fault(error),
        },
        protocol::UDP => udp::LEN,
        protocol::ICMP | protocol::ICMPV6 => icmp::LEN,
        protocol::SCTP => sctp::LEN,
        _ => 0,
    };
    if message.len() < needed {
        return found.with_fault(Error::Truncated);
    }
    match found.l3.checked_add(at as u16) {
        Some(l4) => found.transport = NonZeroU16::new(l4),
        None => found.fault = Some(Error::Unsupported),
    }
    found
}
