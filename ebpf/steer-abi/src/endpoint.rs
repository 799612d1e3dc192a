//! Local tunnel endpoints: which addresses end which kinds of tunnels.

use core::net::IpAddr;

/// A kind of tunnel (forwarding.md 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Tunnel {
    /// MPLS in UDP, destination port 6635 (RFC 7510) or 51234.
    MplsUdp = 1,
    /// MPLS in GRE, protocol 0x8847 (RFC 4023).
    MplsGre = 2,
    /// `VXLAN`, destination port 4789 (RFC 7348).
    Vxlan = 3,
}

impl Tunnel {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::MplsUdp),
            2 => Some(Self::MplsGre),
            3 => Some(Self::Vxlan),
            _ => None,
        }
    }
}

/// A set of kinds of tunnels, the value of the map `ENDPOINTS`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(transparent)]
pub struct TunnelSet(u32);

impl TunnelSet {
    /// No tunnels.
    pub const NONE: Self = Self(0);
    /// Every kind of tunnel.
    pub const ALL: Self = Self::NONE.with(Tunnel::MplsUdp).with(Tunnel::MplsGre).with(Tunnel::Vxlan);

    /// The set with `tunnel` added.
    #[must_use]
    pub const fn with(self, tunnel: Tunnel) -> Self {
        Self(self.0 | 1 << tunnel as u32)
    }

    /// Whether `tunnel` is in the set.
    #[inline(always)]
    #[must_use]
    pub const fn contains(self, tunnel: Tunnel) -> bool {
        self.0 & 1 << tunnel as u32 != 0
    }

    /// The set as the map holds it.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    /// The set that the map holds as `bits`; bits of no known kind are dropped.
    #[inline(always)]
    #[must_use]
    pub const fn from_bits(bits: u32) -> Self {
        Self(bits & Self::ALL.0)
    }
}

/// Key of the map `ENDPOINTS`: the 16 bytes of an IPv6 address as on the wire; an IPv4 address is IPv4-mapped
/// (RFC 4291 2.5.5.2). Two words because the program copies words better than bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(C)]
pub struct EndpointKey {
    words: [u64; 2],
}

/// Bytes 8 to 11 of an IPv4-mapped address, `00 00 ff ff`, in a little-endian word.
const MAPPED: u64 = 0xffff_0000;

impl EndpointKey {
    /// Key of an IPv4 address whose four bytes as on the wire were loaded as one number.
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(address: u32) -> Self {
        Self { words: [0, MAPPED | (address as u64) << 32] }
    }

    /// Key of an IPv6 address whose bytes as on the wire were loaded as two numbers.
    #[inline(always)]
    #[must_use]
    pub const fn from_v6_words(words: [u64; 2]) -> Self {
        Self { words }
    }

    /// Key of an address.
    #[must_use]
    pub const fn new(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4_word(u32::from_le_bytes(v4.octets())),
            IpAddr::V6(v6) => {
                let whole = u128::from_le_bytes(v6.octets());
                Self::from_v6_words([whole as u64, (whole >> 64) as u64])
            }
        }
    }

    /// The address of the key; an IPv4-mapped one comes back as IPv4.
    #[must_use]
    pub fn address(self) -> IpAddr {
        let whole = u128::from(self.words[0]) | u128::from(self.words[1]) << 64;
        IpAddr::from(whole.to_le_bytes()).to_canonical()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::{Ipv4Addr, Ipv6Addr};

    #[test]
    fn keys_hold_the_bytes_of_the_wire() {
        let v4 = EndpointKey::new(IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)));
        assert_eq!(
            v4.words.map(u64::to_le_bytes),
            [[0; 8], [0, 0, 0xff, 0xff, 172, 16, 0, 1]],
            "IPv4-mapped"
        );
        let address = Ipv6Addr::new(0x2001, 0xdb8, 1, 2, 3, 4, 5, 6);
        let v6 = EndpointKey::new(IpAddr::V6(address));
        assert_eq!(v6.words.map(u64::to_le_bytes).concat_bytes(), address.octets());
        assert_eq!(v6.address(), IpAddr::V6(address));
        assert_eq!(v4.address(), IpAddr::V4(Ipv4Addr::new(172, 16, 0, 1)));
    }

    trait Concat {
        fn concat_bytes(self) -> [u8; 16];
    }

    impl Concat for [[u8; 8]; 2] {
        fn concat_bytes(self) -> [u8; 16] {
            core::array::from_fn(|index| self[index / 8][index % 8])
        }
    }

    #[test]
    fn sets_hold_what_was_put_in() {
        let set = TunnelSet::NONE.with(Tunnel::Vxlan);
        assert!(set.contains(Tunnel::Vxlan) && !set.contains(Tunnel::MplsGre));
        assert_eq!(TunnelSet::from_bits(u32::MAX), TunnelSet::ALL);
        for number in 0..=u8::MAX {
            assert_eq!(Tunnel::from_number(number).is_some(), (1..=3).contains(&number));
        }
    }
}
