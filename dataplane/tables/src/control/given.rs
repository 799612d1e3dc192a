use vr_types::Mac;

/// A MAC as a request gave it: the field is a list of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GivenMac {
    /// The list was empty.
    #[default]
    Absent,
    /// Six bytes.
    Mac(Mac),
    /// Another number of bytes.
    Malformed,
}

impl GivenMac {
    /// The list `bytes`.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        match (bytes, Mac::from_slice(bytes)) {
            ([], _) => Self::Absent,
            (_, Some(mac)) => Self::Mac(mac),
            _ => Self::Malformed,
        }
    }

    /// The address if there is one and it is not all zero.
    #[must_use]
    pub fn non_zero(self) -> Option<Mac> {
        match self {
            Self::Mac(mac) if !mac.is_zero() => Some(mac),
            _ => None,
        }
    }
}
