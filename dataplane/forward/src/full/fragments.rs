//! Fragments: later ones have no ports, so they take those of the first one of their datagram, and wait for it if
//! it has not come yet (forwarding.md 8.3). Nothing is reassembled.

use std::collections::HashMap;

use vr_frame::FramePool;
use vr_tables::flow::FlowKey;
use vr_tables::vif::VifKind;
use vr_types::{DropReason, VifId, VrfId};

use super::ip::inet_header_len;
use super::{Full, Kind, Pkt, Resume, flow_key};
use crate::Now;
use crate::bytes::{array, be16, be32};
use crate::verdict::{Step, Stop};

/// Datagrams that one worker follows at a time.
const DATAGRAMS: usize = 4096;
/// Fragments that wait for their first one, of all datagrams together.
const WAITING: usize = 256;
/// How many of these may occupy super-frames, which are few.
const WAITING_SUPERS: usize = 32;
/// What one guest may have of each: an eighth. All of the fabric may have half.
const GUEST_SHARE: usize = 8;
const FABRIC_SHARE: usize = 2;
/// How long a datagram is remembered and a fragment waits, in nanoseconds.
const PATIENCE: u64 = 2_000_000_000;
/// IPv6 base header and fragment header.
const INET6: usize = 40;
const FRAGMENT_HEADER: usize = 8;
const FRAGMENT: u8 = 44;

/// What the fragments of a datagram have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Datagram {
    source: [u8; 16],
    destination: [u8; 16],
    protocol: u8,
    id: u32,
    vrf: VrfId,
    /// The guest that it comes from, so that no other can speak for it; none for what comes from the fabric, by
    /// whatever link.
    guest: VifId,
}

/// What a fragment says about itself.
struct Fragment {
    datagram: Datagram,
    /// Offset of its payload in the datagram, and length.
    offset: u32,
    len: u32,
    more: bool,
}

impl Fragment {
    /// `None` for a packet that is whole.
    fn of(pkt: &Pkt) -> Option<Self> {
        let bytes = pkt.l3();
        let vrf = pkt.vrf;
        if pkt.kind == Kind::Inet {
            let header = inet_header_len(bytes).ok()?;
            let field = be16(bytes, 6)?;
            if field & 0x3fff == 0 {
                return None;
            }
            let address =
                |at| array::<4>(bytes, at).map(|address| std::net::Ipv4Addr::from(address).to_ipv6_mapped());
            return Some(Self {
                datagram: Datagram {
                    source: address(12)?.octets(),
                    destination: address(16)?.octets(),
                    protocol: *bytes.get(9)?,
                    id: u32::from(be16(bytes, 4)?),
                    vrf,
                    guest: VifId::NONE,
                },
                offset: u32::from(field & 0x1fff) * 8,
                len: u32::from(be16(bytes, 2)?).saturating_sub(header as u32),
                more: field & 0x2000 != 0,
            });
        }
        if *bytes.get(6)? != FRAGMENT {
            return None;
        }
        let field = be16(bytes, INET6 + 2)?;
        if field & 0xfff9 == 0 {
            return None;
        }
        Some(Self {
            datagram: Datagram {
                source: array(bytes, 8)?,
                destination: array(bytes, 24)?,
                protocol: *bytes.get(INET6)?,
                id: be32(bytes, INET6 + 4)?,
                vrf,
                guest: VifId::NONE,
            },
            offset: u32::from(field & 0xfff8),
            len: u32::from(be16(bytes, 4)?).saturating_sub(FRAGMENT_HEADER as u32),
            more: field & 1 != 0,
        })
    }
}

struct Known {
    ports: [u8; 4],
    since: Now,
    received: u32,
    /// Length of the datagram, once its last fragment was seen.
    total: Option<u32>,
}

struct Waiting {
    datagram: Datagram,
    since: Now,
    pkt: Pkt,
    resume: Resume,
}

/// The datagrams of one worker whose fragments are passing.
pub(crate) struct Fragments {
    known: HashMap<Datagram, Known>,
    /// How many of the known ones each guest has.
    shares: HashMap<VifId, usize>,
    waiting: Vec<Waiting>,
    /// Fragments that are taken from those that wait; empty but for that moment.
    leaving: Vec<Waiting>,
    /// A datagram whose first fragment is being processed: then what waits for it is released.
    opened: Option<Datagram>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self {
            known: HashMap::with_capacity(DATAGRAMS),
            shares: HashMap::new(),
            waiting: Vec::with_capacity(WAITING),
            leaving: Vec::with_capacity(WAITING),
            opened: None,
        }
    }
}

/// How many of `all` places the packets of a guest may take, or those of the fabric.
fn share(guest: VifId, all: usize) -> usize {
    all / if guest == VifId::NONE { FABRIC_SHARE } else { GUEST_SHARE }
}

impl Fragments {
    /// Remembers a datagram; `false` if its sender has too many.
    fn remember(&mut self, datagram: Datagram, known: Known) -> bool {
        let share = self.shares.entry(datagram.guest).or_default();
        let fresh = !self.known.contains_key(&datagram);
        if fresh && (*share >= self::share(datagram.guest, DATAGRAMS) || self.known.len() >= DATAGRAMS) {
            return false;
        }
        *share += usize::from(fresh);
        self.known.insert(datagram, known);
        true
    }

    fn forget(&mut self, datagram: &Datagram) {
        if self.known.remove(datagram).is_some()
            && let Some(share) = self.shares.get_mut(&datagram.guest)
        {
            *share -= 1;
        }
    }

    fn forget_all(&mut self, old: impl Fn(Now) -> bool) {
        self.known.retain(|_, known| !old(known.since));
        self.shares.clear();
        for datagram in self.known.keys() {
            *self.shares.entry(datagram.guest).or_default() += 1;
        }
    }

    /// Whether there is room for one more fragment that waits.
    fn has_room(&self, pkt: &Pkt, datagram: &Datagram) -> bool {
        let of_sender = |waiting: &&Waiting| waiting.datagram.guest == datagram.guest;
        let in_supers = |waiting: &&Waiting| waiting.pkt.frame.is_super();
        self.waiting.len() < WAITING
            && self.waiting.iter().filter(of_sender).count() < share(datagram.guest, WAITING)
            && !(pkt.frame.is_super() && self.waiting.iter().filter(in_supers).count() >= WAITING_SUPERS)
    }

    /// Takes out fragments that wait, in their order.
    fn take(&mut self, wanted: impl Fn(&Waiting) -> bool) -> Vec<Waiting> {
        let mut leaving = std::mem::take(&mut self.leaving);
        leaving.extend(self.waiting.extract_if(.., |waiting| wanted(waiting)));
        leaving
    }

    /// Counts a fragment of a known datagram; forgets the datagram when it is complete.
    fn count(&mut self, fragment: &Fragment) {
        let Some(known) = self.known.get_mut(&fragment.datagram) else { return };
        known.received = known.received.saturating_add(fragment.len);
        if !fragment.more {
            known.total = Some(fragment.offset + fragment.len);
        }
        if known.total.is_some_and(|total| known.received >= total) {
            self.forget(&fragment.datagram);
        }
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        self.waiting.drain(..).for_each(|waiting| pool.free(waiting.pkt.frame));
        self.known.clear();
        self.shares.clear();
    }
}

/// Whether a packet is a fragment, the first one or a later one.
pub(super) fn is_fragment(pkt: &Pkt) -> bool {
    Fragment::of(pkt).is_some()
}

/// Whether a packet is a fragment without ports of its own.
pub(super) fn is_later_fragment(pkt: &Pkt) -> bool {
    Fragment::of(pkt).is_some_and(|fragment| fragment.offset != 0)
}

impl Full<'_> {
    fn fragment_of(&self, pkt: &Pkt) -> Option<Fragment> {
        let mut fragment = Fragment::of(pkt)?;
        if self.ingress_kind(pkt).is_some_and(VifKind::is_guest) {
            fragment.datagram.guest = pkt.vif;
        }
        Some(fragment)
    }

    /// The packet has this key. The ports of a first fragment are remembered while there is room: without, it goes
    /// on alone.
    pub(super) fn remember_first_fragment(&mut self, pkt: &Pkt, key: &FlowKey) {
        let Some(fragment) = self.fragment_of(pkt).filter(|fragment| fragment.offset == 0) else { return };
        let ([a, b], [c, d]) = (key.source_port(), key.destination_port());
        let known = Known { ports: [a, b, c, d], since: self.now, received: 0, total: None };
        let fragments = &mut self.memory.fragments;
        if fragments.remember(fragment.datagram, known) {
            fragments.count(&fragment);
            fragments.opened = Some(fragment.datagram);
        }
    }

    /// The key of a later fragment, `portless` but for that; the fragment has to wait if it is not known yet.
    pub(super) fn key_of_later_fragment(
        &mut self,
        pkt: &Pkt,
        portless: &FlowKey,
        resume: Resume,
    ) -> Step<FlowKey> {
        let fragment = self.fragment_of(pkt).ok_or(DropReason::Misc)?;
        let fragments = &mut self.memory.fragments;
        let Some(known) = fragments.known.get(&fragment.datagram) else {
            return Err(Stop::AwaitFirstFragment(fragment.datagram, resume));
        };
        let key = flow_key::with_ports(portless, known.ports).ok_or(DropReason::Misc)?;
        fragments.count(&fragment);
        Ok(key)
    }

    /// Source and destination port of the datagram that a fragment belongs to, if its first one has passed.
    pub(super) fn ports_of_datagram(&self, pkt: &Pkt) -> Option<[u8; 4]> {
        let fragment = self.fragment_of(pkt)?;
        self.memory.fragments.known.get(&fragment.datagram).map(|known| known.ports)
    }

    /// Keeps a fragment until the first one of its datagram comes.
    pub(super) fn await_first_fragment(&mut self, pkt: Pkt, datagram: Datagram, resume: Resume) {
        let since = self.now;
        if !self.memory.fragments.has_room(&pkt, &datagram) {
            return self.drop(pkt, DropReason::FragmentQueueFail);
        }
        self.memory.fragments.waiting.push(Waiting { datagram, since, pkt, resume });
    }

    /// After a packet: if it was a first fragment, those that waited for it go on.
    pub(super) fn release_fragments(&mut self) {
        let Some(datagram) = self.memory.fragments.opened.take() else { return };
        let mut released = self.memory.fragments.take(|waiting| waiting.datagram == datagram);
        for Waiting { mut pkt, resume, .. } in released.drain(..) {
            pkt.flow_wanted = true;
            let resume = self.find_again(&mut pkt, resume);
            let end = match resume.and_then(|resume| self.flow(&mut pkt, resume).map(|()| resume)) {
                Ok(resume) => self.resume(&mut pkt, resume),
                // The datagram was forgotten meanwhile; nobody else will release this fragment.
                Err(Stop::AwaitFirstFragment(..)) => Stop::Drop(DropReason::NoFragEntry),
                Err(stop) => stop,
            };
            self.finish(pkt, end);
        }
        self.memory.fragments.leaving = released;
    }

    /// Forgets datagrams that are too old and drops fragments that have waited too long.
    pub(crate) fn expire_fragments(&mut self) {
        let now = self.now.0;
        self.end_datagrams(|since| now.saturating_sub(since.0) > PATIENCE);
    }

    /// Forgets all datagrams: numbers of interfaces and VRFs may mean others from now on.
    pub(crate) fn forget_fragments(&mut self) {
        self.end_datagrams(|_| true);
    }

    fn end_datagrams(&mut self, old: impl Fn(Now) -> bool) {
        self.memory.fragments.forget_all(&old);
        let mut late = self.memory.fragments.take(|waiting| old(waiting.since));
        for waiting in late.drain(..) {
            self.drop(waiting.pkt, DropReason::FragErr);
        }
        self.memory.fragments.leaving = late;
    }
}
