//! What a guest or a pod says about its packet, before anybody believes it.
//!
//! A partial checksum makes somebody behind the flow table write two bytes into the packet, at a place of the guest's
//! choice. Were it free to choose, it could pass the policy with one address, port or flag and send another. So the
//! place is compared with the headers.

use vr_frame::{GsoKind, Offload};

use crate::ETHERNET_HEADER;
use crate::vnet::{self, VNET_HEADER};

const NEEDS_CSUM: u8 = 1;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP6: u8 = 58;
/// IPv6 extension headers that stand before layer 4: hop-by-hop options, routing, destination options.
const EXTENSIONS: [u8; 3] = [0, 43, 60];
/// How many of them there may be, as for Linux's own checksums at the most.
const MOST_EXTENSIONS: usize = 8;

/// What the header of a virtual machine says of its frame; `None` when it contradicts itself or the frame.
///
/// A checksum that would start in the Ethernet header is no checksum: test rigs ask for one by mistake, with packets
/// that are complete (test-rig.md 3).
pub(crate) fn decode(mut header: [u8; VNET_HEADER], frame: &[u8]) -> Option<Offload> {
    // A guest cannot vouch for its checksums.
    header[0] &= NEEDS_CSUM;
    let start = u16::from_ne_bytes([header[6], header[7]]);
    let is_plain = header[1] == 0;
    if is_plain && usize::from(start) < ETHERNET_HEADER {
        header[0] = 0;
    }
    let offload = vnet::decode(header, frame.len())?;
    is_sound(&offload, frame).then_some(offload)
}

/// Where layer 4 begins, and its protocol.
struct Layer4 {
    start: usize,
    protocol: u8,
    is_inet6: bool,
}

impl Layer4 {
    /// `None` for what is not IP, or not whole.
    fn of(frame: &[u8], network: usize, ethertype: u16) -> Option<Self> {
        let byte = |at: usize| frame.get(network + at).copied();
        match ethertype {
            0x0800 => {
                let len = usize::from(byte(0)? & 0xf) * 4;
                Some(Self { start: network + len.max(20), protocol: byte(9)?, is_inet6: false })
            }
            0x86dd => {
                let (mut at, mut protocol) = (40, byte(6)?);
                for _ in 0..MOST_EXTENSIONS {
                    if !EXTENSIONS.contains(&protocol) {
                        return Some(Self { start: network + at, protocol, is_inet6: true });
                    }
                    protocol = byte(at)?;
                    at += (usize::from(byte(at + 1)?) + 1) * 8;
                }
                None
            }
            _ => None,
        }
    }
}

/// Whether completing the checksum changes nothing but a checksum, or what no table looks at, and whether the packet
/// is what a super-frame is made of. There is nothing to say about a plain packet.
#[inline]
pub(crate) fn is_sound(offload: &Offload, frame: &[u8]) -> bool {
    offload.is_plain() || is_sound_about(offload, frame)
}

fn is_sound_about(offload: &Offload, frame: &[u8]) -> bool {
    let (start, offset) = (usize::from(offload.csum_start), usize::from(offload.csum_offset));
    let Some((network, ethertype)) = network(frame) else { return false };
    let Some(layer4) = Layer4::of(frame, network, ethertype) else {
        // The addresses of ARP end there. Neither is anything else of it a super-frame, nor has broken IP a checksum.
        const ARP: usize = 28;
        let is_inet = matches!(ethertype, 0x0800 | 0x86dd);
        return !is_inet && !offload.is_super_frame() && start >= network + ARP;
    };
    let is_its_own = start == layer4.start;
    let is_inner = start >= layer4.start + 8;
    let has_checksum = offload.needs_csum
        && match layer4.protocol {
            TCP => is_its_own && offset == 16,
            // Inside may be a tunnel of the guest's, with a checksum of its own.
            UDP => is_its_own && offset == 6 || is_inner,
            ICMP6 => is_its_own && offset == 2,
            // Behind what other protocols have as ports.
            _ => is_its_own && offset >= 4 || is_inner,
        };
    has_checksum
        && match offload.gso {
            GsoKind::None => true,
            GsoKind::TcpV4 => is_its_own && layer4.protocol == TCP && !layer4.is_inet6,
            GsoKind::TcpV6 => is_its_own && layer4.protocol == TCP && layer4.is_inet6,
            GsoKind::UdpL4 => is_its_own && layer4.protocol == UDP,
        }
}

/// Offset and type of what is behind the Ethernet header and its VLAN tags.
fn network(frame: &[u8]) -> Option<(usize, u16)> {
    const TAGS: usize = 2;
    for at in (12..=12 + 4 * TAGS).step_by(4) {
        let ethertype = u16::from_be_bytes(*frame.get(at..)?.first_chunk()?);
        if !matches!(ethertype, 0x8100 | 0x88a8) {
            return Some((at + 2, ethertype));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use vr_frame::{GsoKind, Offload};

    use super::{TCP, UDP, decode};
    use crate::vnet::encode;

    /// A frame of 200 bytes with these at the places named, and zeroes.
    fn frame(parts: &[(usize, &[u8])]) -> Vec<u8> {
        let mut frame = vec![0; 200];
        for (at, bytes) in parts {
            frame[*at..at + bytes.len()].copy_from_slice(bytes);
        }
        frame
    }

    fn inet(protocol: u8) -> Vec<u8> {
        frame(&[(12, &[0x08, 0x00, 0x45]), (23, &[protocol])])
    }

    fn inet6(protocol: u8) -> Vec<u8> {
        frame(&[(12, &[0x86, 0xdd, 0x60]), (20, &[protocol])])
    }

    fn partial(csum_start: u16, csum_offset: u16) -> Offload {
        Offload { needs_csum: true, csum_start, csum_offset, ..Offload::NONE }
    }

    fn large(gso: GsoKind, csum_start: u16, csum_offset: u16) -> Offload {
        Offload { gso, gso_size: 50, ..partial(csum_start, csum_offset) }
    }

    fn accepts(frame: &[u8], offload: Offload) -> bool {
        match decode(encode(&offload, frame), frame) {
            Some(found) => {
                assert_eq!(found, offload);
                true
            }
            None => false,
        }
    }

    #[test]
    fn checksums_of_known_protocols_are_where_these_have_them() {
        let tagged = frame(&[(12, &[0x81, 0, 0, 7, 0x08, 0x00, 0x45]), (27, &[TCP])]);
        let options = frame(&[(12, &[0x08, 0x00, 0x46]), (23, &[TCP])]);
        let extended = frame(&[(12, &[0x86, 0xdd, 0x60]), (20, &[60]), (54, &[UDP, 1])]);
        for (frame, start, offset) in [
            (inet(TCP), 34, 16),
            (inet(UDP), 34, 6),
            (inet6(TCP), 54, 16),
            (inet6(UDP), 54, 6),
            (inet6(58), 54, 2),
            (inet(132), 34, 8),
            (tagged, 38, 16),
            (options, 38, 16),
            (extended, 70, 6),
        ] {
            assert!(accepts(&frame, partial(start, offset)), "{start} {offset}");
            for (start, offset) in [(start - 2, offset), (start, 0), (start, offset + 184), (14, offset)] {
                assert!(!accepts(&frame, partial(start, offset)), "{start} {offset}");
            }
        }
        assert!(accepts(&inet(UDP), partial(34 + 8 + 8 + 34, 16)), "in a tunnel of the guest's");
        assert!(!accepts(&inet(TCP), partial(34 + 20 + 34, 16)), "TCP is no tunnel");
        assert!(!accepts(&frame(&[(12, &[8, 6])]), partial(28, 2)), "an address of ARP");
    }

    #[test]
    fn super_frames_are_what_they_say() {
        for (frame, good, start, offset) in [
            (inet(TCP), GsoKind::TcpV4, 34, 16),
            (inet6(TCP), GsoKind::TcpV6, 54, 16),
            (inet(UDP), GsoKind::UdpL4, 34, 6),
        ] {
            for gso in [GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4] {
                assert_eq!(accepts(&frame, large(gso, start, offset)), gso == good, "{gso:?}");
                let complete = Offload { gso, gso_size: 50, ..Offload::NONE };
                assert!(!accepts(&frame, complete), "a super-frame's checksum is never complete");
            }
        }
        assert!(!accepts(&frame(&[(12, &[8, 6])]), large(GsoKind::TcpV4, 50, 16)));
    }

    #[test]
    fn guests_do_not_vouch_and_rigs_may_ask_for_nothing() {
        let mut header = [0; 10];
        header[0] = 2;
        assert_eq!(decode(header, &inet(TCP)), Some(Offload::NONE));
        header[0] = 3;
        assert_eq!(decode(header, &inet(TCP)), Some(Offload::NONE));
    }

    proptest! {
        /// Whatever header and frame say, a checksum is written to none of the addresses and ports of IP.
        #[test]
        fn no_checksum_lands_on_what_the_policy_saw(
            header in any::<[u8; 10]>(), start in 0_u8..100, offset in 0_u8..40, gso in prop::sample::select(vec![0, 1, 4, 5]),
            protocol in prop::sample::select(vec![1, TCP, UDP, 58, 132, 0, 60]), is_inet6 in any::<bool>(), words in 5_u8..16,
            rest in prop::collection::vec(any::<u8>(), 0..200),
        ) {
            let mut frame = if is_inet6 { inet6(protocol) } else { inet(protocol) };
            let layer4 = if is_inet6 { 54 } else { 14 + usize::from(words) * 4 };
            if !is_inet6 {
                frame[14] = 0x40 | words;
            }
            frame.truncate(layer4);
            frame.extend(rest);
            let mut header = header;
            (header[0], header[1]) = (1, gso);
            header[6..8].copy_from_slice(&u16::from(start).to_ne_bytes());
            header[8..10].copy_from_slice(&u16::from(offset).to_ne_bytes());
            if let Some(offload) = decode(header, &frame).filter(|offload| offload.needs_csum) {
                let field = usize::from(offload.csum_start) + usize::from(offload.csum_offset);
                prop_assert!(field + 2 <= frame.len());
                let ports = if protocol == 58 { 2 } else { 4 };
                prop_assert!(field >= layer4 + ports);
            }
        }
    }
}
