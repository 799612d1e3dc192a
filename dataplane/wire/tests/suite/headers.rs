//! Views against the library that the packets come from, in both directions: what it builds is read, and what
//! is written here it reads. Headers that it does not know are tested beside their code.

use etherparse::{
    ArpHardwareId, ArpOperation, ArpPacket, EtherType, IpFragOffset, Ipv6FragmentHeader, NetSlice,
    SlicedPacket, TransportSlice,
};
use proptest::prelude::*;
use vr_types::{Label, Mac, Vni};
use vr_wire::arp::{self, Arp};
use vr_wire::ethernet::{self, Ethernet};
use vr_wire::icmp::{self, Icmp};
use vr_wire::ipv4::{self, Ipv4};
use vr_wire::ipv6::fragment::{self, Fragment};
use vr_wire::ipv6::{self, Ipv6};
use vr_wire::ndisc::{self, Neighbour};
use vr_wire::sctp::{self, Sctp};
use vr_wire::tcp::{self, Tcp};
use vr_wire::udp::{self, Udp};
use vr_wire::vlan::{self, Tag};
use vr_wire::vxlan::{self, Vxlan};
use vr_wire::{Error, checksum, gre, mpls};

use crate::packets::{DESTINATION, Recipe, SOURCE, recipe};

/// Every length of a sound header that is shorter than the header is refused, and nothing behind it is read.
macro_rules! is_cut_nowhere {
    ($view:ident, $module:ident, $sound:expr) => {{
        let sound: Vec<u8> = $sound;
        for len in 0..sound.len() {
            assert_eq!($view::new_checked(&sound[..len]), Err(Error::Truncated), "{len}");
            let mut short = sound[..len].to_vec();
            assert!(matches!($view::new_checked_mut(&mut short), Err(Error::Truncated)), "{len}");
        }
        for len in sound.len()..sound.len() + 3 {
            let mut longer = sound.clone();
            longer.resize(len, 0xff);
            assert_eq!($view::new_checked(&longer).unwrap().as_bytes()[..], sound[..$module::LEN]);
            $view::new_checked_mut(&mut longer).unwrap();
        }
    }};
}

#[test]
fn every_shorter_length_is_refused() {
    let with = |mut bytes: Vec<u8>, at: usize, value| {
        bytes[at] = value;
        bytes
    };
    is_cut_nowhere!(Ethernet, ethernet, vec![1; 14]);
    is_cut_nowhere!(Tag, vlan, vec![1; 4]);
    is_cut_nowhere!(Ipv4, ipv4, with(vec![1; 20], 0, 0x45));
    is_cut_nowhere!(Ipv6, ipv6, with(vec![1; 40], 0, 0x60));
    is_cut_nowhere!(Fragment, fragment, vec![1; 8]);
    is_cut_nowhere!(Udp, udp, vec![1; 8]);
    is_cut_nowhere!(Sctp, sctp, vec![1; 12]);
    is_cut_nowhere!(Tcp, tcp, with(vec![1; 20], 12, 0x50));
    is_cut_nowhere!(Icmp, icmp, vec![1; 8]);
    is_cut_nowhere!(Neighbour, ndisc, vec![1; 24]);
    is_cut_nowhere!(Vxlan, vxlan, vec![1; 8]);
    is_cut_nowhere!(Arp, arp, Arp::request(Mac(SOURCE), [1; 4], [2; 4]).as_bytes().to_vec());
}

#[test]
fn options_belong_to_the_header() {
    for words in 5..=15usize {
        let mut bytes = [1; 60];
        bytes[0] = 0x40 | words as u8;
        bytes[12] = (words as u8) << 4;
        for len in 20..60 {
            let expected = if len < 4 * words { Err(Error::Truncated) } else { Ok(4 * words) };
            assert_eq!(Ipv4::new_checked(&bytes[..len]).map(|header| header.header_len()), expected);
            assert_eq!(Tcp::new_checked(&bytes[..len]).map(|header| header.header_len()), expected);
        }
    }
}

fn check_network(packet: &SlicedPacket<'_>, bytes: &[u8]) {
    match packet.net.as_ref().unwrap() {
        NetSlice::Ipv4(ip) => {
            let (theirs, ours) = (ip.header(), Ipv4::new_checked(bytes).unwrap());
            assert_eq!(ours.header_len(), 4 * usize::from(theirs.ihl()));
            assert_eq!((ours.dscp(), ours.ecn()), (theirs.dcp().value(), theirs.ecn().value()));
            assert_eq!((ours.total_len(), ours.id()), (theirs.total_len(), theirs.identification()));
            assert_eq!(
                (ours.dont_fragment(), ours.more_fragments()),
                (theirs.dont_fragment(), theirs.more_fragments())
            );
            assert_eq!(ours.fragment_offset(), 8 * usize::from(theirs.fragments_offset().value()));
            assert_eq!((ours.ttl(), ours.protocol()), (theirs.ttl(), theirs.protocol().0));
            assert_eq!(ours.checksum(), theirs.header_checksum());
            assert_eq!((ours.source(), ours.destination()), (theirs.source(), theirs.destination()));
            assert_eq!(ipv4::header(bytes).unwrap()[20..], *theirs.options());
            assert_eq!(ipv4::checksum_is_valid(bytes), Ok(true));
        }
        NetSlice::Ipv6(ip) => {
            let (theirs, ours) = (ip.header(), Ipv6::new_checked(bytes).unwrap());
            assert_eq!(ours.traffic_class(), theirs.traffic_class());
            assert_eq!(ours.flow_label(), theirs.flow_label().value());
            assert_eq!(ours.payload_len(), theirs.payload_length());
            assert_eq!((ours.next_header(), ours.hop_limit()), (theirs.next_header().0, theirs.hop_limit()));
            assert_eq!((ours.source(), ours.destination()), (theirs.source(), theirs.destination()));
        }
        NetSlice::Arp(_) => panic!("no ARP is built here"),
    }
}

fn check_transport(packet: &SlicedPacket<'_>, bytes: &[u8]) {
    match packet.transport.as_ref().unwrap() {
        TransportSlice::Tcp(theirs) => {
            let ours = Tcp::new_checked(bytes).unwrap();
            assert_eq!(ours.source_port(), theirs.source_port());
            assert_eq!(ours.destination_port(), theirs.destination_port());
            assert_eq!(ours.sequence(), theirs.sequence_number());
            assert_eq!(ours.acknowledgement(), theirs.acknowledgment_number());
            assert_eq!(ours.header_len(), theirs.header_len());
            let flags = [
                (tcp::flag::FIN, theirs.fin()),
                (tcp::flag::SYN, theirs.syn()),
                (tcp::flag::RST, theirs.rst()),
                (tcp::flag::PSH, theirs.psh()),
                (tcp::flag::ACK, theirs.ack()),
                (tcp::flag::URG, theirs.urg()),
                (tcp::flag::ECE, theirs.ece()),
                (tcp::flag::CWR, theirs.cwr()),
            ];
            for (bit, set) in flags {
                assert_eq!(ours.flags() & bit != 0, set, "{bit:#x}");
            }
            assert_eq!((ours.window(), ours.urgent()), (theirs.window_size(), theirs.urgent_pointer()));
            assert_eq!(ours.checksum(), theirs.checksum());
        }
        TransportSlice::Udp(theirs) => {
            let ours = Udp::new_checked(bytes).unwrap();
            assert_eq!(ours.source_port(), theirs.source_port());
            assert_eq!(ours.destination_port(), theirs.destination_port());
            assert_eq!((ours.length(), ours.checksum()), (theirs.length(), theirs.checksum()));
        }
        other => panic!("{other:?} is not built here"),
    }
}

/// The same headers written field by field, without options and payload.
fn written(recipe: &Recipe) -> Vec<u8> {
    let mut frame = Ethernet::new([0; ethernet::LEN]);
    frame.set_source(Mac(SOURCE));
    frame.set_destination(Mac(DESTINATION));
    let mut message = transport(recipe);
    let protocol = if recipe.tcp { 6 } else { 17 };
    let len = message.len() as u16;
    let (network, check) = if recipe.inet6 {
        frame.set_ethertype(ethernet::ethertype::INET6);
        let (source, destination) = recipe.addresses;
        let mut header = Ipv6::for_payload(source, destination, protocol, len);
        header.set_hop_limit(recipe.ttl);
        (header.as_bytes().to_vec(), checksum::inet6_l4(&source, &destination, protocol, &message))
    } else {
        frame.set_ethertype(ethernet::ethertype::INET);
        let (source, destination) = recipe.addresses4();
        let mut header = Ipv4::for_payload(source, destination, protocol, len);
        header.set_ttl(recipe.ttl);
        header.set_id(recipe.id);
        let check = checksum::inet_l4(&source, &destination, protocol, &message);
        (header.with_checksum().as_bytes().to_vec(), check)
    };
    if recipe.tcp {
        Tcp::new_checked_mut(&mut message).unwrap().set_checksum(check);
    } else {
        Udp::new_checked_mut(&mut message).unwrap().set_checksum(checksum::for_udp(check));
    }
    [frame.as_bytes(), &network[..], &message].concat()
}

fn transport(recipe: &Recipe) -> Vec<u8> {
    let (source, destination) = recipe.ports;
    if recipe.tcp {
        let mut header = Tcp::new([0; tcp::LEN]);
        header.set_source_port(source);
        header.set_destination_port(destination);
        header.set_sequence(recipe.sequence);
        header.set_acknowledgement(0x0102_0304);
        header.set_data_offset(0x50);
        header.set_flags(recipe.flags);
        header.set_window(5000);
        header.as_bytes().to_vec()
    } else {
        let mut header = Udp::new([0; udp::LEN]);
        header.set_source_port(source);
        header.set_destination_port(destination);
        header.set_length(8);
        header.as_bytes().to_vec()
    }
}

proptest! {
    #[test]
    fn accessors_agree_with_the_other_library(recipe in recipe(0..300, 0)) {
        let frame = recipe.build();
        let packet = SlicedPacket::from_ethernet(&frame).unwrap();
        let outer = Ethernet::new_checked(&frame).unwrap();
        prop_assert_eq!((outer.source(), outer.destination()), (Mac(SOURCE), Mac(DESTINATION)));
        prop_assert_eq!(outer.ethertype(), if recipe.inet6 { 0x86dd } else { 0x0800 });
        check_network(&packet, &frame[14..]);
        let header = if recipe.inet6 { ipv6::LEN } else { 20 + 4 * recipe.ip_options };
        check_transport(&packet, &frame[14 + header..]);
    }

    #[test]
    fn what_is_written_is_what_the_other_library_builds(recipe in recipe(0..1, 0)) {
        let recipe = Recipe { ip_options: 0, tcp_options: 0, ..recipe };
        prop_assert_eq!(written(&recipe), recipe.build());
    }

    #[test]
    fn every_field_of_ipv4_is_written(bytes: [u8; 20]) {
        let given = Ipv4::new(bytes);
        let mut copy = Ipv4::new([0; ipv4::LEN]);
        copy.set_version_ihl(given.version_ihl());
        copy.set_tos(given.tos());
        copy.set_total_len(given.total_len());
        copy.set_id(given.id());
        copy.set_flags_offset(given.flags_offset());
        copy.set_ttl(given.ttl());
        copy.set_protocol(given.protocol());
        copy.set_checksum(given.checksum());
        copy.set_source(given.source());
        copy.set_destination(given.destination());
        prop_assert_eq!(copy, given);
    }

    #[test]
    fn every_field_of_tcp_is_written(bytes: [u8; 20]) {
        let given = Tcp::new(bytes);
        let mut copy = Tcp::new([0; tcp::LEN]);
        copy.set_source_port(given.source_port());
        copy.set_destination_port(given.destination_port());
        copy.set_sequence(given.sequence());
        copy.set_acknowledgement(given.acknowledgement());
        copy.set_data_offset(given.data_offset());
        copy.set_flags(given.flags());
        copy.set_window(given.window());
        copy.set_checksum(given.checksum());
        copy.set_urgent(given.urgent());
        prop_assert_eq!(copy, given);
    }

    #[test]
    fn fields_of_small_headers_are_written(bytes: [u8; 12]) {
        let eight = *bytes.first_chunk::<8>().unwrap();
        let given = Sctp::new(bytes);
        let mut copy = Sctp::new([0; sctp::LEN]);
        copy.set_source_port(given.source_port());
        copy.set_destination_port(given.destination_port());
        copy.set_verification_tag(given.verification_tag());
        copy.set_checksum(given.checksum());
        prop_assert_eq!(copy, given);
        let given = Icmp::new(eight);
        let mut copy = Icmp::new([0; icmp::LEN]);
        copy.set_kind(given.kind());
        copy.set_code(given.code());
        copy.set_checksum(given.checksum());
        copy.set_id(given.id());
        copy.set_sequence(given.sequence());
        prop_assert_eq!(copy, given);
        let given = Vxlan::new(eight);
        let mut copy = Vxlan::new([0; vxlan::LEN]);
        copy.set_flags(given.flags());
        copy.set_vni_word(given.vni_word());
        prop_assert_eq!(copy, given);
    }

    #[test]
    fn fragment_headers(next: u8, offset in 0..0x2000u16, more: bool, id: u32) {
        let theirs = Ipv6FragmentHeader::new(next.into(), IpFragOffset::try_new(offset).unwrap(), more, id);
        let bytes = theirs.to_bytes();
        let ours = Fragment::new_checked(&bytes).unwrap();
        prop_assert_eq!((ours.next_header(), ours.id()), (next, id));
        prop_assert_eq!((ours.offset(), ours.more_fragments()), (usize::from(offset) * 8, more));
        let mut copy = Fragment::new([0; fragment::LEN]);
        copy.set_next_header(next);
        copy.set_offset_more(offset << 3 | u16::from(more));
        copy.set_id(id);
        prop_assert_eq!(copy.as_bytes(), &bytes);
    }

    #[test]
    fn arp_requests_and_replies(asker: [u8; 6], mac: [u8; 6], sender: [u8; 4], target: [u8; 4]) {
        let theirs = |operation, from: (&[u8], &[u8]), to: (&[u8], &[u8])| {
            ArpPacket::new(
                ArpHardwareId::ETHERNET, EtherType::IPV4, operation, from.0, from.1, to.0, to.1,
            ).unwrap().to_bytes()
        };
        let mut request = Arp::request(Mac(asker), sender, target);
        let expected = theirs(ArpOperation::REQUEST, (&asker, &sender), (&[0; 6], &target));
        prop_assert_eq!(&request.as_bytes()[..], &expected[..]);
        request.answer(Mac(mac));
        let expected = theirs(ArpOperation::REPLY, (&mac, &target), (&asker, &sender));
        prop_assert_eq!(&request.as_bytes()[..], &expected[..]);
    }

    #[test]
    fn icmp_echoes(id: u16, sequence: u16, payload in proptest::collection::vec(any::<u8>(), 0..50)) {
        let mut frame = Vec::new();
        etherparse::PacketBuilder::ipv4([10, 0, 0, 4], [10, 0, 1, 7], 64)
            .icmpv4_echo_request(id, sequence)
            .write(&mut frame, &payload)
            .unwrap();
        let message = &frame[20..];
        let view = Icmp::new_checked(message).unwrap();
        prop_assert_eq!((view.kind(), view.code()), (icmp::v4::ECHO_REQUEST, 0));
        prop_assert_eq!((view.id(), view.sequence()), (id, sequence));
        prop_assert!(checksum::is_valid(message));
    }

    #[test]
    fn tunnel_headers_are_read_as_written(number: u32, exp in 0..8u8, bottom: bool, ttl: u8, protocol: u16) {
        let label = Label(number >> 12);
        let entry = mpls::Entry::new(label, exp, bottom, ttl);
        let read = mpls::Entry::from_bytes(entry.to_bytes());
        prop_assert_eq!((read.label(), read.exp(), read.is_bottom(), read.ttl()), (label, exp, bottom, ttl));
        let vni = Vni(number >> 8);
        let header = Vxlan::for_network(vni);
        prop_assert_eq!(Vxlan::new_checked(header.as_bytes()).unwrap().vni(), Some(vni));
        prop_assert_eq!(gre::parse(&gre::header(protocol)), Ok(gre::Gre { protocol, len: gre::LEN }));
    }

    #[test]
    fn a_changed_address_is_mended(recipe in recipe(0..200, 0), new: [u8; 4]) {
        let recipe = Recipe { inet6: false, ..recipe };
        let mut frame = recipe.build();
        let (old, destination) = recipe.addresses4();
        let mut header = Ipv4::new_checked_mut(&mut frame[14..]).unwrap();
        header.set_source(new);
        header.set_checksum(checksum::update(header.checksum(), &old, &new));
        prop_assert_eq!(ipv4::checksum_is_valid(&frame[14..]), Ok(true));
        let message = &mut frame[14 + 20 + 4 * recipe.ip_options..];
        if recipe.tcp {
            let mut tcp = Tcp::new_checked_mut(message).unwrap();
            tcp.set_checksum(checksum::update(tcp.checksum(), &old, &new));
            prop_assert!(checksum::inet_l4_is_valid(&new, &destination, 6, message));
        } else {
            let mut udp = Udp::new_checked_mut(message).unwrap();
            udp.set_checksum(checksum::for_udp(checksum::update(udp.checksum(), &old, &new)));
            prop_assert!(checksum::inet_l4_is_valid(&new, &destination, 17, message));
        }
    }
}
