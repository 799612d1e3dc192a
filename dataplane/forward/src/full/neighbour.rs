//! IPv6 neighbour discovery (forwarding.md 7.7).

use vr_tables::vif::VifKind;
use vr_types::{DropReason, Mac, Trap, TrapReason};
use vr_wire::checksum;

use super::arp::{Verdict, is_underlay, underlay_only};
use super::encap::push_ethernet;
use super::{Full, Pkt};
use crate::bytes::{array, put};
use crate::verdict::Stop;

const ICMPV6: u8 = 58;
const HEADER: usize = 40;
const ROUTER_SOLICITATION: u8 = 133;
const SOLICITATION: u8 = 135;
const ADVERTISEMENT: u8 = 136;
const REDIRECT: u8 = 137;
/// Flag words of an advertisement.
const SOLICITED: u32 = 0x4000_0000;
const ROUTER: u32 = 0x8000_0000;
/// Length of an advertisement with one link-layer option.
const ADVERTISEMENT_LEN: usize = 32;

fn icmp_type(pkt: &Pkt) -> Option<u8> {
    let bytes = pkt.l3();
    (bytes.get(6) == Some(&ICMPV6)).then(|| bytes.get(HEADER).copied()).flatten()
}

/// Whether an IPv6 packet belongs to neighbour discovery.
pub(super) fn is_neighbour_discovery(pkt: &Pkt) -> bool {
    icmp_type(pkt).is_some_and(|kind| (ROUTER_SOLICITATION..=REDIRECT).contains(&kind))
}

/// Whether an IPv6 packet is a neighbour solicitation.
pub(super) fn is_solicitation(pkt: &Pkt) -> bool {
    icmp_type(pkt) == Some(SOLICITATION)
}

/// The source link-layer address of a solicitation whose options are well formed.
fn source_option(bytes: &[u8]) -> Option<Mac> {
    let mut options = bytes.get(HEADER + 24..)?;
    while let [kind, units, rest @ ..] = options {
        let len = usize::from(*units) * 8;
        if len == 0 || len > options.len() {
            return None;
        }
        if *kind == 1 && *units == 1 {
            return array(rest, 0).map(Mac);
        }
        options = &options[len..];
    }
    None
}

impl Full<'_> {
    /// The packet starts at its IPv6 header. `None` when the caller goes on with it.
    pub(super) fn neighbour_input(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        match icmp_type(pkt)? {
            SOLICITATION => self.solicitation(pkt),
            ADVERTISEMENT => self.advertisement(pkt),
            _ if self.ingress_kind(pkt).is_some_and(VifKind::is_guest) => None,
            _ => Some(self.cross_connect(pkt)),
        }
    }

    fn solicitation(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        let bytes = pkt.l3();
        let (source, target): ([u8; 16], [u8; 16]) = (array(bytes, 8)?, array(bytes, HEADER + 8)?);
        // Duplicate address detection, and solicitations without an address to answer to, are flooded.
        let requester = source_option(bytes).filter(|_| source != [0; 16])?;
        let vif = self.tables.vif(pkt.vif)?;
        let route = self.tables.route6(pkt.vrf, target);
        let decided = self.decide(pkt, vif, &route, false);
        let verdict =
            if vif.kind.is_host_side() || is_underlay(pkt, vif) { underlay_only(decided) } else { decided };
        match verdict {
            Verdict::Proxy(mac) => Some(self.advertise(pkt, source, target, requester, mac)),
            Verdict::CrossConnect | Verdict::TrapAndCrossConnect => Some(self.cross_connect(pkt)),
            Verdict::Drop => Some(Stop::Drop(DropReason::InvalidArp)),
            Verdict::Flood | Verdict::TrapAndFlood => None,
        }
    }

    /// Turns the solicitation into its answer and sends it.
    fn advertise(
        &mut self,
        pkt: &mut Pkt,
        source: [u8; 16],
        target: [u8; 16],
        requester: Mac,
        mac: Mac,
    ) -> Stop {
        pkt.frame.truncate(HEADER + ADVERTISEMENT_LEN);
        let missing = (HEADER + ADVERTISEMENT_LEN).saturating_sub(pkt.frame.len());
        if pkt.frame.extend(missing).is_none() {
            return Stop::Drop(DropReason::Push);
        }
        let flags = SOLICITED | if pkt.own_mac { ROUTER } else { 0 };
        let bytes = pkt.frame.bytes_mut();
        put(bytes, 4, (ADVERTISEMENT_LEN as u16).to_be_bytes());
        put(bytes, 8, target);
        put(bytes, 24, source);
        put(bytes, HEADER, [ADVERTISEMENT, 0, 0, 0]);
        put(bytes, HEADER + 4, flags.to_be_bytes());
        put(bytes, HEADER + 8, target);
        put(bytes, HEADER + 24, [2, 1]);
        put(bytes, HEADER + 26, mac.0);
        let sum = checksum::inet6_l4(&target, &source, ICMPV6, &bytes[HEADER..]);
        put(bytes, HEADER + 2, sum.to_be_bytes());
        if let Err(stop) = push_ethernet(pkt, requester, mac, 0x86dd) {
            return stop;
        }
        self.send_answer(pkt, requester)
    }

    fn advertisement(&mut self, pkt: &mut Pkt) -> Option<Stop> {
        let vif = self.tables.vif(pkt.vif)?;
        match vif.kind {
            VifKind::Host => Some(self.cross_connect(pkt)),
            kind if kind.is_guest() => {
                if pkt.to_me {
                    return Some(Stop::Trap(Trap::new(TrapReason::Arp)));
                }
                if pkt.multicast {
                    self.trap_copy(pkt);
                }
                None
            }
            VifKind::Physical if is_underlay(pkt, vif) => Some(self.trap_and_cross_connect(pkt)),
            VifKind::Physical => None,
            _ => Some(Stop::Drop(DropReason::InvalidIf)),
        }
    }
}
