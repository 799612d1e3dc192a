//! What the agent reads from a trapped packet: the agent header and the addresses of the innermost packet.

use std::net::Ipv4Addr;

use crate::topology::embedded;

const ETHERNET: usize = 14;
const AGENT_HEADER: usize = 30;
const IPV4: u16 = 0x0800;

const IPV6: u16 = 0x86DD;

const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const TCP: u8 = 6;
const UDP: u8 = 17;
const GRE: u8 = 47;

/// A packet that the vrouter handed to the agent (control.md 6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap<'a> {
    /// The vif that received it.
    pub vif: i32,
    /// The VRF that the vrouter found for it.
    pub vrf: i32,
    /// Why it was trapped.
    pub reason: u16,
    /// `cmd_param`: the flow index for flow traps.
    pub flow: i32,
    /// `cmd_param_1`: the nexthop in the flow key for flow traps.
    pub key_nexthop: i32,
    /// `cmd_param_5`: the generation of the flow entry.
    pub generation: u8,
    /// The frame as the vif received it.
    pub frame: &'a [u8],
}

impl<'a> Trap<'a> {
    /// Reason: the first packet of a flow.
    pub const FLOW_MISS: u16 = 6;
    /// Reason: a packet of a flow that waits for a decision.
    pub const FLOW_HOLD: u16 = 15;

    /// Reads one datagram of pkt0.
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let header = datagram.get(ETHERNET..ETHERNET + AGENT_HEADER)?;
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        let word =
            |at: usize| i32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        Some(Self {
            vif: half(0).into(),
            vrf: half(2).into(),
            reason: half(4),
            flow: word(6),
            key_nexthop: word(10),
            generation: header[26],
            frame: datagram.get(ETHERNET + AGENT_HEADER..)?,
        })
    }
}

/// The addresses that make a flow. Ports are as they lie in the packet; an ICMP echo has its identifier as source.
///
/// IPv6 addresses embed IPv4 ones ([`crate::topology::inet6`]), so that rules are the same for both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FiveTuple {
    /// Whether packets are IPv6.
    pub inet6: bool,
    /// Source address.
    pub source: Ipv4Addr,
    /// Destination address.
    pub destination: Ipv4Addr,
    /// IP protocol.
    pub protocol: u8,
    /// Source port.
    pub source_port: [u8; 2],
    /// Destination port.
    pub destination_port: [u8; 2],
}

impl FiveTuple {
    /// The flow in the other direction. An echo keeps its identifier where it is.
    #[must_use]
    pub fn reversed(&self) -> Self {
        let (source_port, destination_port) = if matches!(self.protocol, ICMP | ICMPV6) {
            (self.source_port, self.destination_port)
        } else {
            (self.destination_port, self.source_port)
        };
        Self { source: self.destination, destination: self.source, source_port, destination_port, ..*self }
    }

    /// A hash of all fields (FNV-1a, its halves mixed), by which flows are spread.
    pub fn hash(&self) -> u32 {
        let addresses = [self.source.octets(), self.destination.octets()].concat();
        let rest = [self.source_port, self.destination_port, [self.protocol, 0]].concat();
        let hash = addresses
            .iter()
            .chain(&rest)
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
        hash ^ hash >> 16
    }
}

/// An inner packet and the node that sent it, if it came through a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parsed {
    /// The innermost packet.
    pub tuple: FiveTuple,
    /// Source address of the outer packet.
    pub outer_source: Option<Ipv4Addr>,
}

/// Finds the innermost packet of a frame; tunnels are looked into only if `fabric` says so.
pub fn parse(frame: &[u8], fabric: bool) -> Option<Parsed> {
    let packet = ethernet_payload(frame)?;
    let ip = Ip::parse(packet)?;
    if fabric
        && !ip.inet6
        && let Some(inner) = decapsulate(&ip)
    {
        return Some(Parsed { tuple: tuple(&Ip::parse(inner)?)?, outer_source: Some(ip.source) });
    }
    Some(Parsed { tuple: tuple(&ip)?, outer_source: None })
}

struct Ip<'a> {
    inet6: bool,
    source: Ipv4Addr,
    destination: Ipv4Addr,
    protocol: u8,
    payload: &'a [u8],
}

impl<'a> Ip<'a> {
    fn parse(packet: &'a [u8]) -> Option<Self> {
        let first = *packet.first()?;
        if first >> 4 == 6 {
            return Self::parse_inet6(packet);
        }
        let header = usize::from(first & 0xF) * 4;
        if first >> 4 != 4 || header < 20 || packet.len() < header {
            return None;
        }
        let address = |at: usize| Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]);
        Some(Self {
            inet6: false,
            source: address(12),
            destination: address(16),
            protocol: packet[9],
            payload: packet.get(header..)?,
        })
    }

    fn parse_inet6(packet: &'a [u8]) -> Option<Self> {
        let address = |at: usize| embedded(packet.get(at..at + 16)?.try_into().ok()?);
        Some(Self {
            inet6: true,
            source: address(8)?,
            destination: address(24)?,
            protocol: packet[6],
            payload: packet.get(40..)?,
        })
    }
}

fn tuple(ip: &Ip<'_>) -> Option<FiveTuple> {
    let pair = |at: usize| Some([*ip.payload.get(at)?, *ip.payload.get(at + 1)?]);
    let (source_port, destination_port) = match ip.protocol {
        TCP | UDP => (pair(0)?, pair(2)?),
        ICMP => match *ip.payload.first()? {
            0 | 8 => (pair(4)?, [0, 0]),
            // Errors belong to the flow that they quote; their key is the vrouter's affair.
            3 | 11 => return None,
            other => ([0, 0], [other, 0]),
        },
        ICMPV6 => match *ip.payload.first()? {
            128 | 129 => (pair(4)?, [0, 129]),
            // Errors, as above; and neighbour discovery has no flows.
            0..128 | 133..=137 => return None,
            other => ([0, 0], [other, 0]),
        },
        _ => ([0, 0], [0, 0]),
    };
    Some(FiveTuple {
        inet6: ip.inet6,
        source: ip.source,
        destination: ip.destination,
        protocol: ip.protocol,
        source_port,
        destination_port,
    })
}

fn ethernet_payload(frame: &[u8]) -> Option<&[u8]> {
    matches!(u16::from_be_bytes([*frame.get(12)?, *frame.get(13)?]), IPV4 | IPV6).then(|| &frame[ETHERNET..])
}

fn decapsulate<'a>(outer: &Ip<'a>) -> Option<&'a [u8]> {
    match outer.protocol {
        GRE => mpls_payload(outer.payload.get(4..)?),
        UDP => {
            let port = u16::from_be_bytes([*outer.payload.get(2)?, *outer.payload.get(3)?]);
            let payload = outer.payload.get(8..)?;
            match port {
                6635 | 51234 => mpls_payload(payload),
                4789 => ethernet_payload(payload.get(8..)?),
                _ => None,
            }
        }
        _ => None,
    }
}

/// After the label comes a packet or a frame; only a packet begins with a header whose checksum is right, or with
/// addresses of ours.
fn mpls_payload(mpls: &[u8]) -> Option<&[u8]> {
    let inner = mpls.get(4..)?;
    match Ip::parse(inner) {
        Some(ip) if ip.inet6 || checksum_is_right(inner) => Some(inner),
        _ => ethernet_payload(inner),
    }
}

fn checksum_is_right(packet: &[u8]) -> bool {
    let header = usize::from(packet[0] & 0xF) * 4;
    let sum: u32 =
        packet[..header].chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    (sum & 0xFFFF) + (sum >> 16) == 0xFFFF
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::{FiveTuple, Parsed, Trap, parse};

    /// control.md 11, "Agent header of a flow miss".
    #[test]
    fn agent_header_is_as_in_the_specification() {
        let header = [
            0x00, 0x03, 0x00, 0x01, 0x00, 0x06, 0x00, 0x01, 0x23, 0x45, 0x00, 0x00, 0x00, 0x14, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x07, 0x00, 0x00, 0x00,
        ];
        let datagram = [&[0_u8; 14][..], &header, &[1, 2, 3]].concat();
        let expected = Trap {
            vif: 3,
            vrf: 1,
            reason: Trap::FLOW_MISS,
            flow: 0x12345,
            key_nexthop: 20,
            generation: 7,
            frame: &[1, 2, 3],
        };
        assert_eq!(Trap::parse(&datagram), Some(expected));
        assert_eq!(Trap::parse(&datagram[..43]), None);
    }

    fn ipv4(protocol: u8, source: [u8; 4], destination: [u8; 4], payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, (20 + payload.len()) as u8, 0, 0, 0, 0, 64, protocol, 0, 0];
        packet.extend_from_slice(&source);
        packet.extend_from_slice(&destination);
        let sum: u32 =
            packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
        let folded = !(((sum & 0xFFFF) + (sum >> 16)) as u16);
        packet[10..12].copy_from_slice(&folded.to_be_bytes());
        packet.extend_from_slice(payload);
        packet
    }

    fn framed(packet: &[u8]) -> Vec<u8> {
        [&[0x52_u8; 12][..], &[8, 0], packet].concat()
    }

    fn inner() -> (Vec<u8>, FiveTuple) {
        let packet = ipv4(6, [10, 0, 0, 1], [10, 0, 0, 2], &[0x03, 0xe8, 0x00, 0x50, 0, 0, 0, 0]);
        let tuple = FiveTuple {
            inet6: false,
            source: Ipv4Addr::new(10, 0, 0, 1),
            destination: Ipv4Addr::new(10, 0, 0, 2),
            protocol: 6,
            source_port: [0x03, 0xe8],
            destination_port: [0x00, 0x50],
        };
        (packet, tuple)
    }

    #[test]
    fn every_encapsulation_is_looked_into() {
        let (packet, tuple) = inner();
        let label = [0, 1, 1, 64];
        let udp = |port: u16| [&[0xc0, 0, (port >> 8) as u8, port as u8, 0, 0, 0, 0][..]].concat();
        let vxlan = [8, 0, 0, 0, 0, 0, 5, 0];
        let cases = [
            (17, [&udp(6635)[..], &label, &packet].concat()),
            (17, [&udp(51234)[..], &label, &framed(&packet)].concat()),
            (17, [&udp(4789)[..], &vxlan, &framed(&packet)].concat()),
            (47, [&[0, 0, 0x88, 0x47][..], &label, &packet].concat()),
            (47, [&[0, 0, 0x88, 0x47][..], &label, &framed(&packet)].concat()),
        ];
        for (protocol, payload) in cases {
            let frame = framed(&ipv4(protocol, [192, 168, 0, 1], [192, 168, 0, 2], &payload));
            let expected = Parsed { tuple, outer_source: Some(Ipv4Addr::new(192, 168, 0, 1)) };
            assert_eq!(parse(&frame, true), Some(expected), "protocol {protocol}, {} bytes", payload.len());
        }
        assert_eq!(parse(&framed(&packet), false), Some(Parsed { tuple, outer_source: None }));
    }

    #[test]
    fn an_echo_keeps_its_identifier_in_both_directions() {
        let packet = ipv4(1, [10, 0, 0, 1], [10, 0, 0, 2], &[8, 0, 0, 0, 0x12, 0x34, 0, 1]);
        let tuple = parse(&framed(&packet), false).unwrap().tuple;
        assert_eq!((tuple.source_port, tuple.destination_port), ([0x12, 0x34], [0, 0]));
        assert_eq!(tuple.reversed().source_port, [0x12, 0x34]);
        assert_eq!(tuple.reversed().source, Ipv4Addr::new(10, 0, 0, 2));
    }

    #[test]
    fn cut_frames_are_no_flows() {
        let (packet, _) = inner();
        let frame = framed(&packet);
        for length in 0..frame.len() - 4 {
            assert_eq!(parse(&frame[..length], true), None, "{length} bytes");
        }
    }
}
