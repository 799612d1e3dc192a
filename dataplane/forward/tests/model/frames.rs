//! Random packets of a talk.

use vr_types::{Mac, VifId};

use crate::packets::{self, ICMP, ICMPV6, Inner, Part};
use crate::random::Random;
use crate::talk::{Side, Talk};
use crate::world::{FABRIC, GUEST_MAC, GUESTS, LABELS, PEERS, REMOTE_MAC};

/// What a packet says besides its talk.
#[derive(Clone, Debug)]
pub(crate) struct PacketSpec {
    side: Side,
    to: Mac,
    is_tagged: bool,
    ttl: u8,
    part: Part,
    tcp: (u8, u32, u32),
    without_sum: bool,
    /// Type of an ICMP error about a packet of the opposite side; which host complains.
    error: Option<(u8, u8)>,
    /// No more than the beginning of the transport header.
    quotes_little: bool,
    /// Type of an ICMP message that is not an echo.
    other_icmp: Option<u8>,
    by_gre: bool,
    is_bridged: bool,
    peer: usize,
    label_ttl: u8,
    label_is_known: bool,
    len: usize,
}

const ACK: u8 = 0x10;

impl PacketSpec {
    pub(crate) fn random(random: &mut Random, talk: &Talk, is_inbound: bool) -> Self {
        let side = if is_inbound {
            random.of(&[Side::In, Side::In, Side::InByAlias, Side::ToService])
        } else {
            random.of(&[Side::Out, Side::Out, Side::Out, Side::OutByAlias])
        };
        let [ours, theirs]: [u32; 2] = if is_inbound { [200, 100] } else { [100, 200] };
        let seq = ours + random.of(&[0, 1, 41]);
        let ack = theirs + random.of(&[0, 1, 1, 2, 41, 42, 42]);
        let flags = random.of(&[ACK, ACK, 0x02, 0x12, 0x11, 0x11, 0x04, 0x14, 0, 0x01, 0x13]);
        let far_mac = talk.far_guest().map_or(REMOTE_MAC, |far| GUEST_MAC[far]);
        let complainer = if random.once_in(2) { talk.ends(side).0[0] } else { 77 };
        let errors: &[u8] = if talk.is_inet6 { &[1, 2, 3] } else { &[3, 11] };
        let others: &[u8] = if talk.is_inet6 { &[143, 150] } else { &[13, 30] };
        Self {
            side,
            to: if random.once_in(16) {
                random.of(&[Mac([2, 9, 9, 9, 9, 9]), Mac::BROADCAST])
            } else {
                random.of(&[Mac::VIRTUAL_ROUTER, Mac::VIRTUAL_ROUTER, far_mac])
            },
            is_tagged: random.once_in(24),
            ttl: if random.once_in(12) { random.of(&[0, 1, 2]) } else { 64 },
            part: if random.once_in(8) { random.of(&[Part::First, Part::Rest]) } else { Part::Whole },
            tcp: (flags, seq, ack),
            without_sum: !talk.is_inet6 && random.once_in(3),
            error: random.once_in(12).then(|| (random.of(errors), complainer)),
            quotes_little: random.once_in(2),
            other_icmp: random.once_in(4).then(|| random.of(others)),
            by_gre: random.once_in(2),
            is_bridged: random.once_in(3),
            peer: if random.once_in(10) { 2 } else { random.of(&[0, 0, 0, 1]) },
            label_ttl: if random.once_in(20) { random.of(&[1, 2]) } else { 64 },
            label_is_known: !random.once_in(32),
            len: 40,
        }
    }

    /// Nothing odd.
    pub(crate) fn plain(side: Side) -> Self {
        Self {
            side,
            to: Mac::VIRTUAL_ROUTER,
            is_tagged: false,
            ttl: 64,
            part: Part::Whole,
            tcp: (ACK, 100, 200),
            without_sum: false,
            error: None,
            quotes_little: false,
            other_icmp: None,
            by_gre: false,
            is_bridged: false,
            peer: 0,
            label_ttl: 64,
            label_is_known: true,
            len: 40,
        }
    }

    fn inner(&self, talk: &Talk) -> Vec<u8> {
        let (hosts, ports) = talk.ends(self.side);
        let is_icmp = matches!(talk.protocol, ICMP | ICMPV6);
        let echo = match (talk.is_inet6, self.side) {
            (true, Side::Out) => 128,
            (true, _) => 129,
            (false, Side::Out) => 8,
            (false, _) => 0,
        };
        let whole = Inner {
            is_inet6: talk.is_inet6,
            protocol: talk.protocol,
            hosts,
            ports: if is_icmp { [talk.ports[0], echo] } else { ports },
            ttl: self.ttl,
            id: 7,
            part: Part::Whole,
            tcp: self.tcp,
            without_sum: self.without_sum,
            payload: vec![0x5a; self.len],
        };
        if let Some((kind, complainer)) = self.error {
            let swapped = |[a, b]: [u8; 2]| [b, a];
            // An error about an error, when the message is no echo.
            let message = if self.other_icmp.is_some() { u16::from(kind) } else { echo };
            let quoted = Inner {
                hosts: swapped(hosts),
                ports: if is_icmp { [talk.ports[0], message] } else { [ports[1], ports[0]] },
                ..whole.clone()
            };
            let mut payload = quoted.bytes();
            if self.quotes_little {
                payload.truncate(if talk.is_inet6 { 48 } else { 28 });
            }
            return Inner {
                protocol: if talk.is_inet6 { ICMPV6 } else { ICMP },
                hosts: [complainer, hosts[1]],
                ports: [0, u16::from(kind)],
                payload,
                ..whole
            }
            .bytes();
        }
        match self.other_icmp {
            Some(kind) if is_icmp => Inner { ports: [talk.ports[0], u16::from(kind)], ..whole }.bytes(),
            _ => Inner { part: self.part, ..whole }.bytes(),
        }
    }

    /// Where the packet comes in, and its frame.
    pub(crate) fn frame(&self, talk: &Talk) -> (VifId, Vec<u8>) {
        let inner = self.inner(talk);
        let guest = match self.side {
            Side::Out | Side::OutByAlias => Some(talk.guest),
            _ => talk.far_guest(),
        };
        if let Some(guest) = guest {
            let frame = packets::ethernet(self.to, GUEST_MAC[guest], self.is_tagged, &inner);
            return (GUESTS[guest], frame);
        }
        let near = talk.guest;
        let (label, payload) = if self.side == Side::ToService {
            (LABELS[6].0, inner)
        } else if self.is_bridged {
            (LABELS[3 + near].0, packets::ethernet(GUEST_MAC[near], REMOTE_MAC, self.is_tagged, &inner))
        } else {
            (LABELS[near].0, inner)
        };
        let (label, label_ttl) = if self.label_is_known { (label, self.label_ttl) } else { (999, 64) };
        (FABRIC, packets::from_peer(PEERS[self.peer], self.by_gre, label, label_ttl, &payload))
    }
}
