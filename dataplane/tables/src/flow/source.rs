//! Where packets of a flow come from, in 32 bits.

use std::net::IpAddr;

use vr_types::VifId;

/// A tunnel's other end or an interface, as flows remember it. An interface and a tunnel may have the same
/// value: [`EgressKind`](super::EgressKind) tells them apart.
///
/// IPv4 addresses stand for themselves. IPv6 addresses are numbered as tunnel nexthops name them
/// ([`Snapshot::peer`](crate::Snapshot::peer)); the numbers look like IPv4 addresses from 224.0.0.0 on, from
/// which no packet comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source(u32);

/// First byte of the first IPv4 address that is no source.
const NO_SOURCE: u8 = 224;
/// Bits of the number of an IPv6 address beside those in the first byte.
const HIGH: u32 = 24;

impl Source {
    /// An address that is no tunnel's other end. Nothing is compiled for it.
    pub const UNKNOWN: Self = Self(0);

    /// An IPv4 address, in wire order.
    #[inline]
    #[must_use]
    pub const fn inet(address: [u8; 4]) -> Self {
        if address[0] >= NO_SOURCE { Self::UNKNOWN } else { Self(u32::from_le_bytes(address)) }
    }

    /// The IPv6 address with this number, if there are numbers for so many.
    pub(crate) fn inet6(number: u32) -> Option<Self> {
        let first = u8::try_from(number >> HIGH).ok().filter(|high| *high < 255 - NO_SOURCE)?;
        let [a, b, c, _] = number.to_le_bytes();
        Some(Self(u32::from_le_bytes([NO_SOURCE + first, a, b, c])))
    }

    /// An interface; `version` advances when it changes, which voids what was compiled for packets from it.
    #[inline]
    #[must_use]
    pub const fn interface(id: VifId, version: u16) -> Self {
        Self((version as u32) << 16 | id.0 as u32)
    }

    /// As clients read it in an entry: an IPv4 address in wire order, or an interface number.
    #[inline]
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.0
    }

    pub(super) const fn from_bits(bits: u32) -> Self {
        Self(bits)
    }
}

/// Numbers of the IPv6 addresses that tunnel nexthops lead to. A number is never used again, so that what was
/// compiled for an address cannot meet another one.
#[derive(Clone, Default)]
pub(crate) struct Inet6Peers {
    peers: hashbrown::HashMap<[u8; 16], Peer>,
    next: u32,
}

#[derive(Clone, Copy)]
struct Peer {
    /// Nexthops that lead to it.
    users: u32,
    source: Source,
}

impl Inet6Peers {
    /// One more nexthop leads there.
    pub(crate) fn add(&mut self, address: [u8; 16]) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.users += 1;
        } else if let Some(source) = Source::inet6(self.next) {
            self.next += 1;
            self.peers.insert(address, Peer { users: 1, source });
        }
    }

    /// One nexthop less leads there.
    pub(crate) fn remove(&mut self, address: [u8; 16]) {
        if let Some(peer) = self.peers.get_mut(&address) {
            peer.users -= 1;
            if peer.users == 0 {
                self.peers.remove(&address);
            }
        }
    }

    /// The source that an address is.
    pub(crate) fn source(&self, address: IpAddr) -> Source {
        match address {
            IpAddr::V4(address) => Source::inet(address.octets()),
            IpAddr::V6(address) => {
                self.peers.get(&address.octets()).map_or(Source::UNKNOWN, |peer| peer.source)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Inet6Peers, Source};
    use vr_types::VifId;

    #[test]
    fn no_two_peers_are_the_same_source() {
        let mut peers = Inet6Peers::default();
        let address = |last: u8| [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last];
        let source = |peers: &Inet6Peers, last| peers.source(std::net::IpAddr::from(address(last)));
        assert_eq!(source(&peers, 1), Source::UNKNOWN);
        peers.add(address(1));
        peers.add(address(2));
        peers.add(address(2));
        let (first, second) = (source(&peers, 1), source(&peers, 2));
        assert_ne!(first, second);
        peers.remove(address(2));
        assert_eq!(source(&peers, 2), second, "another nexthop leads there");
        peers.remove(address(2));
        assert_eq!(source(&peers, 2), Source::UNKNOWN);
        peers.add(address(3));
        peers.add(address(2));
        for again in [source(&peers, 3), source(&peers, 2)] {
            assert!(![first, second, Source::UNKNOWN].contains(&again), "{again:?}");
        }
    }

    #[test]
    fn no_inet6_number_is_the_source_of_an_inet_packet() {
        for number in [0, 1, 255, 0xff_ffff, 0x100_0000, 0x1e00_0000] {
            let source = Source::inet6(number).unwrap();
            let address = source.bits().to_le_bytes();
            assert!(address[0] >= 224);
            assert_eq!(Source::inet(address), Source::UNKNOWN);
        }
        assert_eq!(Source::inet6(0x1f00_0000), None);
        assert_eq!(Source::inet([10, 0, 0, 1]).bits(), 0x0100_000a);
    }

    #[test]
    fn an_interface_that_changed_is_another_source() {
        let source = Source::interface(VifId(7), 1);
        assert_ne!(source, Source::interface(VifId(7), 2));
        assert_ne!(source, Source::interface(VifId(8), 1));
    }
}
