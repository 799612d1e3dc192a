//! The same look into the payload of a tunnel as the program takes, for packets that come without metadata.

use crate::{InnerHash, Tunnel};

/// What was found in the payload of a tunnel packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Payload {
    /// Offset of the inner IP header from the start of the payload, in bytes, if one was found.
    pub l3_offset: Option<u16>,
    /// [`InnerHash`] of the inner headers; 0 when there were none to hash.
    pub hash: u32,
}

/// Looks into `payload`, which starts behind the first MPLS label or behind the `VXLAN` header.
///
/// MPLS does not say what it carries. In this order, an Ethernet frame with IP, an IP packet, either of them
/// behind a control word of zero, and any other Ethernet frame are recognised, by fields that are the same in
/// every packet of a flow: a wrong guess costs balance, never order.
#[must_use]
pub fn inspect_payload(tunnel: Tunnel, payload: &[u8]) -> Payload {
    if tunnel == Tunnel::Vxlan {
        return ip_in_ethernet(payload)
            .and_then(|offset| ip(payload, offset))
            .unwrap_or_else(|| ethernet(payload));
    }
    if let Some(found) = guess(payload) {
        return found;
    }
    let Some((&[0, 0, 0, 0], behind)) = payload.split_first_chunk::<4>() else {
        return ethernet(payload);
    };
    match guess(behind) {
        Some(found) => Payload { l3_offset: found.l3_offset.map(|offset| offset + 4), ..found },
        None => ethernet(behind),
    }
}

fn guess(bytes: &[u8]) -> Option<Payload> {
    ip(bytes, ip_in_ethernet(bytes).unwrap_or(0))
}

/// Offset of the IP header in an Ethernet frame, with one tag at most, whose `EtherType` and content agree on IP.
fn ip_in_ethernet(frame: &[u8]) -> Option<usize> {
    let (ether_type, offset) = match u16_at(frame, 12)? {
        0x8100 | 0x88a8 => (u16_at(frame, 16)?, 18),
        ether_type => (ether_type, 14),
    };
    let version = frame.get(offset)? >> 4;
    matches!((ether_type, version), (0x0800, 4) | (0x86dd, 6)).then_some(offset)
}

fn ip(bytes: &[u8], offset: usize) -> Option<Payload> {
    let packet = bytes.get(offset..)?;
    let hash = match packet.first()? >> 4 {
        4 => ipv4(packet)?,
        6 => ipv6(packet)?,
        _ => return None,
    };
    Some(Payload { l3_offset: Some(offset as u16), hash })
}

fn ipv4(packet: &[u8]) -> Option<u32> {
    let header: &[u8; 20] = packet.first_chunk()?;
    let header_len = usize::from(header[0] & 15) * 4;
    if header_len < 20 {
        return None;
    }
    let protocol = header[9];
    let fragment = u16::from_be_bytes([header[6], header[7]]) & 0x3fff != 0;
    let ports = if fragment { 0 } else { ports(packet, header_len, protocol) };
    Some(InnerHash::ipv4(word_at(header, 12)?, ports, protocol))
}

fn ipv6(packet: &[u8]) -> Option<u32> {
    let header: &[u8; 40] = packet.first_chunk()?;
    let protocol = header[6];
    let addresses = [word_at(header, 8)?, word_at(header, 16)?, word_at(header, 24)?, word_at(header, 32)?];
    Some(InnerHash::ipv6(addresses, ports(packet, 40, protocol), protocol))
}

/// Both ports of TCP, UDP or SCTP as they lie on the wire; 0 when there are none.
fn ports(packet: &[u8], offset: usize, protocol: u8) -> u32 {
    match (protocol, packet.get(offset..offset + 4)) {
        (6 | 17 | 132, Some(&[a, b, c, d])) => u32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

fn ethernet(frame: &[u8]) -> Payload {
    Payload { l3_offset: None, hash: ethernet_hash(frame).unwrap_or(0) }
}

fn ethernet_hash(frame: &[u8]) -> Option<u32> {
    let header: &[u8; 14] = frame.first_chunk()?;
    let next_four = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
    let ether_type = u16::from_ne_bytes([header[12], header[13]]);
    Some(InnerHash::ethernet(word_at(header, 0)?, next_four, ether_type))
}

fn word_at(bytes: &[u8], offset: usize) -> Option<u64> {
    Some(u64::from_ne_bytes(*bytes.get(offset..)?.first_chunk()?))
}

fn u16_at(bytes: &[u8], offset: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(offset..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UDP4: [u8; 28] = [
        0x45, 0, 0, 28, 0x12, 0x34, 0, 0, 64, 17, 0, 0, 10, 0, 0, 4, 10, 0, 1, 7, 0x13, 0x88, 0x13, 0x89, 0,
        8, 0, 0,
    ];

    fn framed(destination: [u8; 6], ether_type: u16, rest: &[u8]) -> ([u8; 64], usize) {
        let mut frame = [0; 64];
        frame[..6].copy_from_slice(&destination);
        frame[6..12].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        frame[12..14].copy_from_slice(&ether_type.to_be_bytes());
        frame[14..14 + rest.len()].copy_from_slice(rest);
        (frame, 14 + rest.len())
    }

    #[test]
    fn one_flow_has_one_hash_however_it_is_carried() {
        let bare = inspect_payload(Tunnel::MplsUdp, &UDP4);
        assert_eq!(bare.l3_offset, Some(0));
        assert_ne!(bare.hash, 0);
        // A destination MAC that looks like the first bytes of an IPv4 header.
        for destination in [[2, 0, 0, 0, 0, 1], [0x45, 0, 0, 28, 0, 0]] {
            let (frame, len) = framed(destination, 0x0800, &UDP4);
            for tunnel in [Tunnel::MplsGre, Tunnel::Vxlan] {
                let found = inspect_payload(tunnel, &frame[..len]);
                assert_eq!(found, Payload { l3_offset: Some(14), hash: bare.hash });
            }
        }
        let mut behind_control_word = [0; 32];
        behind_control_word[4..].copy_from_slice(&UDP4);
        let found = inspect_payload(Tunnel::MplsUdp, &behind_control_word);
        assert_eq!(found, Payload { l3_offset: Some(4), hash: bare.hash });
    }

    #[test]
    fn fragments_of_a_packet_share_a_hash() {
        let mut first = UDP4;
        first[6] = 0x20;
        let mut second = first;
        second[6..8].copy_from_slice(&[0, 185]);
        second[20..].fill(0xaa);
        assert_eq!(
            inspect_payload(Tunnel::MplsUdp, &first).hash,
            inspect_payload(Tunnel::MplsUdp, &second).hash
        );
    }

    #[test]
    fn frames_without_ip_hash_their_addresses() {
        let (arp, len) = framed([0xff; 6], 0x0806, &[0; 28]);
        let found = inspect_payload(Tunnel::Vxlan, &arp[..len]);
        assert_eq!(found.l3_offset, None);
        assert_ne!(found.hash, 0);
    }

    #[test]
    fn any_cut_is_survived() {
        let (frame, len) = framed([2, 0, 0, 0, 0, 1], 0x0800, &UDP4);
        for cut in 0..=len {
            for tunnel in [Tunnel::MplsUdp, Tunnel::MplsGre, Tunnel::Vxlan] {
                let found = inspect_payload(tunnel, &frame[..cut]);
                assert!(found.l3_offset.is_none_or(|offset| usize::from(offset) < cut));
            }
        }
        assert_eq!(inspect_payload(Tunnel::Vxlan, &[]), Payload { l3_offset: None, hash: 0 });
    }
}
