//! Parse stage for frames of guests.

use vr_frame::{BATCH, Packet};
use vr_tables::prefetch::prefetch;
use vr_tables::vif::{Vif, VifFlags};

use super::Lane;
use super::meta::PktMeta;

/// Ethernet, IPv4 without options, and the first eight bytes of TCP or UDP.
const HEADERS: usize = 14 + 20 + 8;
/// As far ahead as header lines are fetched.
const AHEAD: usize = 4;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// TCP flags that change a connection: FIN, SYN, RST.
const CHANGES: u8 = 0x07;

/// Fills in keys; the lane has the packets that are plain enough.
pub(super) fn parse(vif: &Vif, batch: &[Packet], meta: &mut [PktMeta; BATCH]) -> Lane {
    if !vif.flags.contains(VifFlags::POLICY) {
        return 0;
    }
    let mut lane = 0;
    for (position, (packet, meta)) in batch.iter().zip(meta.iter_mut()).enumerate() {
        if let Some(ahead) = batch.get(position + AHEAD) {
            prefetch_headers(ahead);
        }
        let taken = parse_one(vif, packet, meta);
        lane |= u64::from(taken.is_some()) << position;
    }
    lane
}

/// The line that holds a frame's headers and the one in front of it, where outer headers will go.
pub(super) fn prefetch_headers(packet: &Packet) {
    if let Some(first) = packet.frame.bytes().first() {
        prefetch(first);
    }
    if let Some([before, ..]) = packet.frame.buffer_bytes(packet.frame.headroom().saturating_sub(32), 1) {
        prefetch(before);
    }
}

#[inline]
fn parse_one(vif: &Vif, packet: &Packet, meta: &mut PktMeta) -> Option<()> {
    let headers: &[u8; HEADERS] = packet.frame.bytes().first_chunk()?;
    let group = headers[0] & 1 != 0;
    let plain = [headers[12], headers[13], headers[14]] == [0x08, 0x00, 0x45];
    if group || !plain || !packet.offload.is_plain() {
        return None;
    }
    let inet = headers[14..].first_chunk::<28>()?;
    // The router takes one off the TTL; a packet that would expire is for the full path.
    if inet[8] <= 1 || !key(inet, vif.nexthop.0, &mut meta.key) {
        return None;
    }
    meta.tcp = inet[9] == TCP;
    if meta.tcp && packet.frame.bytes().get(14 + 20 + 13)? & CHANGES != 0 {
        return None;
    }
    meta.source = u32::from(vif.id.0);
    meta.vrf = vif.vrf.0;
    meta.inner = 0;
    meta.ttl = inet[8] - 1;
    meta.policy = true;
    Some(())
}

/// Writes the flow key of an IPv4 header without options and the ports behind it. `false` for fragments,
/// other protocols than TCP and UDP, and group destinations.
#[inline]
pub(super) fn key(inet: &[u8; 28], nexthop: u32, key: &mut [u32; 5]) -> bool {
    let word = |at: usize| u32::from_le_bytes([inet[at], inet[at + 1], inet[at + 2], inet[at + 3]]);
    let fragment = u16::from_be_bytes([inet[6], inet[7]]) & 0x3fff != 0;
    let protocol = inet[9];
    if fragment || !matches!(protocol, TCP | UDP) || inet[16] >= 0xe0 {
        return false;
    }
    *key =
        [u32::from(vr_types::family::INET) | u32::from(protocol) << 8, word(20), nexthop, word(12), word(16)];
    true
}

/// Whether a TCP segment may change its connection; `at` is the offset of its header.
#[inline]
pub(super) fn changes_connection(frame: &[u8], at: usize) -> bool {
    frame.get(at + 13).is_none_or(|flags| flags & CHANGES != 0)
}
