use etherparse::{NetSlice, TransportSlice};
use proptest::prelude::*;
use vr_wire::Error;
use vr_wire::segment::{GsoPlan, MAX_SEGMENTS};

use crate::packets::{Recipe, recipe, sound};

const FIN: u8 = 0x01;
const PSH: u8 = 0x08;
const CWR: u8 = 0x80;

/// Every segment, each in a buffer that is as long as it may become.
fn cut(plan: &GsoPlan, frame: &[u8]) -> Vec<Vec<u8>> {
    (0..plan.segments())
        .map(|index| {
            let mut out = vec![0xee; plan.longest()];
            let len = plan.write(index, frame, &mut out).unwrap();
            out.truncate(len);
            out
        })
        .collect()
}

fn flags(bytes: &[u8], transport: usize) -> u8 {
    bytes[transport + 13]
}

/// Checks all segments of a frame against the recipe that it was made of.
fn check(recipe: &Recipe, size: usize, segments: &[Vec<u8>]) {
    let mut payload = Vec::<u8>::new();
    for (index, segment) in segments.iter().enumerate() {
        let packet = sound(segment);
        if let Some(NetSlice::Ipv4(ip)) = &packet.net {
            assert_eq!(ip.header().identification(), recipe.id.wrapping_add(index as u16));
            assert_eq!(ip.header().ttl(), recipe.ttl);
            assert_eq!(ip.header().options(), vec![1; 4 * recipe.ip_options]);
        }
        let part = match &packet.transport {
            Some(TransportSlice::Tcp(tcp)) => {
                assert_eq!(tcp.sequence_number(), recipe.sequence.wrapping_add(payload.len() as u32));
                assert_eq!(tcp.acknowledgment_number(), 0x0102_0304);
                let transport = segment.len() - tcp.payload().len() - tcp.header_len();
                let removed = if index == 0 { 0 } else { CWR }
                    | if index + 1 == segments.len() { 0 } else { FIN | PSH };
                assert_eq!(flags(segment, transport), recipe.flags & !removed);
                tcp.payload()
            }
            Some(TransportSlice::Udp(udp)) => {
                assert_eq!((udp.source_port(), udp.destination_port()), recipe.ports);
                udp.payload()
            }
            other => panic!("{other:?}"),
        };
        assert!(part.len() == size || index + 1 == segments.len() && part.len() <= size);
        payload.extend(part);
    }
    assert_eq!(payload, recipe.payload);
}

proptest! {
    #[test]
    fn segments_are_sound_and_make_the_frame(recipe in recipe(1..4000, 2), size in 60..1500usize) {
        let mut frame = recipe.build();
        // What a guest leaves in the checksum does not matter.
        let transport = recipe.network() + if recipe.inet6 { 40 } else { 20 + 4 * recipe.ip_options };
        let check_at = transport + if recipe.tcp { 16 } else { 6 };
        frame[check_at] ^= 0x55;
        let plan = GsoPlan::new(&frame, recipe.network(), size).unwrap();
        prop_assert_eq!(plan.segments(), recipe.payload.len().div_ceil(size));
        check(&recipe, size, &cut(&plan, &frame));
    }

    #[test]
    fn smaller_segments_of_tcp(recipe in recipe(1000..3000, 0), len in 120..900usize) {
        let frame = recipe.build();
        let plan = GsoPlan::new(&frame, 14, 1400).unwrap();
        match plan.limited_to(len) {
            Ok(limited) if recipe.tcp && plan.header_len() < len => {
                prop_assert!(limited.longest() <= len);
                check(&recipe, len - plan.header_len(), &cut(&limited, &frame));
            }
            Ok(limited) => prop_assert_eq!(limited, plan),
            Err(error) => {
                prop_assert_eq!(error, Error::Unsupported);
                prop_assert!(!recipe.tcp || plan.header_len() >= len);
            }
        }
    }

    #[test]
    fn any_bytes_are_cut_or_refused(
        bytes in proptest::collection::vec(any::<u8>(), 0..200),
        network in 0..40usize,
        size: u16,
        first in prop::sample::select(vec![0x45u8, 0x46, 0x60]),
        protocol in prop::sample::select(vec![6u8, 17]),
    ) {
        let mut bytes = bytes;
        if let Some(packet) = bytes.get_mut(network..network + 20) {
            packet[0] = first;
            packet[2..8].copy_from_slice(&[0, 0, 0, 0, 0, 0]);
            packet[if first == 0x60 { 6 } else { 9 }] = protocol;
        }
        if let Ok(plan) = GsoPlan::new(&bytes, network, usize::from(size)) {
            let total: usize = cut(&plan, &bytes).iter().map(|segment| segment.len() - plan.header_len()).sum();
            prop_assert_eq!(total, bytes.len() - plan.header_len());
            // A plan for another frame finds out.
            for len in 0..bytes.len() {
                let _ = plan.write(0, &bytes[..len], &mut vec![0; plan.longest()]);
            }
        }
    }
}

fn tcp_frame(payload: usize) -> Vec<u8> {
    let builder = etherparse::PacketBuilder::ethernet2([2; 6], [4; 6])
        .ipv4([10, 0, 0, 4], [10, 0, 1, 7], 64)
        .tcp(40000, 80, 1, 1000);
    let mut frame = Vec::new();
    builder.write(&mut frame, &vec![7; payload]).unwrap();
    frame
}

#[test]
fn what_cannot_be_cut_is_refused() {
    let frame = tcp_frame(3000);
    let plan = |change: &dyn Fn(&mut Vec<u8>), size| {
        let mut frame = frame.clone();
        change(&mut frame);
        GsoPlan::new(&frame, 14, size)
    };
    assert!(plan(&|_| (), 1000).is_ok());
    assert_eq!(plan(&|_| (), 0), Err(Error::Malformed));
    assert_eq!(plan(&|_| (), 2), Err(Error::Unsupported));
    assert_eq!(3000usize.div_ceil(2), 1500);
    assert!(3000usize.div_ceil(3) <= MAX_SEGMENTS && plan(&|_| (), 3).is_ok());
    // A fragment, another protocol, a length that contradicts, options that are not there.
    assert_eq!(plan(&|f| f[20] = 0x20, 1000), Err(Error::Unsupported));
    assert_eq!(plan(&|f| f[23] = 1, 1000), Err(Error::Unsupported));
    assert_eq!(plan(&|f| f[16..18].fill(0xff), 1000), Err(Error::Truncated));
    assert_eq!(plan(&|f| f[16..18].copy_from_slice(&[0, 19]), 1000), Err(Error::Malformed));
    assert_eq!(plan(&|f| f[46] = 0x40, 1000), Err(Error::Malformed));
    assert_eq!(plan(&|f| f[14] = 0x75, 1000), Err(Error::Malformed));
    assert_eq!(plan(&|f| f.truncate(50), 1000), Err(Error::Truncated));
    assert_eq!(GsoPlan::new(&frame, frame.len(), 1000), Err(Error::Truncated));
    assert_eq!(GsoPlan::new(&frame, usize::MAX, 1000), Err(Error::Truncated));
}

#[test]
fn bytes_behind_the_packet_are_left_out() {
    let mut frame = tcp_frame(100);
    frame.extend([9; 30]);
    let plan = GsoPlan::new(&frame, 14, 1000).unwrap();
    assert_eq!(cut(&plan, &frame), [tcp_frame(100)]);
}

#[test]
fn a_length_of_zero_means_all_that_is_there() {
    let mut frame = tcp_frame(5000);
    frame[16..18].fill(0);
    let plan = GsoPlan::new(&frame, 14, 1000).unwrap();
    assert_eq!(plan.segments(), 5);
    frame.resize(70_000, 1);
    assert_eq!(GsoPlan::new(&frame, 14, 1000).unwrap().segments(), 70);
    assert_eq!(GsoPlan::new(&frame, 14, 66_000), Err(Error::Malformed));
}

#[test]
fn no_payload_is_one_segment() {
    let frame = tcp_frame(0);
    let plan = GsoPlan::new(&frame, 14, 1000).unwrap();
    assert_eq!(cut(&plan, &frame), [frame]);
}

#[test]
fn short_buffers_and_absent_segments() {
    let frame = tcp_frame(2500);
    let plan = GsoPlan::new(&frame, 14, 1000).unwrap();
    assert_eq!((plan.segments(), plan.header_len(), plan.longest()), (3, 54, 1054));
    let mut out = [0; 1054];
    assert_eq!(plan.write(0, &frame, &mut out[..1053]), None);
    assert_eq!(plan.write(2, &frame, &mut out[..554]), Some(554));
    assert_eq!(plan.write(3, &frame, &mut out), None);
    assert_eq!(plan.write(usize::MAX, &frame, &mut out), None);
}
