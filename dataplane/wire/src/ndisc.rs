//! IPv6 neighbour discovery (RFC 4861): solicitations and their answers (forwarding.md 7.7).

use vr_types::Mac;

use crate::header::header;
use crate::ipv6::{self, Ipv6};
use crate::{Error, checksum, icmp, protocol};

/// Bytes of an advertisement with its IPv6 header and one link-layer address option.
pub const ADVERTISEMENT_LEN: usize = ipv6::LEN + LEN + OPTION_LEN;

const OPTION_LEN: usize = 8;
/// Options with a link-layer address.
const SOURCE_LINK: u8 = 1;
const TARGET_LINK: u8 = 2;
/// Flags of an advertisement.
const ROUTER: u32 = 0x8000_0000;
const SOLICITED: u32 = 0x4000_0000;
/// The only hop limit: nobody beyond the link can send it.
const HOP_LIMIT: u8 = 255;

header! {
    /// The part of a neighbour solicitation or advertisement that is always there; options follow.
    Neighbour[24] {
        /// Type, see [`icmp::v6`].
        kind / set_kind: u8 = 0;
        /// Code, zero.
        code / set_code: u8 = 1;
        /// Checksum over pseudo header and message.
        checksum / set_checksum: u16 = 2;
        /// Flags of an advertisement; zero in a solicitation.
        flags / set_flags: u32 = 4;
        /// Address in question.
        target / set_target: [u8; 16] = 8;
    }
}

/// A neighbour solicitation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Solicitation {
    /// Address of the sender; all zero when it looks whether `target` is taken.
    pub source: [u8; 16],
    /// Address in question.
    pub target: [u8; 16],
    /// Link-layer address of the sender, if it gives one. A solicitation without one cannot be answered.
    pub source_link: Option<Mac>,
}

impl Solicitation {
    /// The solicitation in this IPv6 packet. The checksum is not verified: it may still be partial.
    ///
    /// # Errors
    /// [`Error::Unsupported`] when it is another kind of packet; [`Error::Truncated`], and
    /// [`Error::Malformed`] when it breaks a rule of RFC 4861 section 7.1.1.
    pub fn parse(packet: &[u8]) -> Result<Self, Error> {
        let header = Ipv6::new_checked(packet)?;
        if header.next_header() != protocol::ICMPV6 {
            return Err(Error::Unsupported);
        }
        let end = ipv6::LEN + usize::from(header.payload_len());
        let message = packet.get(ipv6::LEN..end).ok_or(Error::Truncated)?;
        if message.first() != Some(&icmp::v6::NEIGHBOUR_SOLICITATION) {
            return Err(Error::Unsupported);
        }
        let body = Neighbour::new_checked(message)?;
        let source_link = link_address(message, SOURCE_LINK)?;
        let anonymous = header.source() == [0; 16];
        let group = body.target()[0] == 0xff;
        if header.hop_limit() != HOP_LIMIT || body.code() != 0 || group || anonymous && source_link.is_some()
        {
            return Err(Error::Malformed);
        }
        Ok(Self { source: header.source(), target: body.target(), source_link })
    }
}

/// The link-layer address in the first option of a kind, of a neighbour message whose options are well formed.
fn link_address(message: &[u8], kind: u8) -> Result<Option<Mac>, Error> {
    let mut found = None;
    let mut rest = message.get(LEN..).ok_or(Error::Truncated)?;
    while !rest.is_empty() {
        let len = usize::from(*rest.get(1).ok_or(Error::Malformed)?) * 8;
        let (option, others) = rest.split_at_checked(len).filter(|_| len != 0).ok_or(Error::Malformed)?;
        if let [given, 1, mac @ ..] = option
            && *given == kind
        {
            found = found.or_else(|| Mac::from_slice(mac));
        }
        rest = others;
    }
    Ok(found)
}

/// The answer to a solicitation: the IPv6 packet that says that `mac` has the target address, and, if
/// `is_router`, that it belongs to a router. It does not override what the other side knows already.
#[must_use]
pub fn advertisement(asked: &Solicitation, mac: Mac, is_router: bool) -> [u8; ADVERTISEMENT_LEN] {
    let mut message = [0; LEN + OPTION_LEN];
    let mut body = Neighbour::new([0; LEN]);
    body.set_kind(icmp::v6::NEIGHBOUR_ADVERTISEMENT);
    body.set_flags(SOLICITED | if is_router { ROUTER } else { 0 });
    body.set_target(asked.target);
    message[..LEN].copy_from_slice(body.as_bytes());
    message[LEN..LEN + 2].copy_from_slice(&[TARGET_LINK, 1]);
    message[LEN + 2..].copy_from_slice(&mac.0);
    let check = checksum::inet6_l4(&asked.target, &asked.source, protocol::ICMPV6, &message);
    message[2..4].copy_from_slice(&check.to_be_bytes());

    let mut header = Ipv6::for_payload(asked.target, asked.source, protocol::ICMPV6, message.len() as u16);
    header.set_hop_limit(HOP_LIMIT);
    let mut packet = [0; ADVERTISEMENT_LEN];
    packet[..ipv6::LEN].copy_from_slice(header.as_bytes());
    packet[ipv6::LEN..].copy_from_slice(&message);
    packet
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOURCE: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4];
    const TARGET: [u8; 16] = [0xfd, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    const GUEST: [u8; 6] = [2, 0x0a, 0, 0, 0, 4];

    fn solicitation(source: [u8; 16], options: &[u8]) -> Vec<u8> {
        let mut body = Neighbour::new([0; LEN]);
        body.set_kind(icmp::v6::NEIGHBOUR_SOLICITATION);
        body.set_target(TARGET);
        let mut group = [0; 16];
        group[..2].copy_from_slice(&[0xff, 2]);
        let mut header = Ipv6::for_payload(source, group, 58, (LEN + options.len()) as u16);
        header.set_hop_limit(255);
        [&header.as_bytes()[..], body.as_bytes(), options].concat()
    }

    #[test]
    fn a_solicitation_is_answered() {
        let packet = solicitation(SOURCE, &[&[1, 1], &GUEST[..]].concat());
        let asked = Solicitation::parse(&packet).unwrap();
        assert_eq!(asked, Solicitation { source: SOURCE, target: TARGET, source_link: Some(Mac(GUEST)) });
        let answer = advertisement(&asked, Mac::VIRTUAL_ROUTER, true);
        assert_eq!(answer[..8], [0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!((&answer[8..24], &answer[24..40]), (&TARGET[..], &SOURCE[..]));
        assert_eq!((answer[40], &answer[44..48]), (136, &[0xc0, 0, 0, 0][..]));
        assert_eq!(answer[48..64], TARGET);
        assert_eq!(answer[64..], [2, 1, 0, 0, 0x5e, 0, 1, 0]);
        assert!(checksum::inet6_l4_is_valid(&TARGET, &SOURCE, 58, &answer[40..]));
        assert_eq!(advertisement(&asked, Mac::VIRTUAL_ROUTER, false)[44], 0x40);
    }

    #[test]
    fn options_are_read_by_type_and_length() {
        let parse = |options: &[u8]| Solicitation::parse(&solicitation(SOURCE, options));
        assert_eq!(parse(&[]).unwrap().source_link, None);
        // Another option in front, and one of the type but longer than an Ethernet address.
        let nonce = [14, 1, 1, 2, 3, 4, 5, 6];
        let long = [&[1, 2], &[0; 14][..]].concat();
        let link = [&[1, 1], &GUEST[..]].concat();
        assert_eq!(parse(&nonce).unwrap().source_link, None);
        assert_eq!(parse(&[&nonce[..], &long, &link].concat()).unwrap().source_link, Some(Mac(GUEST)));
        for bad in [&[1][..], &[1, 0, 0, 0, 0, 0, 0, 0], &[1, 2, 0, 0, 0, 0, 0, 0], &[1, 1, 0]] {
            assert_eq!(parse(bad), Err(Error::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn rules_of_rfc_4861() {
        let link = [&[1, 1], &GUEST[..]].concat();
        let sound = solicitation(SOURCE, &link);
        for (at, value) in [(7, 254), (41, 1), (48, 0xff)] {
            let mut packet = sound.clone();
            packet[at] = value;
            assert_eq!(Solicitation::parse(&packet), Err(Error::Malformed), "{at}");
        }
        assert_eq!(Solicitation::parse(&solicitation([0; 16], &link)), Err(Error::Malformed));
        assert_eq!(Solicitation::parse(&solicitation([0; 16], &[])).unwrap().source_link, None);
        for len in 0..sound.len() {
            assert_eq!(Solicitation::parse(&sound[..len]), Err(Error::Truncated), "{len}");
        }
        for (at, value) in [(6, 17), (40, 136)] {
            let mut packet = sound.clone();
            packet[at] = value;
            assert_eq!(Solicitation::parse(&packet), Err(Error::Unsupported));
        }
    }
}
