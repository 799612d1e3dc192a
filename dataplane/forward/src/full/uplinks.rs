//! The other side of a cross-connect, with one uplink or several (forwarding.md 1.7, 4.11, 9.7).

use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{Mac, Release, VifId};
use vr_wire::hash::hash_bytes;

use super::pkt::TAGS;
use super::transport::layout;
use super::{Full, Kind, Pkt};
use crate::bytes::{array, be16};

/// Protocols with ports: TCP, UDP, SCTP.
const WITH_PORTS: [u8; 3] = [6, 17, 132];
/// Next header of a fragment of IPv6.
const FRAGMENT: u8 = 44;

impl Full<'_> {
    /// The other side of a cross-connect for this packet.
    pub(super) fn other_side(&self, pkt: &Pkt) -> Option<VifId> {
        let vif = self.tables.vif(pkt.vif)?;
        let among_several = match vif.kind {
            VifKind::Physical => self.companion(pkt, vif),
            VifKind::Host => self.uplink(pkt),
            _ => self.tables.roles.uplink_of(vif.id),
        };
        let there = among_several.and_then(|peer| self.tables.vif(peer)).map(|peer| peer.id);
        there.or_else(|| self.tables.cross_connect(vif))
    }

    /// Where the host gets ARP of one of several uplinks, and in cross-connect mode IP.
    fn companion(&self, pkt: &Pkt, uplink: &Vif) -> Option<VifId> {
        let companion = *self.tables.roles.companions.get(uplink.id.index())?;
        if companion == VifId::NONE || pkt.outer_source.is_some() {
            return None;
        }
        let (kind, _) = payload(received(pkt)?)?;
        let connected = kind.is_ip() && uplink.flags.contains(VifFlags::XCONNECT);
        (kind == Kind::Arp || connected).then_some(companion)
    }

    /// Which of several uplinks a packet of the host takes.
    fn uplink(&self, pkt: &Pkt) -> Option<VifId> {
        let uplinks = self.tables.roles.uplinks();
        if uplinks.len() < 2 || self.tables.options.release == Release::R220 {
            return None;
        }
        let (kind, body) = payload(received(pkt)?)?;
        match kind {
            Kind::Arp => self.uplink_of_arp(uplinks, body),
            Kind::Inet | Kind::Inet6 => {
                let hash = five_tuple_hash(body, kind == Kind::Inet)?;
                uplinks.get(hash as usize % uplinks.len()).copied()
            }
            _ => None,
        }
    }

    /// The uplink with the sender's MAC, else the one whose address has most leading bits in common with the target's:
    /// if the target is in the subnet of one of them, that is it.
    fn uplink_of_arp(&self, uplinks: &[VifId], body: &[u8]) -> Option<VifId> {
        let sender = Mac(array(body, 8)?);
        let target = u32::from_be_bytes(array(body, 24)?);
        let vifs = || uplinks.iter().filter_map(|uplink| self.tables.vif(*uplink));
        let common = |vif: &Vif| (vif.ip.to_bits() ^ target).leading_zeros();
        let nearest = || {
            let with_address = vifs().filter(|vif| !vif.ip.is_unspecified());
            with_address.reduce(|best, vif| if common(vif) > common(best) { vif } else { best })
        };
        vifs().find(|vif| vif.mac == sender).or_else(nearest).map(|vif| vif.id)
    }
}

/// The frame as it came.
fn received(pkt: &Pkt) -> Option<&[u8]> {
    let (headroom, len) = pkt.received;
    pkt.frame.buffer_bytes(usize::from(headroom), len as usize)
}

/// What a frame carries behind its tags, and that.
fn payload(frame: &[u8]) -> Option<(Kind, &[u8])> {
    let types = (0..=TAGS).map(|tags| 12 + 4 * tags);
    let at = types.into_iter().find(|at| array(frame, *at) != Some([0x81, 0x00]))?;
    Some((Kind::of_ethertype(be16(frame, at)?), frame.get(at + 2..)?))
}

/// Hash of addresses, protocol and ports (forwarding.md 4.11); ports have host order in it. Fragments have no ports, those
/// of IPv6 no protocol either.
fn five_tuple_hash(packet: &[u8], inet: bool) -> Option<u32> {
    let at = layout(packet, inet)?;
    let fragment = if inet { be16(packet, 6)? & 0x3fff != 0 } else { *packet.get(6)? == FRAGMENT };
    let protocol = if fragment && !inet { 0 } else { at.protocol };
    let ports = array::<4>(packet, at.header).filter(|_| !fragment && WITH_PORTS.contains(&protocol));
    let [a, b, c, d] = ports.unwrap_or_default();
    let addresses = 2 * at.address;
    let mut key = [0; 37];
    key.get_mut(..addresses)?.copy_from_slice(packet.get(at.source..at.source + addresses)?);
    key.get_mut(addresses..addresses + 5)?.copy_from_slice(&[protocol, b, a, d, c]);
    Some(hash_bytes(key.get(..addresses + 5)?, 0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use super::{five_tuple_hash, payload};
    use crate::full::Kind;

    const UDP: [u8; 24] =
        [0x45, 0, 0, 24, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 4, 10, 0, 1, 7, 0x13, 0x88, 0x13, 0x89];

    #[test]
    fn the_hash_is_that_of_the_specification() {
        assert_eq!(five_tuple_hash(&UDP, true), Some(0xa22a_bbe5));
    }

    #[test]
    fn all_fragments_of_a_datagram_have_one_hash() {
        let (mut first, mut later) = (UDP, UDP);
        first[6] = 0x20;
        later[7] = 3;
        later[20] = 99;
        assert_eq!(five_tuple_hash(&first, true), five_tuple_hash(&later, true));
        assert_ne!(five_tuple_hash(&first, true), five_tuple_hash(&UDP, true));
    }

    #[test]
    fn cut_packets_have_no_hash() {
        assert!((0..20).all(|len| five_tuple_hash(&UDP[..len], true).is_none()));
        assert!((0..40).all(|len| five_tuple_hash(&[0x60; 40][..len], false).is_none()));
    }

    #[test]
    fn tags_are_skipped() {
        let tagged = [&[0; 12][..], &[0x81, 0, 0, 5, 0x81, 0, 0, 6, 8, 6, 1]].concat();
        assert_eq!(payload(&tagged), Some((Kind::Arp, &[1][..])));
        assert_eq!(payload(&tagged[..17]), None);
    }
}
