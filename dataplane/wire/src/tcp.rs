//! TCP (RFC 9293).

use crate::header::header;
use crate::{Error, checksum};

/// Bits of the flags byte.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 0x01;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 0x02;
    /// Reset the connection.
    pub const RST: u8 = 0x04;
    /// Push.
    pub const PSH: u8 = 0x08;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 0x10;
    /// The urgent pointer counts.
    pub const URG: u8 = 0x20;
    /// Echo of congestion.
    pub const ECE: u8 = 0x40;
    /// Congestion window reduced.
    pub const CWR: u8 = 0x80;
}

header! {
    /// The part of a TCP header that is always there.
    ///
    /// Sound: a header length of 20 bytes at least, and all of the header, with its options, is there.
    Tcp[20] check check {
        /// Port of the sender.
        source_port / set_source_port: u16 = 0;
        /// Port of the receiver.
        destination_port / set_destination_port: u16 = 2;
        /// Sequence number of the first byte of payload.
        sequence / set_sequence: u32 = 4;
        /// Next sequence number expected from the other side.
        acknowledgement / set_acknowledgement: u32 = 8;
        /// Header length in words of four bytes (4 bits), reserved (4 bits).
        data_offset / set_data_offset: u8 = 12;
        /// Control bits, see [`flag`].
        flags / set_flags: u8 = 13;
        /// Receive window.
        window / set_window: u16 = 14;
        /// Checksum over pseudo header, header and payload.
        checksum / set_checksum: u16 = 16;
        /// Urgent pointer.
        urgent / set_urgent: u16 = 18;
    }
}

#[inline]
const fn check(header: &[u8; LEN], available: usize) -> Result<(), Error> {
    let len = (header[12] >> 4) as usize * 4;
    if len < LEN {
        return Err(Error::Malformed);
    }
    if available < len { Err(Error::Truncated) } else { Ok(()) }
}

impl<B: core::borrow::Borrow<[u8; LEN]>> Tcp<B> {
    /// Bytes of the header with its options.
    #[inline]
    pub fn header_len(&self) -> usize {
        usize::from(self.data_offset() >> 4) * 4
    }
}

/// The options of the header at the start of `segment`, as far as they are well formed.
///
/// # Errors
/// What [`Tcp`] says about soundness.
pub fn options(segment: &[u8]) -> Result<Options<'_>, Error> {
    let len = Tcp::new_checked(segment)?.header_len();
    Ok(Options { header: segment.get(..len).ok_or(Error::Truncated)?, at: LEN })
}

/// Iterator over options; it ends at the first that has an impossible length.
#[derive(Clone, Debug)]
pub struct Options<'a> {
    header: &'a [u8],
    at: usize,
}

/// An option other than "no operation".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpOption<'a> {
    /// Kind (IANA).
    pub kind: u8,
    /// Offset of the data from the start of the TCP header.
    pub at: usize,
    /// What follows kind and length.
    pub data: &'a [u8],
}

impl<'a> Iterator for Options<'a> {
    type Item = TcpOption<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        const END: u8 = 0;
        const NO_OPERATION: u8 = 1;

        while self.header.get(self.at) == Some(&NO_OPERATION) {
            self.at += 1;
        }
        let kind = *self.header.get(self.at).filter(|kind| **kind != END)?;
        let len = usize::from(*self.header.get(self.at + 1)?);
        let data = self.header.get(self.at + 2..self.at + len)?;
        let at = self.at + 2;
        self.at += len;
        Some(TcpOption { kind, at, data })
    }
}

/// The maximum segment size that the segment announces, and the offset of its two bytes.
///
/// # Errors
/// What [`Tcp`] says about soundness.
pub fn max_segment_size(segment: &[u8]) -> Result<Option<(usize, u16)>, Error> {
    const MAX_SEGMENT_SIZE: u8 = 2;

    Ok(options(segment)?.find_map(|option| match (option.kind, option.data) {
        (MAX_SEGMENT_SIZE, [high, low]) => Some((option.at, u16::from_be_bytes([*high, *low]))),
        _ => None,
    }))
}

/// Lowers the announced maximum segment size to `limit` if it is larger, and says whether it was. The checksum
/// is mended unless it is `partial` (forwarding.md 8.4). The caller has looked for the SYN flag.
///
/// # Errors
/// What [`Tcp`] says about soundness.
pub fn clamp_max_segment_size(segment: &mut [u8], limit: u16, partial: bool) -> Result<bool, Error> {
    let Some((at, old)) = max_segment_size(segment)?.filter(|(_, old)| *old > limit) else {
        return Ok(false);
    };
    let place = segment.get_mut(at..).and_then(|rest| rest.first_chunk_mut()).ok_or(Error::Truncated)?;
    *place = limit.to_be_bytes();
    if !partial {
        // Options may be anywhere. At an odd offset the two bytes are halves of two words: both swapped, they
        // make the same difference to the sum.
        let word = |value: u16| if at.is_multiple_of(2) { value } else { value.swap_bytes() };
        let mut header = Tcp::new_checked_mut(segment)?;
        header.set_checksum(checksum::update_16(header.checksum(), word(old), word(limit)));
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn segment(options: &[u8]) -> Vec<u8> {
        assert!(options.len().is_multiple_of(4));
        let mut header = Tcp::new([0; LEN]);
        header.set_source_port(40000);
        header.set_destination_port(80);
        header.set_sequence(0xfeff_0102);
        header.set_data_offset(((LEN + options.len()) as u8 / 4) << 4);
        header.set_flags(flag::SYN);
        [header.as_bytes(), options, b"payload"].concat()
    }

    #[test]
    fn options_are_walked() {
        let bytes = segment(&[2, 4, 0x05, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 3, 3, 7, 0, 2, 4, 9]);
        let kinds: Vec<(u8, usize)> =
            options(&bytes).unwrap().map(|option| (option.kind, option.at)).collect();
        assert_eq!(kinds, [(2, 22), (4, 26), (8, 28), (3, 39)]);
        assert_eq!(max_segment_size(&bytes), Ok(Some((22, 1460))));
    }

    #[test]
    fn malformed_options_end_the_walk() {
        for bad in [[3, 0, 2, 4], [3, 1, 2, 4], [3, 5, 2, 4], [1, 1, 1, 2], [2, 3, 9, 0], [2, 255, 1, 1]] {
            let bytes = segment(&bad);
            assert!(options(&bytes).unwrap().count() <= 1);
            assert_eq!(max_segment_size(&bytes), Ok(None), "{bad:?}");
        }
    }

    #[test]
    fn unsound_headers_are_refused() {
        let mut bytes = segment(&[2, 4, 0x05, 0xb4]);
        for len in 0..24 {
            assert_eq!(Tcp::new_checked(&bytes[..len]), Err(Error::Truncated), "{len}");
        }
        assert_eq!(Tcp::new_checked(&bytes[..24]).unwrap().header_len(), 24);
        bytes[12] = 0x40;
        assert_eq!(Tcp::new_checked(&bytes), Err(Error::Malformed));
        assert_eq!(clamp_max_segment_size(&mut bytes, 1, false), Err(Error::Malformed));
    }

    #[test]
    fn limits_of_the_specification() {
        for (announced, limit, expected) in [(1460u16, 1420, 1420u16), (1460, 1398, 1398), (1300, 1420, 1300)]
        {
            let [high, low] = announced.to_be_bytes();
            let mut bytes = segment(&[2, 4, high, low]);
            assert_eq!(clamp_max_segment_size(&mut bytes, limit, false), Ok(announced > limit));
            assert_eq!(max_segment_size(&bytes), Ok(Some((22, expected))));
        }
    }

    proptest! {
        #[test]
        fn a_clamped_segment_has_a_right_checksum(before in 0..5usize, announced: u16, limit: u16) {
            let [high, low] = announced.to_be_bytes();
            let mut options = vec![1; before];
            options.extend([2, 4, high, low]);
            options.resize(12, 0);
            let mut bytes = segment(&options);
            let check = checksum::inet_l4(&[10, 0, 0, 4], &[10, 0, 1, 7], 6, &bytes);
            bytes[16..18].copy_from_slice(&check.to_be_bytes());
            let mut partial = bytes.clone();
            let lowered = clamp_max_segment_size(&mut bytes, limit, false).unwrap();
            prop_assert_eq!(lowered, announced > limit);
            prop_assert!(checksum::inet_l4_is_valid(&[10, 0, 0, 4], &[10, 0, 1, 7], 6, &bytes));
            prop_assert_eq!(max_segment_size(&bytes).unwrap().unwrap().1, announced.min(limit));
            clamp_max_segment_size(&mut partial, limit, true).unwrap();
            prop_assert_eq!(&partial[16..18], check.to_be_bytes());
        }
    }
}
