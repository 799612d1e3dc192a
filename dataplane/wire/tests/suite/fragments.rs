use etherparse::NetSlice;
use proptest::prelude::*;
use vr_wire::encap::{EncapTemplate, Patch, ROOM, fit_lengths, port};
use vr_wire::fragment::FragmentPlan;
use vr_wire::{Error, ipv4};

use crate::packets::recipe;

fn cut(plan: &FragmentPlan, frame: &[u8], len: usize) -> Vec<Vec<u8>> {
    (0..plan.fragments())
        .map(|index| {
            let mut out = vec![0xee; len];
            let written = plan.write(index, frame, &mut out).unwrap();
            out.truncate(written);
            out
        })
        .collect()
}

/// Puts fragments together as a receiver does: payload of the datagram, and whether more follows it.
fn reassemble(fragments: &[Vec<u8>], network: usize) -> (usize, Vec<u8>, bool) {
    let mut whole = Vec::new();
    let mut first = None;
    let mut more = true;
    for fragment in fragments {
        assert!(more, "nothing follows the last fragment");
        let slice = etherparse::SlicedPacket::from_ip(&fragment[network..]).unwrap();
        let Some(NetSlice::Ipv4(ip)) = slice.net else { panic!("IPv4") };
        let header = ip.header().to_header();
        assert_eq!(header.header_checksum, header.calc_header_checksum());
        assert_eq!(usize::from(header.total_len), fragment.len() - network);
        let offset = usize::from(header.fragment_offset.value()) * 8;
        let start = *first.get_or_insert(offset);
        assert_eq!(offset, start + whole.len());
        whole.extend(ip.payload().payload);
        more = header.more_fragments;
    }
    (first.unwrap(), whole, more)
}

fn udp_packet(payload: usize) -> Vec<u8> {
    let builder =
        etherparse::PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4([10, 0, 0, 4], [10, 0, 1, 7], 64).udp(1, 2);
    let mut frame = Vec::new();
    builder.write(&mut frame, &(0..payload).map(|i| i as u8).collect::<Vec<_>>()).unwrap();
    frame[20] = 0; // the builder says "don't fragment"
    ipv4::fill_checksum(&mut frame[14..]).unwrap();
    frame
}

#[test]
fn example_of_the_specification() {
    let packet = &udp_packet(1480)[14..];
    assert_eq!(packet.len(), 1508);
    // MPLS over UDP: 46 outer bytes with their Ethernet header, and 1500 for all of it.
    let plan = FragmentPlan::new(packet, 0, 1500 - 46).unwrap();
    let fragments = cut(&plan, packet, 1500);
    // 1432 and 56 bytes of payload, but the last is to have 64 of them.
    assert_eq!(fragments.iter().map(|f| f.len() - 20).collect::<Vec<_>>(), [1424, 64]);
    assert_eq!(reassemble(&fragments, 0), (0, packet[20..].to_vec(), false));
}

#[test]
fn fragments_of_a_tunnelled_packet_are_tunnel_packets() {
    let inner = udp_packet(2000);
    let (source, destination) = ("172.16.0.1".parse().unwrap(), "172.16.0.2".parse().unwrap());
    let template =
        EncapTemplate::new(vr_types::TunnelKind::Vxlan, &[7; 14], source, destination, port::MPLS, None)
            .unwrap();
    let encapsulated = |inner: &[u8]| {
        let mut out = [0; ROOM];
        let patch = Patch { payload: inner.len(), id: 9, label: 27, ttl: 64, source_port: 50000 };
        template.write(&mut out, patch);
        [&out[ROOM - template.len()..], inner].concat()
    };
    let whole = encapsulated(&inner);
    let outside = FragmentPlan::new(&whole, template.len() + 14, 1514).unwrap();
    let inside = FragmentPlan::new(&inner, 14, 1514 - template.len()).unwrap();
    let mut fragments = cut(&outside, &whole, 1514);
    assert_eq!(fragments.len(), 2);
    for (outer, inner) in fragments.iter_mut().zip(cut(&inside, &inner, 1514)) {
        fit_lengths(outer, 14).unwrap();
        assert_eq!(*outer, encapsulated(&inner));
    }
}

#[test]
fn options_for_the_first_fragment_only() {
    let mut header =
        etherparse::Ipv4Header::new(0, 64, etherparse::ip_number::UDP, [10, 0, 0, 4], [10, 0, 1, 7]).unwrap();
    // Record route (not copied), stream id (copied), router alert (copied), end.
    let options = [7, 3, 4, 0x88, 4, 1, 2, 0x94, 4, 0, 0, 1, 0, 7, 3, 4];
    header.options = options[..].try_into().unwrap();
    header.set_payload_len(300).unwrap();
    header.dont_fragment = false;
    let mut packet = header.to_bytes().to_vec();
    packet.extend([5; 300]);
    let plan = FragmentPlan::new(&packet, 0, 200).unwrap();
    let fragments = cut(&plan, &packet, 200);
    assert_eq!(fragments[0][20..36], options);
    assert_eq!(fragments[1][20..36], [1, 1, 1, 0x88, 4, 1, 2, 0x94, 4, 0, 0, 1, 0, 7, 3, 4]);
    assert_eq!(reassemble(&fragments, 0).1, packet[36..]);
}

#[test]
fn what_must_not_or_cannot_be_fragmented() {
    let frame = udp_packet(1000);
    let plan = |change: &dyn Fn(&mut Vec<u8>), len| {
        let mut frame = frame.clone();
        change(&mut frame);
        FragmentPlan::new(&frame, 14, len)
    };
    assert_eq!(plan(&|_| (), frame.len()).unwrap().fragments(), 1);
    assert_eq!(plan(&|_| (), frame.len() - 1).unwrap().fragments(), 2);
    assert_eq!(plan(&|f| f[20] = 0x40, frame.len()).unwrap().fragments(), 1);
    assert_eq!(plan(&|f| f[20] = 0x40, frame.len() - 1), Err(Error::Unsupported));
    assert_eq!(plan(&|_| (), 34 + 7), Err(Error::Unsupported));
    assert_eq!(plan(&|_| (), 34 + 8).unwrap().fragments(), 126);
    assert_eq!(plan(&|_| (), 10), Err(Error::Unsupported));
    assert_eq!(plan(&|f| f[20..22].copy_from_slice(&[0x1f, 0xff]), 500), Err(Error::Malformed));
    assert_eq!(plan(&|f| f[16..18].copy_from_slice(&[0, 19]), 500), Err(Error::Malformed));
    assert_eq!(plan(&|f| f.truncate(1000), 500), Err(Error::Truncated));
    assert_eq!(plan(&|f| f[14] = 0x44, 500), Err(Error::Malformed));
    assert_eq!(FragmentPlan::new(&frame, usize::MAX, 500), Err(Error::Truncated));
}

proptest! {
    #[test]
    fn fragments_make_the_packet(
        recipe in recipe(1..6000, 1).prop_filter("IPv4", |recipe| !recipe.inet6),
        room in 8..1500usize,
        offset in 0..4000u16,
        more: bool,
    ) {
        let mut frame = recipe.build();
        let network = recipe.network();
        let header = network + 20 + 4 * recipe.ip_options;
        frame[network + 6..network + 8].copy_from_slice(&(offset | u16::from(more) << 13).to_be_bytes());
        ipv4::fill_checksum(&mut frame[network..]).unwrap();
        let payload = frame[header..].to_vec();
        let len = header + room;
        let plan = FragmentPlan::new(&frame, network, len).unwrap();
        let fragments = cut(&plan, &frame, len);
        let (start, whole, more_follows) = reassemble(&fragments, network);
        prop_assert_eq!((start, more_follows), (usize::from(offset) * 8, more));
        prop_assert_eq!(&whole, &payload);
        let (last, others) = fragments.split_last().unwrap();
        prop_assert!(others.iter().all(|fragment| (fragment.len() - header) % 8 == 0));
        if !others.is_empty() && room >= 136 {
            prop_assert!(last.len() - header >= 64);
        }
        if frame.len() <= len {
            prop_assert_eq!(fragments, [frame]);
        }
    }

    #[test]
    fn any_bytes_are_fragmented_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..300), network in 0..40usize, len in 0..300usize,
    ) {
        let mut bytes = bytes;
        if let Some(packet) = bytes.get_mut(network..network + 20) {
            packet[0] = 0x40 | packet[0] & 0xf;
            packet[2] = 0;
            packet[6] = 0;
        }
        if let Ok(plan) = FragmentPlan::new(&bytes, network, len) {
            cut(&plan, &bytes, len.max(bytes.len()));
            for short in 0..bytes.len() {
                let _ = plan.write(plan.fragments() - 1, &bytes[..short], &mut [0; 400]);
            }
        }
    }
}
