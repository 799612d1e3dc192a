//! The metadata that the program writes in front of a packet that it gives to a socket.

use crate::Tunnel;

/// Bytes of metadata, directly before the first byte of the packet.
pub const METADATA_LEN: usize = 16;

/// Marks metadata of this layout; another layout gets another number.
const MAGIC: u32 = u32::from_le_bytes(*b"vst1");

/// What the program found out about a tunnel packet.
///
/// A hint that saves work, never a fact: the bytes in front of a packet can be left over from another one or
/// come from a packet that somebody made, so nothing may be read at an offset without a check of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct SteerMeta {
    magic: u32,
    /// [`InnerHash`](crate::InnerHash) of the inner headers; 0 when there were none to hash.
    pub hash: u32,
    /// Offset from the start of the packet of what the tunnel carries: behind the first MPLS label, or behind
    /// the `VXLAN` header. Bytes.
    pub payload_offset: u16,
    /// Offset from the start of the packet of the inner IP header; 0 when none was found. For MPLS this is a
    /// guess, because only the label's nexthop says whether it carries IP or Ethernet. Bytes.
    pub inner_l3_offset: u16,
    tunnel: u8,
    reserved: [u8; 3],
}

const _: () = assert!(size_of::<SteerMeta>() == METADATA_LEN);

impl SteerMeta {
    /// Metadata of a packet of `tunnel`; offsets in bytes from the start of the packet.
    #[inline(always)]
    #[must_use]
    pub const fn new(tunnel: Tunnel, payload_offset: u16, inner_l3_offset: u16, hash: u32) -> Self {
        Self { magic: MAGIC, hash, payload_offset, inner_l3_offset, tunnel: tunnel as u8, reserved: [0; 3] }
    }

    /// Takes the metadata out of the bytes directly before a packet, of which the last [`METADATA_LEN`] are
    /// looked at. `None` when there is none. The mark is erased, so that the next packet in the same buffer
    /// cannot be taken for one with metadata.
    #[must_use]
    pub fn take(headroom: &mut [u8]) -> Option<Self> {
        let bytes = headroom.last_chunk_mut::<METADATA_LEN>()?;
        let [m0, m1, m2, m3, h0, h1, h2, h3, p0, p1, i0, i1, kind, ..] = *bytes;
        if u32::from_ne_bytes([m0, m1, m2, m3]) != MAGIC {
            return None;
        }
        bytes[..4].fill(0);
        Some(Self::new(
            Tunnel::from_number(kind)?,
            u16::from_ne_bytes([p0, p1]),
            u16::from_ne_bytes([i0, i1]),
            u32::from_ne_bytes([h0, h1, h2, h3]),
        ))
    }

    /// Kind of the tunnel.
    #[must_use]
    pub const fn tunnel(&self) -> Option<Tunnel> {
        Tunnel::from_number(self.tunnel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes_of(tunnel: u8) -> [u8; 20] {
        let mut bytes = [0xee; 20];
        bytes[4..8].copy_from_slice(b"vst1");
        bytes[8..12].copy_from_slice(&0x1234_5678_u32.to_ne_bytes());
        bytes[12..14].copy_from_slice(&46_u16.to_ne_bytes());
        bytes[14..16].copy_from_slice(&60_u16.to_ne_bytes());
        bytes[16..].copy_from_slice(&[tunnel, 0, 0, 0]);
        bytes
    }

    #[test]
    fn metadata_is_taken_once() {
        let mut headroom = bytes_of(3);
        let meta = SteerMeta::take(&mut headroom).unwrap();
        assert_eq!(meta, SteerMeta::new(Tunnel::Vxlan, 46, 60, 0x1234_5678));
        assert_eq!(meta.tunnel(), Some(Tunnel::Vxlan));
        assert_eq!(SteerMeta::take(&mut headroom), None, "the mark is erased");
    }

    #[test]
    fn anything_else_is_no_metadata() {
        assert_eq!(SteerMeta::take(&mut bytes_of(0)), None, "no such tunnel");
        assert_eq!(SteerMeta::take(&mut bytes_of(4)), None, "no such tunnel");
        assert_eq!(SteerMeta::take(&mut [0; 64]), None);
        for short in 0..METADATA_LEN {
            assert_eq!(SteerMeta::take(&mut bytes_of(1)[20 - short..]), None, "{short} bytes of headroom");
        }
    }
}
