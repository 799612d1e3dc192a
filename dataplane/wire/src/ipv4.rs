//! IPv4 (RFC 791).

use crate::header::header;
use crate::{Error, checksum};

/// Don't fragment, in the word of flags and offset.
pub const DONT_FRAGMENT: u16 = 0x4000;
/// More fragments, in the word of flags and offset.
pub const MORE_FRAGMENTS: u16 = 0x2000;
/// Fragment offset, in the word of flags and offset; units of eight bytes.
pub const OFFSET: u16 = 0x1fff;

header! {
    /// The part of an IPv4 header that is always there.
    ///
    /// Sound: version 4, a header length of 20 bytes at least, and all of the header, with its options, is
    /// there. Total length and checksum are not looked at.
    Ipv4[20] check check {
        /// Version (4 bits) and header length in words of four bytes (4 bits).
        version_ihl / set_version_ihl: u8 = 0;
        /// Type of service: DSCP (6 bits) and ECN (2 bits).
        tos / set_tos: u8 = 1;
        /// Bytes of header and payload.
        total_len / set_total_len: u16 = 2;
        /// Identification, shared by the fragments of a datagram.
        id / set_id: u16 = 4;
        /// Flags (3 bits) and fragment offset (13 bits).
        flags_offset / set_flags_offset: u16 = 6;
        /// Time to live.
        ttl / set_ttl: u8 = 8;
        /// Protocol of the payload.
        protocol / set_protocol: u8 = 9;
        /// Checksum of the header.
        checksum / set_checksum: u16 = 10;
        /// Address of the sender.
        source / set_source: [u8; 4] = 12;
        /// Address of the receiver.
        destination / set_destination: [u8; 4] = 16;
    }
}

#[inline]
const fn check(header: &[u8; LEN], available: usize) -> Result<(), Error> {
    let len = (header[0] & 0xf) as usize * 4;
    if header[0] >> 4 != 4 || len < LEN {
        return Err(Error::Malformed);
    }
    if available < len { Err(Error::Truncated) } else { Ok(()) }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Ipv4<B> {
    /// Bytes of the header with its options.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.version_ihl() & 0xf) * 4
    }

    /// Differentiated services code point, 6 bits.
    #[inline]
    pub fn dscp(&self) -> u8 {
        self.tos() >> 2
    }

    /// Explicit congestion notification, 2 bits.
    #[inline]
    pub fn ecn(&self) -> u8 {
        self.tos() & 3
    }

    /// Whether the packet must not be fragmented.
    #[inline]
    pub fn dont_fragment(&self) -> bool {
        self.flags_offset() & DONT_FRAGMENT != 0
    }

    /// Whether fragments with higher offsets follow.
    #[inline]
    pub fn more_fragments(&self) -> bool {
        self.flags_offset() & MORE_FRAGMENTS != 0
    }

    /// Fragment offset in bytes.
    #[inline]
    pub fn fragment_offset(&self) -> usize {
        usize::from(self.flags_offset() & OFFSET) * 8
    }

    /// Whether the packet is a fragment of a larger one.
    #[inline]
    pub fn is_fragment(&self) -> bool {
        self.flags_offset() & (MORE_FRAGMENTS | OFFSET) != 0
    }
}

impl<B: core::borrow::BorrowMut<[u8; LEN]>> Ipv4<B> {
    /// Takes one off the TTL and mends the checksum (RFC 1624). A TTL of zero wraps: the caller has looked.
    #[inline]
    pub fn decrement_ttl(&mut self) {
        // What the complement of the old word and the new one come to, whatever the protocol.
        const CHANGE: u32 = 0xfeff;
        let ttl = self.ttl();
        if ttl == 0 {
            return self.replace_ttl(u8::MAX);
        }
        self.set_ttl(ttl - 1);
        let sum = u32::from(!self.checksum()) + CHANGE;
        self.set_checksum(!((sum + (sum >> 16)) as u16));
    }

    /// Writes the TTL and mends the checksum.
    #[inline]
    pub fn replace_ttl(&mut self, ttl: u8) {
        let word = |ttl, protocol| u16::from_be_bytes([ttl, protocol]);
        let (old, protocol) = (self.ttl(), self.protocol());
        self.set_ttl(ttl);
        self.set_checksum(checksum::update_16(self.checksum(), word(old, protocol), word(ttl, protocol)));
    }

    /// Writes type of service and mends the checksum.
    #[inline]
    pub fn replace_tos(&mut self, tos: u8) {
        let word = |tos, version_ihl| u16::from_be_bytes([version_ihl, tos]);
        let (old, first) = (self.tos(), self.version_ihl());
        self.set_tos(tos);
        self.set_checksum(checksum::update_16(self.checksum(), word(old, first), word(tos, first)));
    }
}

impl Ipv4<[u8; LEN]> {
    /// A header without options, of the payload's protocol and length; TTL 64, everything else zero. Its
    /// checksum is for [`fill_checksum`].
    #[must_use]
    pub fn for_payload(source: [u8; 4], destination: [u8; 4], protocol: u8, payload: u16) -> Self {
        let mut header = Self::new([0; LEN]);
        header.set_version_ihl(0x45);
        header.set_total_len((LEN as u16).saturating_add(payload));
        header.set_ttl(64);
        header.set_protocol(protocol);
        header.set_source(source);
        header.set_destination(destination);
        header
    }

    /// The header with its checksum.
    #[must_use]
    pub fn with_checksum(mut self) -> Self {
        self.set_checksum(0);
        self.set_checksum(!checksum::fold(checksum::sum_fixed(self.as_bytes())));
        self
    }
}

/// The header at the start of `packet`, options included.
///
/// # Errors
/// What [`Ipv4`] says about soundness.
#[inline]
pub fn header(packet: &[u8]) -> Result<&[u8], Error> {
    let len = Ipv4::new_checked(packet)?.header_len();
    packet.get(..len).ok_or(Error::Truncated)
}

/// Computes the checksum of the header at the start of `packet`, options included.
///
/// # Errors
/// What [`Ipv4`] says about soundness; nothing has changed then.
pub fn fill_checksum(packet: &mut [u8]) -> Result<(), Error> {
    let len = Ipv4::new_checked(packet)?.header_len();
    let header = packet.get_mut(..len).ok_or(Error::Truncated)?;
    Ipv4::new_checked_mut(header)?.set_checksum(0);
    let check = checksum::of(header);
    Ipv4::new_checked_mut(header)?.set_checksum(check);
    Ok(())
}

/// Whether the checksum of the header at the start of `packet` is right, options included.
///
/// # Errors
/// What [`Ipv4`] says about soundness.
pub fn checksum_is_valid(packet: &[u8]) -> Result<bool, Error> {
    header(packet).map(checksum::is_valid)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Inner header of forwarding.md 4.13.
    const HEADER: [u8; 20] = [
        0x45, 0x00, 0x00, 0x20, 0x12, 0x34, 0x00, 0x00, 0x40, 0x11, 0x53, 0x8f, 0x0a, 0, 0, 4, 0x0a, 0, 1, 7,
    ];

    #[test]
    fn fields_are_where_they_belong() {
        let view = Ipv4::new_checked(&HEADER).unwrap();
        assert_eq!((view.header_len(), view.total_len(), view.id()), (20, 32, 0x1234));
        assert_eq!((view.ttl(), view.protocol(), view.checksum()), (64, 17, 0x538f));
        assert_eq!((view.source(), view.destination()), ([10, 0, 0, 4], [10, 0, 1, 7]));
        assert!(!view.is_fragment() && !view.dont_fragment());
        assert_eq!(checksum_is_valid(&HEADER), Ok(true));
        let built = Ipv4::for_payload([10, 0, 0, 4], [10, 0, 1, 7], 17, 12);
        let mut built = Ipv4::new(*built.as_bytes());
        built.set_id(0x1234);
        assert_eq!(built.with_checksum().as_bytes(), &HEADER);
    }

    #[test]
    fn fragments_and_service_classes() {
        let mut header = Ipv4::new(HEADER);
        header.set_flags_offset(MORE_FRAGMENTS | 0xb9);
        assert!(header.is_fragment() && header.more_fragments() && !header.dont_fragment());
        assert_eq!(header.fragment_offset(), 1480);
        header.set_flags_offset(DONT_FRAGMENT);
        assert!(!header.is_fragment() && header.dont_fragment());
        header.set_checksum(0);
        let mut header = header.with_checksum();
        header.replace_tos(46 << 2 | 1);
        assert_eq!((header.dscp(), header.ecn()), (46, 1));
        assert_eq!(checksum_is_valid(header.as_bytes()), Ok(true));
    }

    #[test]
    fn ttl_of_the_specification() {
        let mut bytes = HEADER;
        Ipv4::new_checked_mut(&mut bytes).unwrap().decrement_ttl();
        assert_eq!((bytes[8], &bytes[10..12]), (63, &[0x54, 0x8f][..]));
    }

    #[test]
    fn unsound_headers_are_refused() {
        for len in 0..20 {
            assert_eq!(Ipv4::new_checked(&HEADER[..len]), Err(Error::Truncated));
        }
        for first in [0x44, 0x40, 0x65, 0x05, 0xf5] {
            let mut bytes = HEADER;
            bytes[0] = first;
            assert_eq!(Ipv4::new_checked(&bytes), Err(Error::Malformed), "{first:#x}");
            assert!(fill_checksum(&mut bytes).is_err() && Ipv4::new_checked_mut(&mut bytes).is_err());
        }
        let mut bytes = [0; 59];
        bytes[0] = 0x4f;
        assert_eq!(header(&bytes), Err(Error::Truncated));
    }

    proptest! {
        #[test]
        fn changes_equal_recomputation(mut bytes: [u8; 60], words in 5..=15u8, tos: u8) {
            bytes[0] = 0x40 | words;
            bytes[8] = bytes[8].max(1);
            fill_checksum(&mut bytes).unwrap();
            prop_assert!(checksum_is_valid(&bytes).unwrap());
            let mut changed = bytes;
            let mut header = Ipv4::new_checked_mut(&mut changed).unwrap();
            header.decrement_ttl();
            header.replace_tos(tos);
            bytes[8] -= 1;
            bytes[1] = tos;
            fill_checksum(&mut bytes).unwrap();
            prop_assert_eq!(changed, bytes);
        }
    }
}
