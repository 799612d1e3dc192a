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
    waiting: Vec<Waiting>,
    /// A datagram whose first fragment is being processed: then what waits for it is released.
    opened: Option<Datagram>,
}

impl Default for Fragments {
    fn default() -> Self {
        Self { known: HashMap::with_capacity(DATAGRAMS), waiting: Vec::with_capacity(WAITING), opened: None }
    }
}

impl Fragments {
    /// Counts a fragment of a known datagram; forgets the datagram when it is complete.
    fn count(&mut self, fragment: &Fragment) {
        let Some(known) = self.known.get_mut(&fragment.datagram) else { return };
        known.received = known.received.saturating_add(fragment.len);
        if !fragment.more {
            known.total = Some(fragment.offset + fragment.len);
        }
        if known.total.is_some_and(|total| known.received >= total) {
            self.known.remove(&fragment.datagram);
        }
    }

    /// Gives all frames back.
    pub(crate) fn clear(&mut self, pool: &mut FramePool) {
        self.waiting.drain(..).for_each(|waiting| pool.free(waiting.pkt.frame));
        self.known.clear();
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

    /// The packet has this key. The ports of a first fragment are remembered.
    pub(super) fn remember_first_fragment(&mut self, pkt: &Pkt, key: &FlowKey) -> Step {
        let Some(fragment) = self.fragment_of(pkt).filter(|fragment| fragment.offset == 0) else {
            return Ok(());
        };
        let fragments = &mut self.memory.fragments;
        let room = fragments.known.len() < DATAGRAMS || fragments.known.contains_key(&fragment.datagram);
        if !room {
            return Err(DropReason::FlowUnusable.into());
        }
        let ([a, b], [c, d]) = (key.source_port(), key.destination_port());
        fragments.known.insert(
            fragment.datagram,
            Known { ports: [a, b, c, d], since: self.now, received: 0, total: None },
        );
        fragments.count(&fragment);
        fragments.opened = Some(fragment.datagram);
        Ok(())
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

    /// Keeps a fragment until the first one of its datagram comes.
    pub(super) fn await_first_fragment(&mut self, pkt: Pkt, datagram: Datagram, resume: Resume) {
        let since = self.now;
        let waiting = &mut self.memory.fragments.waiting;
        if waiting.len() >= WAITING {
            return self.drop(pkt, DropReason::FragmentQueueFail);
        }
        waiting.push(Waiting { datagram, since, pkt, resume });
    }

    /// After a packet: if it was a first fragment, those that waited for it go on.
    pub(super) fn release_fragments(&mut self) {
        let Some(datagram) = self.memory.fragments.opened.take() else { return };
        while let Some(Waiting { mut pkt, resume, .. }) = {
            let waiting = &mut self.memory.fragments.waiting;
            waiting.iter().position(|waiting| waiting.datagram == datagram).map(|at| waiting.remove(at))
        } {
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
    }

    /// Forgets datagrams that are too old and drops fragments that have waited too long.
    pub(crate) fn expire_fragments(&mut self) {
        let now = self.now.0;
        let old = |since: Now| now.saturating_sub(since.0) > PATIENCE;
        self.memory.fragments.known.retain(|_, known| !old(known.since));
        while let Some(at) = self.memory.fragments.waiting.iter().position(|waiting| old(waiting.since)) {
            let waiting = self.memory.fragments.waiting.remove(at);
            self.drop(waiting.pkt, DropReason::FragErr);
        }
    }
}
