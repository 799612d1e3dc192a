//! Builders of frames, independent of the crates under test but for checksums, which have tests of their own.

use vr_types::Mac;
use vr_wire::checksum;

use crate::world::{NODE, NODE_MAC, PEER, PEER_MAC};

pub(crate) const TCP: u8 = 6;
pub(crate) const UDP: u8 = 17;

/// An IPv4 packet; `fragment` is the word of flags and offset.
#[derive(Clone, Debug)]
pub(crate) struct Inet {
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
    pub(crate) protocol: u8,
    pub(crate) id: u16,
    pub(crate) fragment: u16,
    pub(crate) ttl: u8,
    pub(crate) options: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Inet {
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let header = 20 + self.options.len();
        let total = (header + self.payload.len()) as u16;
        let mut bytes = vec![0x40 | (header / 4) as u8, 0];
        bytes.extend(total.to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        bytes.extend(self.fragment.to_be_bytes());
        bytes.extend([self.ttl, self.protocol, 0, 0]);
        bytes.extend(self.source);
        bytes.extend(self.destination);
        bytes.extend(&self.options);
        let sum = checksum::of(&bytes);
        bytes[10..12].copy_from_slice(&sum.to_be_bytes());
        bytes.extend(&self.payload);
        bytes
    }
}

/// A TCP segment without options, with a checksum.
pub(crate) fn tcp(
    ends: [[u8; 4]; 2],
    ports: [u16; 2],
    numbers: [u32; 2],
    flags: u8,
    payload: &[u8],
) -> Vec<u8> {
    let mut bytes: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
    bytes.extend(numbers.into_iter().flat_map(u32::to_be_bytes));
    bytes.extend([0x50, flags, 0x20, 0, 0, 0, 0, 0]);
    bytes.extend(payload);
    let sum = checksum::inet_l4(&ends[0], &ends[1], TCP, &bytes);
    bytes[16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// A UDP datagram with a checksum.
pub(crate) fn udp(ends: [[u8; 4]; 2], ports: [u16; 2], payload: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = ports.into_iter().flat_map(u16::to_be_bytes).collect();
    bytes.extend(((8 + payload.len()) as u16).to_be_bytes());
    bytes.extend([0, 0]);
    bytes.extend(payload);
    let sum = checksum::for_udp(checksum::inet_l4(&ends[0], &ends[1], UDP, &bytes));
    bytes[6..8].copy_from_slice(&sum.to_be_bytes());
    bytes
}

pub(crate) fn ethernet(destination: Mac, source: Mac, ethertype: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes: Vec<u8> = destination.0.into_iter().chain(source.0).collect();
    bytes.extend(ethertype.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// How a frame from the peer is wrapped.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wrap {
    Udp(u32),
    Gre(u32),
    Vxlan(u32),
}

/// A frame from the peer; `ttl` is that of the label.
pub(crate) fn from_peer(wrap: Wrap, source: [u8; 4], ttl: u8, payload: &[u8]) -> Vec<u8> {
    let label = |label: u32| (label << 12 | 0x100 | u32::from(ttl)).to_be_bytes();
    let (protocol, shim) = match wrap {
        Wrap::Gre(number) => (47, [[0, 0, 0x88, 0x47], label(number)].concat()),
        Wrap::Udp(number) => {
            (UDP, [vec![0xd6, 0xd8, 0x19, 0xeb, 0, 0, 0, 0], label(number).to_vec()].concat())
        }
        Wrap::Vxlan(vni) => {
            let header = [[8, 0, 0, 0], (vni << 8).to_be_bytes()].concat();
            (UDP, [vec![0xd6, 0xd8, 0x12, 0xb5, 0, 0, 0, 0], header].concat())
        }
    };
    let mut shim = [shim, payload.to_vec()].concat();
    if protocol == UDP {
        let len = (shim.len() as u16).to_be_bytes();
        shim[4..6].copy_from_slice(&len);
    }
    let outer = Inet {
        source,
        destination: NODE,
        protocol,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: shim,
    };
    ethernet(NODE_MAC, PEER_MAC, 0x0800, &outer.bytes())
}

/// What a frame to the peer carries.
#[derive(Debug)]
pub(crate) struct Unwrapped {
    pub(crate) wrap: Wrap,
    pub(crate) source_port: Option<u16>,
    pub(crate) payload: Vec<u8>,
}

/// Takes the outer headers off a frame to the peer; everything in them must be right.
pub(crate) fn unwrap(frame: &[u8]) -> Unwrapped {
    assert_eq!(frame[..14], ethernet(PEER_MAC, NODE_MAC, 0x0800, &[]));
    let outer = &frame[14..];
    assert_eq!(outer[0], 0x45);
    assert!(checksum::is_valid(&outer[..20]), "outer header checksum");
    let be16 = |at: usize| u16::from_be_bytes([outer[at], outer[at + 1]]);
    let be32 = |at: usize| u32::from_be_bytes(*outer[at..].first_chunk().unwrap());
    assert_eq!(usize::from(be16(2)), outer.len(), "outer length");
    assert_eq!(be16(6), 0, "the outer header has no flags");
    assert_eq!((outer[12..16].to_vec(), outer[16..20].to_vec()), (NODE.to_vec(), PEER.to_vec()));
    if outer[9] == 47 {
        assert_eq!(be32(20), 0x8847);
        return Unwrapped {
            wrap: Wrap::Gre(be32(24) >> 12),
            source_port: None,
            payload: outer[28..].to_vec(),
        };
    }
    assert_eq!(outer[9], UDP);
    assert_eq!(usize::from(be16(24)), outer.len() - 20, "UDP length");
    assert_eq!(be16(26), 0, "the outer datagram has no checksum");
    let source_port = Some(be16(20));
    match be16(22) {
        6635 => Unwrapped { wrap: Wrap::Udp(be32(28) >> 12), source_port, payload: outer[32..].to_vec() },
        4789 => Unwrapped { wrap: Wrap::Vxlan(be32(32) >> 8), source_port, payload: outer[36..].to_vec() },
        port => panic!("a tunnel to port {port}"),
    }
}
