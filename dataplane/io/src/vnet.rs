//! The virtio-net header that the kernel puts in front of frames, and VLAN tags that it takes out.

use vr_frame::{Frame, GsoKind, Offload};

/// Bytes of the header (virtio 1.2, 5.1.6, without `num_buffers`); its integers have the byte order of the
/// machine.
pub(crate) const VNET_HEADER: usize = 10;

const NEEDS_CSUM: u8 = 1;
const DATA_VALID: u8 = 2;
/// The first segment has the TCP flag CWR; it is in the TCP header as well.
const GSO_ECN: u8 = 0x80;

/// The offload state that a header describes for a frame of `len` bytes; `None` when it contradicts itself or
/// the frame.
pub(crate) fn decode(header: [u8; VNET_HEADER], len: usize) -> Option<Offload> {
    let [flags, gso_type, _, _, g0, g1, s0, s1, o0, o1] = header;
    let gso = match gso_type & !GSO_ECN {
        0 => GsoKind::None,
        1 => GsoKind::TcpV4,
        4 => GsoKind::TcpV6,
        5 => GsoKind::UdpL4,
        _ => return None,
    };
    let mut offload = Offload {
        needs_csum: flags & NEEDS_CSUM != 0,
        csum_valid: flags & DATA_VALID != 0,
        gso,
        ..Offload::NONE
    };
    if offload.needs_csum {
        offload.csum_start = u16::from_ne_bytes([s0, s1]);
        offload.csum_offset = u16::from_ne_bytes([o0, o1]);
        if usize::from(offload.csum_start) + usize::from(offload.csum_offset) + 2 > len {
            return None;
        }
    }
    if offload.is_super_frame() {
        offload.gso_size = u16::from_ne_bytes([g0, g1]);
        if offload.gso_size == 0 {
            return None;
        }
    }
    Some(offload)
}

/// The header for a frame in this state.
pub(crate) fn encode(offload: &Offload, frame: &[u8]) -> [u8; VNET_HEADER] {
    let mut header = [0; VNET_HEADER];
    if offload.needs_csum {
        header[0] |= NEEDS_CSUM;
        header[6..8].copy_from_slice(&offload.csum_start.to_ne_bytes());
        header[8..10].copy_from_slice(&offload.csum_offset.to_ne_bytes());
    }
    if offload.csum_valid {
        header[0] |= DATA_VALID;
    }
    if offload.is_super_frame() {
        header[1] = offload.gso as u8;
        header[2..4].copy_from_slice(&headers_len(offload, frame).to_ne_bytes());
        header[4..6].copy_from_slice(&offload.gso_size.to_ne_bytes());
    }
    header
}

/// Bytes of all headers of a super-frame, which the kernel wants to have in one piece.
fn headers_len(offload: &Offload, frame: &[u8]) -> u16 {
    let transport = usize::from(offload.csum_start);
    let len = match offload.gso {
        GsoKind::UdpL4 => 8,
        _ => frame.get(transport + 12).map_or(20, |byte| usize::from(byte >> 4) * 4),
    };
    (transport + len).min(frame.len()) as u16
}

/// Puts back a VLAN tag that the kernel has taken out of a frame, and moves the checksum's start along. Says
/// whether there was room.
pub(crate) fn insert_tag(frame: &mut Frame, offload: &mut Offload, tpid: u16, tci: u16) -> bool {
    const ADDRESSES: usize = 12;
    const TAG: usize = 4;
    if frame.len() < ADDRESSES + 2 {
        return false;
    }
    let Some(bytes) = frame.push(TAG) else { return false };
    bytes.copy_within(TAG..TAG + ADDRESSES, 0);
    bytes[ADDRESSES..ADDRESSES + 2].copy_from_slice(&tpid.to_be_bytes());
    bytes[ADDRESSES + 2..ADDRESSES + TAG].copy_from_slice(&tci.to_be_bytes());
    if offload.needs_csum {
        offload.csum_start = offload.csum_start.saturating_add(TAG as u16);
    }
    true
}

#[cfg(test)]
mod tests {
    use super::{decode, encode, insert_tag};
    use vr_frame::{GsoKind, Offload, PoolSet, PoolSizes};

    const TCP: Offload = Offload {
        needs_csum: true,
        csum_valid: false,
        gso: GsoKind::TcpV4,
        gso_size: 1448,
        csum_start: 34,
        csum_offset: 16,
    };

    /// Ethernet, IPv4 and TCP with 12 bytes of options, zeroes but for the data offset.
    fn tcp_frame() -> Vec<u8> {
        let mut frame = vec![0; 3000];
        frame[34 + 12] = 8 << 4;
        frame
    }

    #[test]
    fn states_survive_both_translations() {
        let udp = Offload { gso: GsoKind::UdpL4, csum_offset: 6, ..TCP };
        let six = Offload { gso: GsoKind::TcpV6, csum_start: 54, ..TCP };
        let one = Offload { gso: GsoKind::None, gso_size: 0, ..TCP };
        let valid = Offload { csum_valid: true, ..Offload::NONE };
        for offload in [TCP, udp, six, one, valid, Offload::NONE] {
            assert_eq!(decode(encode(&offload, &tcp_frame()), 3000), Some(offload));
        }
    }

    #[test]
    fn the_length_of_the_headers_includes_tcp_options() {
        assert_eq!(encode(&TCP, &tcp_frame())[2..4], (34_u16 + 32).to_ne_bytes());
        assert_eq!(encode(&TCP, &[0; 20])[2..4], 20_u16.to_ne_bytes(), "never more than the frame");
    }

    #[test]
    fn contradictions_are_refused() {
        let good = encode(&TCP, &tcp_frame());
        assert_eq!(decode(good, 51), None, "the checksum lies outside");
        assert!(decode(good, 52).is_some());
        for (at, value) in [(1, 3), (1, 2), (1, 0x7f)] {
            let mut bad = good;
            bad[at] = value;
            assert_eq!(decode(bad, 3000), None, "unknown kind of super-frame");
        }
        let mut empty_segments = good;
        empty_segments[4..6].fill(0);
        assert_eq!(decode(empty_segments, 3000), None);
        let mut ecn = good;
        ecn[1] |= 0x80;
        assert_eq!(decode(ecn, 3000), Some(TCP));
    }

    #[test]
    fn a_tag_goes_behind_the_addresses() {
        let mut pool = PoolSet::new(1, PoolSizes { packets: 1, supers: 1 }).unwrap().1.remove(0);
        let plain: Vec<u8> = (0..60).collect();
        let mut frame = pool.copy_of(&plain).unwrap();
        let mut offload = TCP;
        assert!(insert_tag(&mut frame, &mut offload, 0x8100, 0x2064));
        let expected = [&plain[..12], &[0x81, 0x00, 0x20, 0x64], &plain[12..]].concat();
        assert_eq!(frame.bytes(), expected);
        assert_eq!(offload.csum_start, 38);
        frame.truncate(13);
        assert!(!insert_tag(&mut frame, &mut offload, 0x8100, 1));
        pool.free(frame);
    }
}
