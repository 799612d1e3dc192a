//! Reading of the encoding's primitives from bytes that nobody vouches for.

use crate::constants::wire_type;

/// What is wrong with an encoded message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The payload ends within a value.
    #[error("the payload ends too early")]
    Truncated,
    /// The length of a message's name is not between 1 and 64.
    #[error("the message name has an impossible length of {0}")]
    NameLength(i32),
    /// The release does not have a message of this name.
    #[error("there is no message {0:?}")]
    UnknownMessage(String),
    /// The type byte of a field or element is none that can be skipped.
    #[error("unknown type {0}")]
    UnknownType(u8),
    /// The length of a text or the count of a list is negative.
    #[error("negative length {0}")]
    NegativeLength(i32),
    /// A text is not UTF-8.
    #[error("the text is not UTF-8")]
    NotText,
    /// Structs and containers of an unknown field are nested too deeply.
    #[error("too deeply nested")]
    TooDeep,
}

/// How deeply containers of an unknown field may be nested; messages in use do not nest at all.
const MAX_DEPTH: u32 = 8;

/// A position in a payload. A read that fails leaves the position where the missing bytes should start.
#[derive(Clone, Debug)]
pub(crate) struct Input<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, length: bytes.len() }
    }

    pub(crate) fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// Bytes not yet read.
    pub(crate) fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on with these, which are the last ones of those not yet read.
    pub(crate) fn go_on_with(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    pub(crate) fn take(&mut self, count: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    /// A number of so many bytes, at most eight, in the upper bits.
    #[inline]
    pub(crate) fn upper_bits(&mut self, width: usize) -> Result<u64, Fault> {
        if let Some(bytes) = self.rest.first_chunk() {
            self.rest = &self.rest[width.min(8)..];
            return Ok(u64::from_be_bytes(*bytes));
        }
        let (mut bytes, taken) = ([0; 8], self.take(width)?);
        for (to, from) in bytes.iter_mut().zip(taken) {
            *to = *from;
        }
        Ok(u64::from_be_bytes(bytes))
    }

    pub(crate) fn u8(&mut self) -> Result<u8, Fault> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn i16(&mut self) -> Result<i16, Fault> {
        self.array().map(i16::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Result<i32, Fault> {
        self.array().map(i32::from_be_bytes)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Fault> {
        let (taken, rest) = self.rest.split_first_chunk().ok_or(Fault::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// A length or count.
    pub(crate) fn length(&mut self) -> Result<usize, Fault> {
        let length = self.i32()?;
        usize::try_from(length).map_err(|_| Fault::NegativeLength(length))
    }

    /// Text with its length.
    pub(crate) fn text(&mut self) -> Result<&'a str, Fault> {
        let length = self.length()?;
        str::from_utf8(self.take(length)?).map_err(|_| Fault::NotText)
    }

    /// Passes over a value of any type.
    pub(crate) fn skip(&mut self, code: u8) -> Result<(), Fault> {
        self.skip_nested(code, MAX_DEPTH)
    }

    fn skip_nested(&mut self, code: u8, depth: u32) -> Result<(), Fault> {
        if let Some(width) = fixed_width(code) {
            return self.take(width).map(drop);
        }
        let depth = depth.checked_sub(1).ok_or(Fault::TooDeep)?;
        match code {
            wire_type::STRING | wire_type::XML => {
                let length = self.length()?;
                self.take(length).map(drop)
            }
            wire_type::STRUCT => loop {
                match self.u8()? {
                    wire_type::STOP => return Ok(()),
                    field => {
                        self.i16()?;
                        self.skip_nested(field, depth)?;
                    }
                }
            },
            wire_type::LIST | wire_type::SET => {
                let element = [self.u8()?];
                self.skip_elements(&element, depth)
            }
            wire_type::MAP => {
                let pair = [self.u8()?, self.u8()?];
                self.skip_elements(&pair, depth)
            }
            wire_type::IPADDR => match self.u8()? {
                family if i32::from(family) == crate::constants::family::AF_INET => self.take(4).map(drop),
                _ => self.take(16).map(drop),
            },
            _ => Err(Fault::UnknownType(code)),
        }
    }

    /// Passes over the count of a container and its elements, each of which is one value per code.
    fn skip_elements(&mut self, codes: &[u8], depth: u32) -> Result<(), Fault> {
        let count = self.length()?;
        if let Some(width) = codes.iter().map(|code| fixed_width(*code)).sum::<Option<usize>>() {
            // Elements may be empty: their number is then no bound for the work of a loop.
            return self.take(count.saturating_mul(width)).map(drop);
        }
        for _ in 0..count {
            for code in codes {
                self.skip_nested(*code, depth)?;
            }
        }
        Ok(())
    }
}

/// Bytes of a value whose type alone tells its size.
fn fixed_width(code: u8) -> Option<usize> {
    Some(match code {
        wire_type::VOID => 0,
        wire_type::BOOL | wire_type::BYTE => 1,
        wire_type::I16 | wire_type::U16 => 2,
        wire_type::I32 | wire_type::U32 | wire_type::IPV4 => 4,
        wire_type::I64 | wire_type::U64 | wire_type::DOUBLE => 8,
        wire_type::UUID => 16,
        _ => return None,
    })
}
