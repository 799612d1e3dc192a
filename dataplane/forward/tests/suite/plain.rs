//! Packets finished for ports that take nothing but plain frames.

use proptest::prelude::*;
use vr_forward::make_plain;
use vr_frame::{FramePool, GsoKind, Offload, Packet, PoolSet, PoolSizes};
use vr_types::{DropReason, Mac};
use vr_wire::checksum;

use crate::packets::{self, Inet, TCP, UDP};

const ENDS: [[u8; 4]; 2] = [[10, 0, 0, 1], [10, 0, 0, 2]];
const SIZES: PoolSizes = PoolSizes { packets: 2048, supers: 8 };

fn pool() -> FramePool {
    PoolSet::new(1, SIZES).unwrap().1.remove(0)
}

/// A frame with so many VLAN tags.
fn frame(tags: usize, protocol: u8, l4: Vec<u8>) -> Vec<u8> {
    let inet = Inet {
        source: ENDS[0],
        destination: ENDS[1],
        protocol,
        id: 1,
        fragment: 0,
        ttl: 64,
        options: Vec::new(),
        payload: l4,
    };
    let mut rest: Vec<u8> = [0, 9, 0x81, 0].repeat(tags);
    if tags > 0 {
        rest[4 * tags - 2..].copy_from_slice(&[8, 0]);
    }
    let ethertype = if tags > 0 { 0x8100 } else { 0x0800 };
    rest.extend(inet.bytes());
    packets::ethernet(Mac([2; 6]), Mac([4; 6]), ethertype, &rest)
}

fn finish(pool: &mut FramePool, bytes: &[u8], offload: Offload) -> (Result<(), DropReason>, Vec<Vec<u8>>) {
    let frame = pool.copy_of(bytes).unwrap();
    let mut out = Vec::new();
    let result = make_plain(Packet { frame, offload }, pool, &mut out);
    let frames = out
        .into_iter()
        .map(|packet| {
            assert!(packet.offload.is_plain());
            let bytes = packet.frame.bytes().to_vec();
            pool.free(packet.frame);
            bytes
        })
        .collect();
    assert_eq!(pool.available(), SIZES.packets as usize, "frames are missing");
    (result, frames)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn super_frames_become_segments(len in 1..60_000usize, size in 100..1460usize, tags in 0..3usize) {
        let data: Vec<u8> = (0..len).map(|at| (at * 3) as u8).collect();
        let whole = packets::tcp(ENDS, [1, 2], [5, 6], 0x10, &data);
        let offload = Offload { needs_csum: true, gso: GsoKind::TcpV4, gso_size: size as u16, ..Offload::NONE };
        let (result, frames) = finish(&mut pool(), &frame(tags, TCP, whole), offload);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(frames.len(), len.div_ceil(size));
        let headers = 14 + 4 * tags;
        let mut received: Vec<u8> = Vec::new();
        for segment in frames {
            prop_assert_eq!(&segment[..headers], &frame(tags, TCP, Vec::new())[..headers]);
            let message = &segment[headers + 20..];
            prop_assert!(checksum::is_valid(&segment[headers..headers + 20]));
            prop_assert!(checksum::inet_l4_is_valid(&ENDS[0], &ENDS[1], TCP, message));
            received.extend(&message[20..]);
        }
        prop_assert_eq!(received, data);
    }

    #[test]
    fn partial_checksums_are_completed(len in 0..1400usize) {
        let complete = packets::udp(ENDS, [1, 2], &vec![3; len]);
        let mut partial = complete.clone();
        let pseudo = checksum::fold(checksum::inet_pseudo(&ENDS[0], &ENDS[1], UDP, complete.len()));
        partial[6..8].copy_from_slice(&pseudo.to_be_bytes());
        let offload = Offload { needs_csum: true, csum_start: 34, csum_offset: 6, ..Offload::NONE };
        let (result, frames) = finish(&mut pool(), &frame(0, UDP, partial), offload);
        prop_assert_eq!(result, Ok(()));
        prop_assert_eq!(frames, vec![frame(0, UDP, complete)]);
    }

    /// Whatever the bytes and the metadata are, nothing is lost.
    #[test]
    fn rubbish_is_refused_or_passed(
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        gso in prop_oneof![Just(GsoKind::None), Just(GsoKind::TcpV4), Just(GsoKind::UdpL4)],
        (needs_csum, gso_size, csum_start, csum_offset) in any::<(bool, u16, u16, u16)>(),
    ) {
        let offload = Offload { needs_csum, csum_valid: false, gso, gso_size, csum_start, csum_offset };
        let (result, frames) = finish(&mut pool(), &bytes, offload);
        prop_assert!(result.is_err() || !frames.is_empty());
    }
}

#[test]
fn segments_take_at_most_half_of_what_is_free() {
    let mut pool = PoolSet::new(1, PoolSizes { packets: 20, supers: 1 }).unwrap().1.remove(0);
    let offload = Offload { needs_csum: true, gso: GsoKind::TcpV4, gso_size: 1000, ..Offload::NONE };
    let mut out = Vec::new();
    let mut cut = |pool: &mut FramePool, segments: usize| {
        let bytes = frame(0, TCP, packets::tcp(ENDS, [1, 2], [5, 6], 0x10, &vec![0; 1000 * segments]));
        let packet = Packet { frame: pool.copy_of(&bytes).unwrap(), offload };
        (make_plain(packet, pool, &mut out), out.len())
    };
    assert_eq!(cut(&mut pool, 11), (Err(DropReason::NoMemory), 0));
    assert_eq!(cut(&mut pool, 10), (Ok(()), 10));
    assert_eq!(cut(&mut pool, 6), (Err(DropReason::NoMemory), 10), "ten frames are left");
    for packet in out {
        pool.free(packet.frame);
    }
    assert_eq!(pool.available(), 20);
    assert!(pool.super_frame().map(|frame| pool.free(frame)).is_some(), "the super-frame is back");
}
