use core::fmt;

/// What is wrong with bytes that should have been a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Error {
    /// They end before the header, or what the header announces, does.
    Truncated,
    /// A field contradicts the protocol or another field.
    Malformed,
    /// Sound, but of a kind that this function has no answer to.
    Unsupported,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truncated => "the packet ends inside a header",
            Self::Malformed => "a header contradicts its protocol",
            Self::Unsupported => "a header is of a kind that is not handled",
        })
    }
}

impl core::error::Error for Error {}
