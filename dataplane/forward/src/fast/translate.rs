//! Writes the addresses and ports of a translated flow.

use vr_frame::Packet;
use vr_tables::flow::Translation;
use vr_types::FlowIndex;
use vr_wire::checksum;

use super::meta::{Egress, PktMeta};
use crate::bytes::{be16, put};
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
    usize::from(meta.inner) + if meta.egress == Egress::Delivered { 0 } else { ETHERNET }
}

/// Whether all fields that change are there.
#[inline]
pub(super) fn fits(meta: &PktMeta, packet: &Packet) -> bool {
    packet.frame.len() >= packet_at(meta) + if meta.is_tcp() { TCP_CHECKSUM + 2 } else { UDP_CHECKSUM + 2 }
}

/// Translates a packet that [`fits`].
#[inline]
pub(super) fn translate(full: &Full<'_>, meta: &PktMeta, packet: &mut Packet) {
    let partial = packet.offload.needs_csum;
    let bytes = packet.frame.bytes_mut().get_mut(packet_at(meta)..);
    if let (Some(bytes), Some(translation)) = (bytes, full.flows.translation(FlowIndex(meta.flow))) {
        write(bytes, &translation, meta.is_tcp(), partial);
    }
}

/// `bytes` begin at the IPv4 header.
#[inline]
fn write(bytes: &mut [u8], translation: &Translation, tcp: bool, partial: bool) {
    let Translation { addresses, ports, address_delta, delta } = *translation;
    let field = if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM };
    let (Some(header_check), Some(check)) = (be16(bytes, HEADER_CHECKSUM), be16(bytes, field)) else {
        return;
    };
    put(bytes, HEADER_CHECKSUM, changed(header_check, address_delta).to_be_bytes());
    put(bytes, ADDRESSES, addresses);
    put(bytes, INET, ports);
    if !tcp && check == 0 {
        return;
    }
    let check = if partial {
        checksum::fold(u64::from(check) + u64::from(address_delta))
    } else {
        match changed(check, delta) {
            0 if !tcp => 0xffff,
            check => check,
        }
    };
    put(bytes, field, check.to_be_bytes());
}

/// A checksum after a change (RFC 1624, equation 3).
#[inline]
const fn changed(check: u16, delta: u16) -> u16 {
    !checksum::fold(!check as u64 + delta as u64)
}
