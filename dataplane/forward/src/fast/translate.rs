//! Writes the addresses and ports of a translated flow.

use vr_frame::Packet;
use vr_tables::flow::Translation;
use vr_types::FlowIndex;

use super::meta::PktMeta;
use crate::full::Full;

const ETHERNET: usize = 14;
/// IPv4 header without options.
const INET: usize = 20;
/// Offsets of fields in the packet.
const HEADER_CHECKSUM: usize = 10;
const ADDRESSES: usize = 12;
const TCP_CHECKSUM: usize = INET + 16;
const UDP_CHECKSUM: usize = INET + 6;

#[inline]
fn packet_at(meta: &PktMeta) -> usize {
    usize::from(meta.inner) + if meta.egress.is_delivered() { 0 } else { ETHERNET }
}

/// Whether all fields that change are there.
#[inline]
pub(super) fn fits(meta: &PktMeta, packet: &Packet) -> bool {
    packet.frame.len() >= packet_at(meta) + if meta.is_tcp() { TCP_CHECKSUM + 2 } else { UDP_CHECKSUM + 2 }
}

/// Translates a packet that [`fits`]. Apart, so that other packets do not pay for its registers.
#[inline(never)]
pub(super) fn translate(full: &Full<'_>, meta: &PktMeta, packet: &mut Packet) {
    let partial = packet.offload.needs_csum;
    let bytes = packet.frame.bytes_mut().get_mut(packet_at(meta)..);
    let Some(translation) = full.flows.translation(FlowIndex(meta.flow)) else { return };
    let delta = if partial { translation.address_delta } else { translation.delta };
    if meta.is_tcp() {
        if let Some(packet) = bytes.and_then(|bytes| bytes.first_chunk_mut::<{ TCP_CHECKSUM + 2 }>()) {
            let check = write(packet, &translation, TCP_CHECKSUM);
            set(packet, TCP_CHECKSUM, changed(check, delta, partial));
        }
    } else if let Some(packet) = bytes.and_then(|bytes| bytes.first_chunk_mut::<{ UDP_CHECKSUM + 2 }>()) {
        let check = write(packet, &translation, UDP_CHECKSUM);
        if check != 0 {
            let check = changed(check, delta, partial);
            set(packet, UDP_CHECKSUM, if check == 0 && !partial { 0xffff } else { check });
        }
    }
}

/// Writes everything but the checksum of layer 4, which is returned.
#[inline]
fn write<const N: usize>(packet: &mut [u8; N], translation: &Translation, field: usize) -> u16 {
    let get = |packet: &[u8; N], at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
    let (header, check) = (get(packet, HEADER_CHECKSUM), get(packet, field));
    set(packet, HEADER_CHECKSUM, changed(header, translation.address_delta, false));
    packet[ADDRESSES..INET].copy_from_slice(&translation.addresses);
    packet[INET..INET + 4].copy_from_slice(&translation.ports);
    check
}

#[inline]
fn set<const N: usize>(packet: &mut [u8; N], at: usize, value: u16) {
    packet[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// A checksum after a change (RFC 1624, equation 3); a partial one is not the complement of its sum.
#[inline]
const fn changed(check: u16, delta: u16, partial: bool) -> u16 {
    let flip = if partial { 0 } else { u16::MAX };
    let sum = (check ^ flip) as u32 + delta as u32;
    (sum + (sum >> 16)) as u16 ^ flip
}
