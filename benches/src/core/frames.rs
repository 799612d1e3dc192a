//! The frames of a row: what goes in and what has to come out, built independently of the forwarder.

use vr_types::TunnelKind;

use super::{Direction, Row, Traffic};

pub(super) const NODE_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 1];
pub(super) const PEER_MAC: [u8; 6] = [0x52, 0x54, 0, 0, 0, 2];
pub(super) const GUEST_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub(super) const ROUTER_MAC: [u8; 6] = [0, 0, 0x5e, 0, 1, 0];
pub(super) const NODE: [u8; 4] = [172, 16, 0, 1];
pub(super) const PEER: [u8; 4] = [172, 16, 0, 2];
pub(super) const GUEST: [u8; 4] = [10, 0, 0, 4];
pub(super) const GUEST_PORT: u16 = 5000;
/// What others see of the guest where flows translate.
pub(super) const OUTSIDE: [u8; 4] = [100, 64, 0, 4];
pub(super) const OUTSIDE_PORT: u16 = 6000;
/// Label or VNI of packets to the peer, and of packets from it.
pub(super) const LABEL_OUT: u32 = 27;
pub(super) const LABEL_IN: u32 = 42;
/// The inner Ethernet frame without frame check sequence.
const INNER: usize = 64;

/// The far end of a flow: address, port, and MAC for bridged rows.
#[derive(Clone, Copy)]
pub(super) struct Far {
    pub(super) address: [u8; 4],
    pub(super) port: u16,
    pub(super) mac: [u8; 6],
}

impl Row {
    pub(super) const fn bridged(&self) -> bool {
        matches!(self.tunnel, TunnelKind::Vxlan)
    }

    /// Prefix of a route: /24 networks one behind the other, or one /8.
    pub(super) fn prefix(&self, route: u32) -> ([u8; 4], u8) {
        if self.routes == 1 { ([20, 0, 0, 0], 8) } else { ((0x1400_0000 + route * 256).to_be_bytes(), 24) }
    }

    /// MAC of a bridge entry.
    pub(super) const fn mac(route: u32) -> [u8; 6] {
        let [_, a, b, c] = route.to_be_bytes();
        [2, 1, 0, a, b, c]
    }

    /// The far end of a flow; flows are dealt out to the routes in turn.
    pub(super) fn far(&self, flow: u32) -> Far {
        let route = flow % self.routes;
        let within = flow / self.routes;
        let ([a, b, c, _], len) = self.prefix(route);
        let [_, _, high, low] = within.to_be_bytes();
        let address = if len == 8 { [a, high, low, 9] } else { [a, b, c, low] };
        let port = 1024 + (within >> 8) as u16;
        Far {
            address,
            port: if len == 8 { 1024 + (within >> 16) as u16 } else { port },
            mac: Self::mac(route),
        }
    }
}

fn sum(bytes: &[u8]) -> u16 {
    let mut sum = 0u32;
    for pair in bytes.chunks(2) {
        sum += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// An IPv4 header with a right checksum.
fn inet(protocol: u8, id: u16, ttl: u8, source: [u8; 4], destination: [u8; 4], payload: usize) -> [u8; 20] {
    let mut header = [0; 20];
    header[0] = 0x45;
    header[2..4].copy_from_slice(&((20 + payload) as u16).to_be_bytes());
    header[4..6].copy_from_slice(&id.to_be_bytes());
    header[8] = ttl;
    header[9] = protocol;
    header[12..16].copy_from_slice(&source);
    header[16..20].copy_from_slice(&destination);
    let check = sum(&header);
    header[10..12].copy_from_slice(&check.to_be_bytes());
    header
}

/// One end of a conversation.
pub(super) type End = ([u8; 4], u16);

/// Layer 4 of a packet of a flow.
struct Segment {
    flow: u32,
    /// Acknowledgement number of TCP.
    turn: u32,
    traffic: Traffic,
    /// The checksum is that of the pseudo header only.
    partial: bool,
}

impl Segment {
    fn bytes(&self, from: End, to: End) -> Vec<u8> {
        let length = INNER - 14 - 20;
        let ports = [from.1.to_be_bytes(), to.1.to_be_bytes()].concat();
        let (protocol, at) = if self.traffic.is_tcp() { (6, 16) } else { (17, 6) };
        let mut bytes = if self.traffic.is_tcp() {
            let numbers = [self.flow.to_be_bytes(), self.turn.to_be_bytes()].concat();
            [&ports[..], &numbers, &[0x50, 0x10, 0x20, 0, 0, 0, 0, 0]].concat()
        } else {
            [&ports[..], &(length as u16).to_be_bytes(), &[0, 0]].concat()
        };
        bytes.extend(self.flow.to_be_bytes());
        bytes.resize(length, 0);
        if self.traffic != Traffic::Udp {
            let pseudo = [&from.0[..], &to.0, &[0, protocol, 0, length as u8]].concat();
            let check = match (self.partial, self.traffic) {
                (true, _) => !sum(&pseudo),
                // Whoever completes a checksum makes no zero of it.
                (false, Traffic::TcpPartial) => {
                    Some(sum(&[pseudo, bytes.clone()].concat())).filter(|check| *check != 0).unwrap_or(0xffff)
                }
                (false, _) => sum(&[pseudo, bytes.clone()].concat()),
            };
            bytes[at..at + 2].copy_from_slice(&check.to_be_bytes());
        }
        bytes
    }
}

/// Ethernet, IPv4, and layer 4.
fn inner(macs: ([u8; 6], [u8; 6]), ttl: u8, from: End, to: End, segment: &Segment) -> Vec<u8> {
    let payload = segment.bytes(from, to);
    let protocol = if segment.traffic.is_tcp() { 6 } else { 17 };
    let mut frame = Vec::with_capacity(INNER);
    frame.extend(macs.0);
    frame.extend(macs.1);
    frame.extend([0x08, 0x00]);
    frame.extend(inet(protocol, segment.flow as u16, ttl, from.0, to.0, payload.len()));
    frame.extend(payload);
    frame
}

/// A UDP header without checksum and the tunnel's header behind it.
fn udp(from: u16, to: u16, header: &[u8], payload: usize) -> Vec<u8> {
    let len = (8 + header.len() + payload) as u16;
    [&from.to_be_bytes()[..], &to.to_be_bytes(), &len.to_be_bytes(), &[0, 0], header].concat()
}

/// `payload` in a tunnel.
fn tunnelled(kind: TunnelKind, outgoing: bool, id: u16, ttl: u8, port: u16, payload: &[u8]) -> Vec<u8> {
    let (source, destination) = if outgoing { (NODE, PEER) } else { (PEER, NODE) };
    let label = if outgoing { LABEL_OUT } else { LABEL_IN };
    let word = label << 12 | 0x100 | u32::from(ttl);
    let shim = match kind {
        TunnelKind::MplsOverGre => [&[0, 0, 0x88, 0x47][..], &word.to_be_bytes()].concat(),
        TunnelKind::MplsOverUdp => udp(port, 6635, &word.to_be_bytes(), payload.len()),
        TunnelKind::Vxlan => {
            udp(port, 4789, &[&[8, 0, 0, 0][..], &(label << 8).to_be_bytes()].concat(), payload.len())
        }
    };
    let protocol = if kind == TunnelKind::MplsOverGre { 47 } else { 17 };
    let macs = if outgoing { (PEER_MAC, NODE_MAC) } else { (NODE_MAC, PEER_MAC) };
    let mut frame = Vec::new();
    frame.extend(macs.0);
    frame.extend(macs.1);
    frame.extend([0x08, 0x00]);
    frame.extend(inet(protocol, id, 64, source, destination, shim.len() + payload.len()));
    frame.extend(shim);
    frame.extend(payload);
    frame
}

impl Row {
    /// Bytes that a flow counts of a packet: the frame of the guest, or the IP packet where a label came before it.
    pub(super) const fn flow_bytes(&self) -> u64 {
        let labelled = matches!(self.direction, Direction::Decap) && !self.bridged();
        (if labelled { INNER - 14 } else { INNER }) as u64
    }

    /// The guest as the packets of the tunnel know it.
    pub(super) const fn outside(&self) -> End {
        match self.traffic {
            Traffic::Nat => (OUTSIDE, OUTSIDE_PORT),
            _ => (GUEST, GUEST_PORT),
        }
    }

    fn segment(&self, flow: u32, turn: u32, partial: bool) -> Segment {
        Segment { flow, turn, traffic: self.traffic, partial }
    }

    /// The frame of a flow as it is received. `turn` is its acknowledgement number.
    pub(super) fn input(&self, flow: u32, turn: u32) -> Vec<u8> {
        let far = self.far(flow);
        let (here, outside, there) = ((GUEST, GUEST_PORT), self.outside(), (far.address, far.port));
        let segment = self.segment(flow, turn, self.traffic == Traffic::TcpPartial);
        match (self.direction, self.bridged()) {
            (Direction::Encap, false) => inner((ROUTER_MAC, GUEST_MAC), 64, here, there, &segment),
            (Direction::Encap, true) => inner((far.mac, GUEST_MAC), 64, here, there, &segment),
            (Direction::Decap, false) => {
                let packet = inner((ROUTER_MAC, GUEST_MAC), 63, there, outside, &segment);
                tunnelled(self.tunnel, false, flow as u16, 63, 50_000, &packet[14..])
            }
            (Direction::Decap, true) => {
                let frame = inner((far.mac, GUEST_MAC), 64, there, outside, &segment);
                tunnelled(self.tunnel, false, flow as u16, 64, 50_000, &frame)
            }
        }
    }

    /// The frame of a flow as it has to be sent, with this source port where the tunnel has one.
    pub(super) fn output(&self, flow: u32, turn: u32, port: u16) -> Vec<u8> {
        let far = self.far(flow);
        let (here, outside, there) = ((GUEST, GUEST_PORT), self.outside(), (far.address, far.port));
        let segment = self.segment(flow, turn, false);
        match (self.direction, self.bridged()) {
            (Direction::Encap, false) => {
                let packet = inner((ROUTER_MAC, GUEST_MAC), 63, outside, there, &segment);
                tunnelled(self.tunnel, true, flow as u16, 63, port, &packet[14..])
            }
            (Direction::Encap, true) => {
                let frame = inner((far.mac, GUEST_MAC), 64, outside, there, &segment);
                tunnelled(self.tunnel, true, flow as u16, 64, port, &frame)
            }
            (Direction::Decap, false) => inner((GUEST_MAC, ROUTER_MAC), 63, there, here, &segment),
            (Direction::Decap, true) => inner((far.mac, GUEST_MAC), 64, there, here, &segment),
        }
    }
}
