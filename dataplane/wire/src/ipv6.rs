//! IPv6 (RFC 8200).

use crate::Error;
use crate::header::header;

header! {
    /// IPv6 base header.
    ///
    /// Sound: version 6. The payload length is not compared with anything.
    Ipv6[40] check check {
        /// Version (4 bits), traffic class (8 bits), flow label (20 bits).
        version_class_flow / set_version_class_flow: u32 = 0;
        /// Bytes behind this header.
        payload_len / set_payload_len: u16 = 4;
        /// Protocol of the payload, or the kind of the first extension header.
        next_header / set_next_header: u8 = 6;
        /// Hop limit.
        hop_limit / set_hop_limit: u8 = 7;
        /// Address of the sender.
        source / set_source: [u8; 16] = 8;
        /// Address of the receiver.
        destination / set_destination: [u8; 16] = 24;
    }
}

#[inline]
const fn check(header: &[u8; LEN], _available: usize) -> Result<(), Error> {
    if header[0] >> 4 == 6 { Ok(()) } else { Err(Error::Malformed) }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Ipv6<B> {
    /// Traffic class: DSCP (6 bits) and ECN (2 bits).
    #[inline]
    pub fn traffic_class(&self) -> u8 {
        (self.version_class_flow() >> 20) as u8
    }

    /// Flow label, 20 bits.
    #[inline]
    pub fn flow_label(&self) -> u32 {
        self.version_class_flow() & 0xf_ffff
    }
}

impl<B: core::borrow::BorrowMut<[u8; LEN]>> Ipv6<B> {
    /// Writes the traffic class.
    #[inline]
    pub fn set_traffic_class(&mut self, class: u8) {
        self.set_version_class_flow(self.version_class_flow() & 0xf00f_ffff | u32::from(class) << 20);
    }
}

impl Ipv6<[u8; LEN]> {
    /// A header of the payload's protocol and length; hop limit 64, traffic class and flow label zero.
    #[must_use]
    pub fn for_payload(source: [u8; 16], destination: [u8; 16], next_header: u8, payload: u16) -> Self {
        let mut header = Self::new([0; LEN]);
        header.set_version_class_flow(0x6000_0000);
        header.set_payload_len(payload);
        header.set_next_header(next_header);
        header.set_hop_limit(64);
        header.set_source(source);
        header.set_destination(destination);
        header
    }
}

/// Fragment header, an extension header.
pub mod fragment {
    use crate::header::header;

    header! {
        /// Fragment header.
        Fragment[8] {
            /// Protocol of the datagram's payload, or the kind of its next extension header.
            next_header / set_next_header: u8 = 0;
            /// Offset in units of eight bytes (13 bits), reserved (2 bits), more fragments (1 bit).
            offset_more / set_offset_more: u16 = 2;
            /// Identification, shared by the fragments of a datagram.
            id / set_id: u32 = 4;
        }
    }

    impl<B: core::borrow::Borrow<[u8; LEN]>> Fragment<B> {
        /// Offset in bytes.
        #[inline]
        pub fn offset(&self) -> usize {
            usize::from(self.offset_more() >> 3) * 8
        }

        /// Whether fragments with higher offsets follow.
        #[inline]
        pub fn more_fragments(&self) -> bool {
            self.offset_more() & 1 != 0
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fragment::Fragment;
    use super::*;

    #[test]
    fn fields_are_where_they_belong() {
        let mut header = Ipv6::for_payload([1; 16], [2; 16], 17, 300);
        header.set_traffic_class(0xb9);
        assert_eq!(header.as_bytes()[..8], [0x6b, 0x90, 0, 0, 1, 44, 17, 64]);
        assert_eq!((header.traffic_class(), header.flow_label()), (0xb9, 0));
        let view = Ipv6::new_checked(header.as_bytes()).unwrap();
        assert_eq!((view.source(), view.destination()), ([1; 16], [2; 16]));
        assert_eq!(Ipv6::new_checked(&[0x45; 40]), Err(Error::Malformed));
        assert_eq!(Ipv6::new_checked(&[0x60; 39]), Err(Error::Truncated));
    }

    #[test]
    fn fragment_header() {
        let header = Fragment::new_checked(&[17, 0, 0x05, 0xa9, 0xde, 0xad, 0xbe, 0xef]).unwrap();
        assert_eq!((header.offset(), header.more_fragments(), header.id()), (1448, true, 0xdead_beef));
        assert!(!Fragment::new([17, 0, 0x05, 0xaa, 0, 0, 0, 0]).more_fragments());
    }
}
