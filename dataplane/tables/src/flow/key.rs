use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use vr_types::{NexthopId, family};
use vr_wire::hash;

/// The key of a flow, in the bytes that are hashed, compared and mapped by the agent (forwarding.md 6.1).
///
/// Kept as little-endian words: 0 family and protocol, 1 the ports as on the wire, 2 the nexthop id, from 3
/// the addresses: five words for IPv4, eleven for IPv6.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct FlowKey {
    words: [u32; 11],
    inet6: bool,
}

/// Where a key belongs: hash values of its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowHash {
    /// Chooses the bucket; the value of the specification.
    pub primary: u32,
    /// Independent bits of the same hash, for the tag.
    pub secondary: u32,
}

impl FlowKey {
    /// Bytes of an IPv4 key.
    pub const INET_LEN: u8 = 20;
    /// Bytes of an IPv6 key.
    pub const INET6_LEN: u8 = 44;

    /// An IPv4 key; ports in wire order.
    #[inline]
    #[must_use]
    pub const fn inet(
        protocol: u8,
        ports: [u8; 4],
        nexthop: NexthopId,
        source: [u8; 4],
        destination: [u8; 4],
    ) -> Self {
        let mut words = [0; 11];
        words[0] = family::INET as u32 | (protocol as u32) << 8;
        words[1] = u32::from_le_bytes(ports);
        words[2] = nexthop.0;
        words[3] = u32::from_le_bytes(source);
        words[4] = u32::from_le_bytes(destination);
        Self { words, inet6: false }
    }

    /// An IPv6 key; ports in wire order.
    #[inline]
    #[must_use]
    pub fn inet6(
        protocol: u8,
        ports: [u8; 4],
        nexthop: NexthopId,
        source: [u8; 16],
        destination: [u8; 16],
    ) -> Self {
        let mut words = [0; 11];
        words[0] = u32::from(family::INET6) | u32::from(protocol) << 8;
        words[1] = u32::from_le_bytes(ports);
        words[2] = nexthop.0;
        for (word, bytes) in
            words[3..].iter_mut().zip(source.as_chunks::<4>().0.iter().chain(destination.as_chunks::<4>().0))
        {
            *word = u32::from_le_bytes(*bytes);
        }
        Self { words, inet6: true }
    }

    /// A key from words in the layout above; `None` if the family is neither IPv4 nor IPv6.
    #[must_use]
    pub const fn from_words(words: [u32; 11]) -> Option<Self> {
        match words[0] as u8 {
            family::INET => Some(Self {
                words: [words[0], words[1], words[2], words[3], words[4], 0, 0, 0, 0, 0, 0],
                inet6: false,
            }),
            family::INET6 => Some(Self { words, inet6: true }),
            _ => None,
        }
    }

    /// The words; those behind an IPv4 key are zero.
    #[inline]
    #[must_use]
    pub const fn words(&self) -> &[u32; 11] {
        &self.words
    }

    /// Length of the key in bytes.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> u8 {
        if self.inet6 { Self::INET6_LEN } else { Self::INET_LEN }
    }

    /// A key is never empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        false
    }

    /// Whether the addresses are IPv6.
    #[inline]
    #[must_use]
    pub const fn is_inet6(&self) -> bool {
        self.inet6
    }

    /// IP protocol.
    #[inline]
    #[must_use]
    pub const fn protocol(&self) -> u8 {
        (self.words[0] >> 8) as u8
    }

    /// Source port as on the wire.
    #[inline]
    #[must_use]
    pub const fn source_port(&self) -> [u8; 2] {
        let [a, b, ..] = self.words[1].to_le_bytes();
        [a, b]
    }

    /// Destination port as on the wire.
    #[inline]
    #[must_use]
    pub const fn destination_port(&self) -> [u8; 2] {
        let [.., c, d] = self.words[1].to_le_bytes();
        [c, d]
    }

    /// Key nexthop.
    #[inline]
    #[must_use]
    pub const fn nexthop(&self) -> NexthopId {
        NexthopId(self.words[2])
    }

    /// Source address.
    #[must_use]
    pub fn source(&self) -> IpAddr {
        self.address(3, 3)
    }

    /// Destination address.
    #[must_use]
    pub fn destination(&self) -> IpAddr {
        self.address(4, 7)
    }

    fn address(&self, inet: usize, inet6: usize) -> IpAddr {
        if self.inet6 {
            let mut bytes = [0; 16];
            for (chunk, word) in bytes.as_chunks_mut::<4>().0.iter_mut().zip(&self.words[inet6..inet6 + 4]) {
                *chunk = word.to_le_bytes();
            }
            IpAddr::V6(Ipv6Addr::from(bytes))
        } else {
            IpAddr::V4(Ipv4Addr::from(self.words[inet].to_le_bytes()))
        }
    }

    /// The hash of the key.
    #[inline]
    #[must_use]
    pub fn hash(&self) -> FlowHash {
        let (primary, secondary) = if self.inet6 {
            hash::hash_words(&self.words)
        } else {
            let [a, b, c, d, e, ..] = self.words;
            hash::hash_words(&[a, b, c, d, e])
        };
        FlowHash { primary, secondary }
    }
}

impl fmt::Debug for FlowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sport, dport) =
            (u16::from_be_bytes(self.source_port()), u16::from_be_bytes(self.destination_port()));
        write!(
            f,
            "{{{} {}:{sport} -> {}:{dport} nh {}}}",
            self.protocol(),
            self.source(),
            self.destination(),
            self.nexthop()
        )
    }
}

#[cfg(test)]
mod tests {
    use super::FlowKey;
    use crate::geometry::Geometry;
    use vr_types::NexthopId;

    fn index(key: FlowKey) -> u32 {
        Geometry::FLOW.bucket(key.hash().primary)
    }

    #[test]
    fn vectors_of_the_specification() {
        let icmp = |nh, s, d| FlowKey::inet(1, [4, 0x70, 0, 0], NexthopId(nh), s, d);
        assert_eq!(icmp(23, [1, 1, 1, 4], [1, 1, 1, 5]).hash().primary, 0xf84a_4008);
        assert_eq!(index(icmp(23, [1, 1, 1, 4], [1, 1, 1, 5])), 147_464);
        assert_eq!(index(icmp(28, [1, 1, 1, 5], [1, 1, 1, 4])), 239_712);
        assert_eq!(index(icmp(23, [1, 1, 1, 7], [2, 1, 1, 4])), 338_668);
        let tcp = FlowKey::inet(6, [0x9c, 0x40, 0, 80], NexthopId(23), [10, 0, 0, 4], [10, 0, 1, 7]);
        assert_eq!((tcp.hash().primary, index(tcp)), (0x6a88_ff61, 65_376));
        let ip6 = |last| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let udp6 = FlowKey::inet6(17, [0x13, 0x88, 0, 53], NexthopId(23), ip6(4), ip6(7));
        assert_eq!((udp6.hash().primary, index(udp6)), (0x2fbe_bc9a, 441_496));
    }

    #[test]
    fn fields_are_where_they_were_put() {
        let key = FlowKey::inet(17, [1, 2, 3, 4], NexthopId(70_000), [10, 0, 0, 1], [10, 0, 0, 2]);
        assert_eq!((key.protocol(), key.source_port(), key.destination_port()), (17, [1, 2], [3, 4]));
        assert_eq!(key.nexthop(), NexthopId(70_000));
        assert_eq!(key.source().to_string(), "10.0.0.1");
        assert_eq!(key.destination().to_string(), "10.0.0.2");
        assert_eq!(FlowKey::from_words(*key.words()), Some(key));
    }
}
