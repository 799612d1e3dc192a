//! GRE (RFC 2784, RFC 2890), as far as tunnels use it.

use crate::Error;

/// Bytes of a header without options.
pub const LEN: usize = 4;

const CHECKSUM: u16 = 0x8000;
const KEY: u16 = 0x2000;

/// A received header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gre {
    /// Type of what follows, see [`ethertype`](crate::ethernet::ethertype).
    pub protocol: u16,
    /// Bytes of the header with its options.
    pub len: usize,
}

/// The header at the start of `bytes`. Checksum and key may be there and are skipped.
///
/// # Errors
/// [`Error::Unsupported`] when any other flag or the version is set: then it is no tunnel of ours
/// (forwarding.md 5.1). [`Error::Truncated`] when `bytes` end before the header does.
#[inline]
pub fn parse(bytes: &[u8]) -> Result<Gre, Error> {
    let [a, b, c, d] = *bytes.first_chunk().ok_or(Error::Truncated)?;
    let flags = u16::from_be_bytes([a, b]);
    if flags & !(CHECKSUM | KEY) != 0 {
        return Err(Error::Unsupported);
    }
    let option = |flag| if flags & flag != 0 { 4 } else { 0 };
    let len = LEN + option(CHECKSUM) + option(KEY);
    if bytes.len() < len {
        return Err(Error::Truncated);
    }
    Ok(Gre { protocol: u16::from_be_bytes([c, d]), len })
}

/// A header without options.
#[inline]
#[must_use]
pub const fn header(protocol: u16) -> [u8; LEN] {
    let [c, d] = protocol.to_be_bytes();
    [0, 0, c, d]
}

#[cfg(test)]
mod tests {
    use super::{Gre, header, parse};
    use crate::Error;

    #[test]
    fn flags() {
        let gre = |flags: u16, rest: usize| {
            parse(&[&flags.to_be_bytes()[..], &[0x88, 0x47], &vec![0; rest]].concat()).map(|gre| gre.len)
        };
        assert_eq!(parse(&header(0x8847)), Ok(Gre { protocol: 0x8847, len: 4 }));
        assert_eq!(gre(0x8000, 4), Ok(8));
        assert_eq!(gre(0x2000, 4), Ok(8));
        assert_eq!(gre(0xa000, 8), Ok(12));
        assert_eq!(gre(0xa000, 7), Err(Error::Truncated));
        for bit in [0x4000, 0x1000, 0x0800, 0x0100, 0x0080, 0x0001] {
            assert_eq!(gre(bit, 16), Err(Error::Unsupported), "{bit:#x}");
        }
        assert_eq!(parse(&[0; 3]), Err(Error::Truncated));
    }
}
