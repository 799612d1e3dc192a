//! Flow processing: lookup, creation, source check, action (forwarding.md 6.2, 6.5 to 6.7).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::epochs::NexthopGroup;
use vr_tables::flow::{FlowAction, FlowFlags, SharedFlow, Source, Translation};
use vr_tables::nexthop::{Nexthop, NexthopAction, NexthopFlags};
use vr_tables::vif::VifFlags;
use vr_types::{DropReason, FlowIndex, MirrorId, NexthopId, Release, VrfId};

use super::flow_key::Keyed;
use super::ip::inet_header_len;
use super::pkt::Compilable;
use super::{Full, Kind, Pkt, Resume};
use crate::bytes::{array, be16, put};
use crate::verdict::{Step, Stop};

/// What a packet needs of its flow's entry, read at one moment.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) action: u16,
    pub(super) flags: FlowFlags,
    pub(super) vrf: VrfId,
    pub(super) dvrf: VrfId,
    ttl: u8,
    pub(super) reverse: FlowIndex,
    source_nexthop: NexthopId,
    ecmp: i8,
    underlay: i8,
    udp_source_port: u16,
    mirrors: [MirrorId; 2],
}

impl Entry {
    fn of(shared: &SharedFlow) -> Self {
        Self {
            action: shared.action.load(Relaxed),
            flags: shared.flags(),
            vrf: VrfId(shared.vrf.load(Relaxed)),
            dvrf: VrfId(shared.dvrf.load(Relaxed)),
            ttl: shared.ttl.load(Relaxed),
            reverse: FlowIndex(shared.reverse.load(Relaxed)),
            source_nexthop: NexthopId(shared.source_nexthop.load(Relaxed)),
            ecmp: shared.ecmp_index.load(Relaxed),
            underlay: shared.underlay_ecmp.load(Relaxed),
            udp_source_port: shared.udp_source_port.load(Relaxed),
            mirrors: [&shared.mirror, &shared.mirror2].map(|id| MirrorId(id.load(Relaxed))),
        }
    }

    /// The reverse flow, if one is named.
    fn linked(&self) -> Option<FlowIndex> {
        (self.flags.contains(FlowFlags::RFLOW_VALID) && self.reverse != FlowIndex::NONE)
            .then_some(self.reverse)
    }
}

/// Result of a source check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceCheck {
    Valid,
    /// Another member of the composite.
    Mismatch(i8),
    Invalid,
}

impl Full<'_> {
    /// Looks up the packet's flow where that is due and applies its action. `resume` says where the packet
    /// goes on if it has to wait for the agent.
    pub(super) fn flow(&mut self, pkt: &mut Pkt, resume: Resume) -> Step {
        if !self.flow_is_due(pkt) {
            return Ok(());
        }
        let key = match self.key(pkt) {
            Ok(Keyed::Key(key)) => {
                if self.is_tunnel_packet(pkt) {
                    return Ok(());
                }
                self.remember_first_fragment(pkt, &key);
                key
            }
            Ok(Keyed::NoFlow) => {
                pkt.flow_done = true;
                return Ok(());
            }
            Ok(Keyed::LaterFragment(portless)) => self.key_of_later_fragment(pkt, &portless, resume)?,
            Err(_) => return Err(DropReason::Misc.into()),
        };
        pkt.flow_done = true;
        let key = self.aggregate(pkt, &key);
        let hash = key.hash();
        match self.flows.find(&key, hash) {
            Some(index) => self.flow_hit(pkt, index, resume),
            None => self.flow_miss(pkt, &key, hash, resume),
        }
    }

    fn flow_is_due(&self, pkt: &Pkt) -> bool {
        let Some(vif) = self.tables.vif(pkt.vif) else { return false };
        let tagged = pkt.vlan.is_some() && !vif.flags.contains(VifFlags::SERVICE_IF);
        if pkt.multicast || tagged || !pkt.kind.is_ip() || pkt.flow_done {
            return false;
        }
        let policy = vif.flags.contains(VifFlags::POLICY);
        if pkt.kind == Kind::Inet6 {
            // R2.20 has no IPv6 flows: nobody would answer for one.
            return (pkt.flow_wanted || policy) && self.tables.options.release == Release::Current;
        }
        let Some(destination) = array::<4>(pkt.l3(), 16) else { return policy || pkt.flow_wanted };
        let link_local = vif.kind.is_host_side() && destination[..2] == [169, 254];
        let group = destination[0] & 0xf0 == 0xe0 || destination == [255; 4];
        (pkt.flow_wanted || policy && !link_local) && !group
    }

    /// Where the packet came from, as entries remember it.
    pub(super) fn source_info(&self, pkt: &Pkt) -> u32 {
        match pkt.outer_source {
            Some(peer) => self.tables.peer(peer).bits(),
            None if self.from_underlay(pkt) => Source::UNKNOWN.bits(),
            None => u32::from(pkt.vif.0),
        }
    }

    pub(super) fn flow_hit(&mut self, pkt: &mut Pkt, index: FlowIndex, resume: Resume) -> Step {
        let Some((entry, mut state)) = self.flows.read(index, Entry::of) else {
            return Err(DropReason::FlowUnusable.into());
        };
        if entry.flags.contains(FlowFlags::EVICT_CANDIDATE) {
            return Err(DropReason::FlowEvict.into());
        }
        if let Some(shared) = self.flows.shared(index) {
            let info = self.source_info(pkt);
            if shared.source_info.load(Relaxed) != info {
                shared.source_info.store(info, Relaxed);
                // What was compiled for the former source would not notice when packets come from it again.
                if let Some(hot) = self.flows.hot(index) {
                    state = hot.void(state);
                }
            }
        }
        pkt.flow = Some(index);
        self.track_tcp(pkt, index, &entry);
        self.flows.count(index, self.worker, pkt.frame.len());
        if entry.action == FlowAction::Hold as u16 {
            return Err(Stop::Hold(index, resume));
        }
        if entry.flags.contains(FlowFlags::NEW_FLOW) {
            self.show_again(pkt, index);
        }
        let arrival = pkt.nexthop;
        let applied = self.apply(pkt, index, &entry);
        self.evict_if_over(index);
        let translation = applied?;
        if state.is_simple() && self.check_lasts(index, &entry) && self.flows.claim(index, self.worker) {
            let checked_by = self.tables.nexthop_slot(entry.source_nexthop).map(NexthopGroup::of);
            pkt.compilable = checked_by.and_then(|checked_by| {
                let translation = if state.translates() { Some(translation?) } else { None };
                let (way, moved) = (pkt.nexthop, pkt.nexthop != arrival);
                Some(Compilable { state, checked_by, translation, way, moved, member: None })
            });
        }
        Ok(())
    }

    /// Applies the action of an entry that is not in HOLD; also to packets that waited for it.
    pub(super) fn apply_flow(&mut self, pkt: &mut Pkt, index: FlowIndex) -> Step {
        let (entry, _) = self.flows.read(index, Entry::of).ok_or(DropReason::FlowActionDrop)?;
        self.apply(pkt, index, &entry).map(|_| ())
    }

    /// Gives what was written into a translated packet if that may be compiled.
    fn apply(&mut self, pkt: &mut Pkt, index: FlowIndex, entry: &Entry) -> Step<Option<Translation>> {
        pkt.ecmp = entry.ecmp;
        pkt.underlay = entry.underlay;
        pkt.udp_source_port = entry.udp_source_port;
        pkt.ecmp_source = self.reverse(entry).map_or(-1, |(_, reverse)| reverse.ecmp_index.load(Relaxed));
        self.check_source(pkt, entry)?;
        pkt.vrf = entry.vrf;
        if entry.flags.contains(FlowFlags::VRFT) && entry.dvrf != entry.vrf {
            pkt.vrf = entry.dvrf;
            pkt.to_me = true;
        }
        if entry.flags.contains(FlowFlags::MIRROR) {
            entry.mirrors.iter().for_each(|id| self.mirror_flow(pkt, index, *id));
        }
        let translation = match FlowAction::from_number(entry.action) {
            Some(FlowAction::Drop) => return Err(DropReason::FlowActionDrop.into()),
            Some(FlowAction::Forward) => None,
            Some(FlowAction::Nat) => self.nat(pkt, index, entry)?,
            Some(FlowAction::Hold) | None => return Err(DropReason::FlowActionInvalid.into()),
        };
        if entry.ttl != 0 && pkt.kind == Kind::Inet {
            set_ttl(pkt.l3_mut(), entry.ttl);
        }
        Ok(translation)
    }

    /// The reverse flow of an entry, if it is linked and still there.
    pub(super) fn reverse(&self, entry: &Entry) -> Option<(FlowIndex, &SharedFlow)> {
        let linked = entry.linked().filter(|linked| self.flows.in_use(*linked))?;
        Some((linked, self.flows.shared(linked)?))
    }

    /// Whether the packet came from where its flow says (forwarding.md 6.6).
    fn check_source(&mut self, pkt: &Pkt, entry: &Entry) -> Step {
        let nexthop = self.tables.nexthop_by_id(entry.source_nexthop).ok_or(DropReason::InvalidNh)?;
        match self.source_of(pkt, nexthop) {
            SourceCheck::Valid => Ok(()),
            SourceCheck::Invalid => Err(DropReason::InvalidSource.into()),
            SourceCheck::Mismatch(member) => {
                // Replies follow the source that moved.
                let (linked, reverse) = self.reverse(entry).ok_or(DropReason::InvalidSource)?;
                if reverse.ecmp_index.swap(member, Relaxed) != member {
                    self.flows.show(linked);
                    self.flows.void(linked);
                }
                Ok(())
            }
        }
    }

    /// Whether the result of a source check may be compiled. That of a composite depends on the reverse flow, whose end
    /// voids what was compiled only where the two point to each other.
    fn check_lasts(&self, index: FlowIndex, entry: &Entry) -> bool {
        let nexthop = self.tables.nexthop_by_id(entry.source_nexthop);
        !nexthop.is_some_and(|nexthop| matches!(nexthop.action, NexthopAction::Composite(_)))
            || self.reverse(entry).is_none_or(|(_, reverse)| reverse.reverse.load(Relaxed) == index.0)
    }

    fn source_of(&self, pkt: &Pkt, nexthop: &Nexthop) -> SourceCheck {
        let valid = match &nexthop.action {
            NexthopAction::Encap(encap) => pkt.vif == encap.vif,
            NexthopAction::Tunnel(tunnel) => pkt.outer_source == Some(tunnel.destination),
            NexthopAction::UdpTunnel(tunnel) => pkt.outer_source == Some(tunnel.destination),
            NexthopAction::Composite(composite) if nexthop.flags.contains(NexthopFlags::COMPOSITE_ECMP) => {
                let check = |position: usize| {
                    let member = composite.members.get(position).copied().flatten()?;
                    Some(self.source_of(pkt, self.tables.nexthop(member.nexthop)?))
                };
                let expected = usize::try_from(pkt.ecmp_source).ok().and_then(check);
                if expected == Some(SourceCheck::Valid) {
                    return SourceCheck::Valid;
                }
                return (0..composite.members.len())
                    .find_map(|position| match check(position)? {
                        SourceCheck::Valid => Some(SourceCheck::Mismatch(position as i8)),
                        inner @ SourceCheck::Mismatch(_) => Some(inner),
                        SourceCheck::Invalid => None,
                    })
                    .unwrap_or(SourceCheck::Invalid);
            }
            _ => true,
        };
        if valid { SourceCheck::Valid } else { SourceCheck::Invalid }
    }
}

/// Writes a TTL into the IPv4 header at the start of `bytes` and mends its checksum.
fn set_ttl(bytes: &mut [u8], ttl: u8) {
    if inet_header_len(bytes).is_err() {
        return;
    }
    let (Some(old), Some(check)) = (be16(bytes, 8), be16(bytes, 10)) else { return };
    let new = u16::from_be_bytes([ttl, old as u8]);
    put(bytes, 8, new.to_be_bytes());
    put(bytes, 10, vr_wire::checksum::update_16(check, old, new).to_be_bytes());
}
