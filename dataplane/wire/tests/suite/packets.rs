//! Packets to test with, built by an independent library, and checks of what comes out.

use etherparse::{NetSlice, PacketBuilder, SlicedPacket, TransportSlice};
use proptest::prelude::*;

/// What a random packet is made of.
#[derive(Clone, Debug)]
pub(crate) struct Recipe {
    pub(crate) inet6: bool,
    pub(crate) tcp: bool,
    pub(crate) vlans: Vec<u16>,
    /// Options of IPv4, in words.
    pub(crate) ip_options: usize,
    /// Bytes of options of TCP: no operation.
    pub(crate) tcp_options: usize,
    pub(crate) addresses: ([u8; 16], [u8; 16]),
    pub(crate) ports: (u16, u16),
    pub(crate) ttl: u8,
    pub(crate) id: u16,
    pub(crate) sequence: u32,
    pub(crate) flags: u8,
    pub(crate) payload: Vec<u8>,
}

pub(crate) const DESTINATION: [u8; 6] = [2, 0, 0, 0, 0, 2];
pub(crate) const SOURCE: [u8; 6] = [2, 0, 0, 0, 0, 1];

/// Recipes with payloads of a length in `payload` and at most `vlans` VLAN tags.
pub(crate) fn recipe(payload: std::ops::Range<usize>, vlans: usize) -> impl Strategy<Value = Recipe> {
    (
        any::<(bool, bool)>(),
        proptest::collection::vec(0..4096u16, 0..=vlans),
        (0..=3usize, 0..=10usize),
        any::<([u8; 16], [u8; 16])>(),
        any::<((u16, u16), u8, u16, u32, u8)>(),
        proptest::collection::vec(any::<u8>(), payload),
    )
        .prop_map(
            |(
                (inet6, tcp),
                vlans,
                (ip, tcp_options),
                addresses,
                (ports, ttl, id, sequence, flags),
                payload,
            )| {
                Recipe {
                    inet6,
                    tcp,
                    vlans,
                    ip_options: if inet6 { 0 } else { ip },
                    tcp_options: tcp_options * 4,
                    addresses,
                    ports,
                    ttl,
                    id,
                    sequence,
                    flags,
                    payload,
                }
            },
        )
}

impl Recipe {
    pub(crate) fn addresses4(&self) -> ([u8; 4], [u8; 4]) {
        let first = |address: [u8; 16]| *address.first_chunk().unwrap();
        (first(self.addresses.0), first(self.addresses.1))
    }

    /// Offset of the IP header.
    pub(crate) fn network(&self) -> usize {
        14 + 4 * self.vlans.len()
    }

    /// The frame.
    pub(crate) fn build(&self) -> Vec<u8> {
        let ip = if self.inet6 {
            let (source, destination) = self.addresses;
            PacketBuilder::ethernet2(SOURCE, DESTINATION).ipv6(source, destination, self.ttl)
        } else {
            let (source, destination) = self.addresses4();
            let options = vec![1; 4 * self.ip_options];
            let mut header =
                etherparse::Ipv4Header::new(0, self.ttl, etherparse::ip_number::UDP, source, destination)
                    .unwrap();
            header.identification = self.id;
            header.dont_fragment = false;
            header.options = options[..].try_into().unwrap();
            PacketBuilder::ethernet2(SOURCE, DESTINATION)
                .ip(etherparse::IpHeaders::Ipv4(header, etherparse::Ipv4Extensions::default()))
        };
        let mut frame = Vec::new();
        if self.tcp {
            let mut header = etherparse::TcpHeader::new(self.ports.0, self.ports.1, self.sequence, 5000);
            header.set_options_raw(&vec![1; self.tcp_options]).unwrap();
            header.acknowledgment_number = 0x0102_0304;
            [
                header.fin, header.syn, header.rst, header.psh, header.ack, header.urg, header.ece,
                header.cwr,
            ] = std::array::from_fn(|bit| self.flags & 1 << bit != 0);
            ip.tcp_header(header).write(&mut frame, &self.payload).unwrap();
        } else {
            ip.udp(self.ports.0, self.ports.1).write(&mut frame, &self.payload).unwrap();
        }
        for vlan in self.vlans.iter().rev() {
            let mut tagged = vec![0; 4];
            tagged.extend(&frame);
            assert!(vr_wire::vlan::push(&mut tagged, 0x8100, vlan | 0x6000));
            frame = tagged;
        }
        frame
    }
}

/// Parses a frame with the other library and insists on right lengths and checksums.
pub(crate) fn sound(frame: &[u8]) -> SlicedPacket<'_> {
    let packet = SlicedPacket::from_ethernet(frame).expect("a sound frame");
    match packet.net.as_ref().expect("a layer 3 header") {
        NetSlice::Ipv4(ip) => {
            let header = ip.header().to_header();
            assert_eq!(header.header_checksum, header.calc_header_checksum());
            let (source, destination) = (header.source, header.destination);
            match packet.transport.as_ref() {
                Some(TransportSlice::Tcp(tcp)) => {
                    let expected = tcp.calc_checksum_ipv4(source, destination).unwrap();
                    assert_eq!(tcp.checksum(), expected);
                }
                Some(TransportSlice::Udp(udp)) => {
                    let expected =
                        udp.to_header().calc_checksum_ipv4_raw(source, destination, udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), expected);
                }
                _ => {}
            }
        }
        NetSlice::Ipv6(ip) => {
            let header = ip.header().to_header();
            let (source, destination) = (header.source, header.destination);
            match packet.transport.as_ref() {
                Some(TransportSlice::Tcp(tcp)) => {
                    let expected = tcp.calc_checksum_ipv6(source, destination).unwrap();
                    assert_eq!(tcp.checksum(), expected);
                }
                Some(TransportSlice::Udp(udp)) => {
                    let expected =
                        udp.to_header().calc_checksum_ipv6_raw(source, destination, udp.payload()).unwrap();
                    assert_eq!(udp.checksum(), expected);
                }
                _ => {}
            }
        }
        NetSlice::Arp(_) => panic!("no ARP is built here"),
    }
    packet
}
