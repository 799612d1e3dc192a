//! Parse stage for frames of guests.

use vr_frame::{BATCH, Offload, Packet};
use vr_tables::vif::Vif;
use vr_types::Mac;

use super::meta::PktMeta;
use super::{Lane, positions};

/// Ethernet, IPv4 without options, and the first eight bytes of TCP or UDP.
const HEADERS: usize = LAYER_4 + 8;
const LAYER_4: usize = 14 + 20;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// TCP flags that change a connection: FIN, SYN, RST.
const CHANGES: u8 = 0x07;

/// Asks for the lines that hold the headers, and those in front of them, where outer headers will go.
pub(super) fn prefetch_headers(lane: Lane, batch: &[Packet]) {
    for position in positions(lane) {
        batch[position].frame.prefetch(0);
        batch[position].frame.prefetch(-32);
    }
}

/// Fills in keys; gives the packets that are plain enough.
pub(super) fn parse(vif: &Vif, lane: Lane, batch: &[Packet], meta: &mut [PktMeta; BATCH]) -> Lane {
    let mut plain = 0;
    for position in positions(lane) {
        let taken = parse_one(vif, &batch[position], &mut meta[position]);
        plain |= u64::from(taken.is_some()) << position;
    }
    plain
}

#[inline]
fn parse_one(vif: &Vif, packet: &Packet, meta: &mut PktMeta) -> Option<()> {
    let headers: &[u8; HEADERS] = packet.frame.bytes().first_chunk()?;
    let group = headers[0] & 1 != 0;
    let plain = [headers[12], headers[13], headers[14]] == [0x08, 0x00, 0x45];
    if group || !plain || packet.offload.is_super_frame() {
        return None;
    }
    if packet.offload.needs_csum && !can_complete(&packet.offload, packet.frame.len()) {
        return None;
    }
    let inet = headers[14..].first_chunk::<28>()?;
    // The router takes one off the TTL; a packet that would expire is for the full path.
    if inet[8] <= 1 || !key(inet, &mut meta.key) {
        return None;
    }
    meta.key[2] = vif.nexthop.0;
    if meta.is_tcp() && changes_connection(packet.frame.bytes(), LAYER_4) {
        return None;
    }
    meta.mac = Mac(*headers.first_chunk()?);
    meta.source = vif.source();
    meta.inner = 0;
    meta.ttl = inet[8] - 1;
    meta.policy = true;
    Some(())
}

/// Whether a partial checksum can be completed at any time, whatever happens to the headers in front of it: it covers
/// nothing of them, and its field lies in the frame of `len` bytes.
#[inline]
fn can_complete(offload: &Offload, len: usize) -> bool {
    let (start, field) = (usize::from(offload.csum_start), usize::from(offload.csum_offset));
    start >= LAYER_4 && start + field + 2 <= len
}

/// Writes the flow key of an IPv4 header without options and the ports behind it, all but the nexthop. `false`
/// for fragments, other protocols than TCP and UDP, and group destinations.
#[inline]
pub(super) fn key(inet: &[u8; 28], key: &mut [u32; 5]) -> bool {
    let word = |at: usize| u32::from_le_bytes([inet[at], inet[at + 1], inet[at + 2], inet[at + 3]]);
    let fragment = u16::from_be_bytes([inet[6], inet[7]]) & 0x3fff != 0;
    let protocol = inet[9];
    if fragment || !matches!(protocol, TCP | UDP) || inet[16] >= 0xe0 {
        return false;
    }
    *key = [u32::from(vr_types::family::INET) | u32::from(protocol) << 8, word(20), 0, word(12), word(16)];
    true
}

/// Whether a TCP segment may change its connection; `at` is the offset of its header.
#[inline]
pub(super) fn changes_connection(frame: &[u8], at: usize) -> bool {
    frame.get(at + 13).is_none_or(|flags| flags & CHANGES != 0)
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};
    use std::sync::Arc;

    use vr_frame::{GsoKind, Offload, Packet, PoolSet, PoolSizes};
    use vr_tables::vif::{Vif, VifDetails, VifFlags, VifKind};
    use vr_types::{Mac, MirrorId, NexthopId, VifId, VrfId};

    use super::{PktMeta, parse_one};

    fn guest() -> Vif {
        Vif {
            id: VifId(3),
            kind: VifKind::Virtual,
            version: 0,
            flags: VifFlags::POLICY,
            vrf: VrfId(1),
            mcast_vrf: VrfId::NONE,
            nexthop: NexthopId(20),
            mac: Mac::VIRTUAL_ROUTER,
            mtu: 1500,
            mirror: MirrorId::NONE,
            qos_map: -1,
            vlan: 0,
            outer_vlan: 0,
            parent: VifId::NONE,
            ip: Ipv4Addr::UNSPECIFIED,
            ip6: Ipv6Addr::UNSPECIFIED,
            details: Arc::new(VifDetails::default()),
        }
    }

    /// Whether the lane takes an empty TCP segment with this metadata.
    fn takes(offload: Offload) -> bool {
        let mut bytes = [0; 54];
        [bytes[12], bytes[14], bytes[22], bytes[23]] = [0x08, 0x45, 64, super::TCP];
        let mut pool = PoolSet::new(1, PoolSizes { packets: 64, supers: 1 }).unwrap().1.remove(0);
        let packet = Packet { frame: pool.copy_of(&bytes).unwrap(), offload };
        let taken = parse_one(&guest(), &packet, &mut PktMeta::default()).is_some();
        pool.free(packet.frame);
        taken
    }

    #[test]
    fn partial_checksums_are_taken_where_they_can_be_completed_later() {
        let partial = Offload { needs_csum: true, csum_start: 34, csum_offset: 16, ..Offload::NONE };
        assert!(takes(Offload::NONE) && takes(partial));
        for (csum_start, csum_offset) in [(34, 19), (33, 16), (0, 50), (54, 0), (u16::MAX, u16::MAX)] {
            assert!(!takes(Offload { csum_start, csum_offset, ..partial }), "{csum_start} {csum_offset}");
        }
        assert!(!takes(Offload { gso: GsoKind::TcpV4, gso_size: 100, ..partial }));
    }
}
