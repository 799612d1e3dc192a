use core::fmt;

/// Ethernet address, in the order of the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    /// ff:ff:ff:ff:ff:ff; also the key of a VRF's flood entry.
    pub const BROADCAST: Self = Self([0xff; 6]);
    /// All zero; never a station.
    pub const ZERO: Self = Self([0; 6]);
    /// Address of the virtual router towards guests (RFC 5798 VRID 0).
    pub const VIRTUAL_ROUTER: Self = Self([0x00, 0x00, 0x5e, 0x00, 0x01, 0x00]);

    /// Whether the group bit is set (multicast or broadcast).
    #[inline]
    #[must_use]
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether all bits are zero.
    #[inline]
    #[must_use]
    pub fn is_zero(self) -> bool {
        self == Self::ZERO
    }

    /// The address in a slice of exactly six bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not six hexadecimal bytes separated by colons.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a MAC address; write six hexadecimal bytes such as 02:00:00:00:00:01")]
pub struct ParseMacError(String);

impl core::str::FromStr for Mac {
    type Err = ParseMacError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParseMacError(text.to_owned());
        let mut bytes = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut bytes {
            let part = parts.next().filter(|p| (1..=2).contains(&p.len())).ok_or_else(fail)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| fail())?;
        }
        if parts.next().is_some() {
            return Err(fail());
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::Mac;

    #[test]
    fn text_form_round_trips() {
        let mac: Mac = "02:0a:00:00:00:04".parse().unwrap();
        assert_eq!(mac, Mac([2, 10, 0, 0, 0, 4]));
        assert_eq!(mac.to_string(), "02:0a:00:00:00:04");
    }

    #[test]
    fn malformed_text_is_refused() {
        for text in ["", "02", "02:0a:00:00:00", "02:0a:00:00:00:04:05", "02:0a:00:00:00:zz", "002:0:0:0:0:0"]
        {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
