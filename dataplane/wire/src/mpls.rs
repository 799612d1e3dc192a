//! MPLS label stacks (RFC 3032).

use vr_types::Label;

use crate::Error;

/// Bytes of a label stack entry.
pub const LEN: usize = 4;

/// A label that some switches put in front of the one that counts (forwarding.md 5.2).
const SKIPPED: u32 = 0xf_ffff;

/// A label stack entry: label 20 bits, experimental 3, bottom of stack 1, TTL 8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct Entry(pub u32);

impl Entry {
    /// An entry; of `label` the low 20 bits count, of `exp` the low three.
    #[inline]
    #[must_use]
    pub const fn new(label: Label, exp: u8, bottom: bool, ttl: u8) -> Self {
        Self(label.0 << 12 | (exp as u32 & 7) << 9 | (bottom as u32) << 8 | ttl as u32)
    }

    /// The entry in these bytes.
    #[inline]
    #[must_use]
    pub const fn from_bytes(bytes: [u8; LEN]) -> Self {
        Self(u32::from_be_bytes(bytes))
    }

    /// The bytes of the entry.
    #[inline]
    #[must_use]
    pub const fn to_bytes(self) -> [u8; LEN] {
        self.0.to_be_bytes()
    }

    /// Label.
    #[inline]
    #[must_use]
    pub const fn label(self) -> Label {
        Label(self.0 >> 12)
    }

    /// Experimental bits, the traffic class.
    #[inline]
    #[must_use]
    pub const fn exp(self) -> u8 {
        (self.0 >> 9) as u8 & 7
    }

    /// Whether this is the last entry of its stack.
    #[inline]
    #[must_use]
    pub const fn is_bottom(self) -> bool {
        self.0 & 0x100 != 0
    }

    /// Time to live.
    #[inline]
    #[must_use]
    pub const fn ttl(self) -> u8 {
        self.0 as u8
    }
}

/// The entry that decides about a received packet, and the bytes up to what lies behind it: the first of the
/// stack, or the second when the first is a label of all ones that is not at the bottom. Whatever follows is
/// taken for payload (forwarding.md 5.2).
///
/// # Errors
/// [`Error::Truncated`].
#[inline]
pub fn top(bytes: &[u8]) -> Result<(Entry, usize), Error> {
    let entry = |at: usize| {
        let bytes = bytes.get(at..).and_then(|rest| rest.first_chunk()).ok_or(Error::Truncated)?;
        Ok(Entry::from_bytes(*bytes))
    };
    let first = entry(0)?;
    if first.label().0 == SKIPPED && !first.is_bottom() {
        return Ok((entry(LEN)?, 2 * LEN));
    }
    Ok((first, LEN))
}

#[cfg(test)]
mod tests {
    use vr_types::Label;

    use super::{Entry, top};
    use crate::Error;

    #[test]
    fn entry_of_the_specification() {
        let entry = Entry::new(Label(27), 0, true, 63);
        assert_eq!(entry.to_bytes(), [0x00, 0x01, 0xb1, 0x3f]);
        assert_eq!((entry.label(), entry.exp(), entry.is_bottom(), entry.ttl()), (Label(27), 0, true, 63));
        let entry = Entry::new(Label(0xf_ffff), 5, false, 255);
        assert_eq!(entry.to_bytes(), [0xff, 0xff, 0xfa, 0xff]);
        assert_eq!((entry.exp(), entry.is_bottom()), (5, false));
    }

    #[test]
    fn the_label_that_counts() {
        let label = |label, bottom| Entry::new(Label(label), 0, bottom, 64).to_bytes();
        assert_eq!(top(&label(27, true)).unwrap().0.label(), Label(27));
        // Without the bottom bit the first label counts all the same.
        let stack = [label(27, false), label(28, true)].concat();
        assert_eq!(top(&stack), Ok((Entry::new(Label(27), 0, false, 64), 4)));
        let stack = [label(0xf_ffff, false), label(28, true)].concat();
        assert_eq!(top(&stack), Ok((Entry::new(Label(28), 0, true, 64), 8)));
        assert_eq!(top(&stack[..7]), Err(Error::Truncated));
        assert_eq!(top(&label(0xf_ffff, true)).unwrap().1, 4);
        assert_eq!(top(&[0; 3]), Err(Error::Truncated));
    }
}
