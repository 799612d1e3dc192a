//! Source check and action (forwarding.md 6.6, 6.7), and ECMP (4.12).

use vr_tables::flow::FlowFlags;
use vr_types::DropReason;

use super::{End, Entry, Model, Packet};
use crate::world::{BRIDGED, GUESTS, MEMBERS, Members, NO_NEXTHOP, PEERS, ROUTED, TUNNEL};

/// What a source check finds.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    Valid,
    Moved(i8),
    Invalid,
}

pub(super) fn members_of(nexthop: u32) -> Option<Members> {
    MEMBERS.iter().find(|(id, _)| *id == nexthop).map(|(_, members)| *members)
}

/// The guest that a nexthop leads to.
fn guest_behind(nexthop: u32) -> Option<usize> {
    ROUTED.iter().chain(&BRIDGED).position(|id| *id == nexthop).map(|position| position % GUESTS.len())
}

fn peer_behind(nexthop: u32) -> Option<[u8; 4]> {
    TUNNEL.iter().position(|id| *id == nexthop).map(|peer| PEERS[peer])
}

fn source_of(packet: &Packet, nexthop: u32) -> Source {
    let simple = |nexthop| match (guest_behind(nexthop), peer_behind(nexthop)) {
        (Some(guest), _) => packet.vif == GUESTS[guest],
        (_, Some(peer)) => packet.outer == Some(peer),
        _ => true,
    };
    let Some(members) = members_of(nexthop) else {
        return if simple(nexthop) { Source::Valid } else { Source::Invalid };
    };
    let fits = |position: usize| members.get(position).copied().flatten().is_some_and(|(id, _)| simple(id));
    if usize::try_from(packet.source_member).is_ok_and(fits) {
        return Source::Valid;
    }
    (0..members.len())
        .find(|position| fits(*position))
        .map_or(Source::Invalid, |found| Source::Moved(found as i8))
}

impl Model {
    pub(super) fn reverse(&self, entry: &Entry) -> Option<&Entry> {
        self.table.get(&entry.linked()?)
    }

    pub(super) fn apply(&mut self, packet: &mut Packet, index: u32) -> Result<(), End> {
        let entry = self.table[&index].clone();
        packet.member = entry.member;
        packet.source_member = self.reverse(&entry).map_or(-1, |reverse| reverse.member);
        if entry.source_nexthop == NO_NEXTHOP {
            return Err(DropReason::InvalidNh.into());
        }
        match source_of(packet, entry.source_nexthop) {
            Source::Valid => {}
            Source::Invalid => return Err(DropReason::InvalidSource.into()),
            Source::Moved(member) => {
                let reverse = entry.linked().and_then(|reverse| self.table.get_mut(&reverse));
                reverse.ok_or(DropReason::InvalidSource)?.member = member;
            }
        }
        packet.vrf = entry.vrf;
        if entry.flags.contains(FlowFlags::VRFT) && entry.dvrf != entry.vrf {
            (packet.vrf, packet.to_me) = (entry.dvrf, true);
        }
        for number in entry.mirrors {
            self.mirror(packet, number);
        }
        match entry.action {
            0 => return Err(DropReason::FlowActionDrop.into()),
            2 => {}
            3 => self.translate(packet, &entry)?,
            _ => return Err(DropReason::FlowActionInvalid.into()),
        }
        if entry.ttl != 0 && !packet.is_inet6() {
            packet.set_ttl(entry.ttl);
        }
        Ok(())
    }

    /// Chooses the member of an ECMP nexthop: what the flow says, else where its reverse flow comes from, else by hash.
    pub(super) fn choose(&mut self, packet: &mut Packet, members: Members) -> End {
        let told =
            usize::try_from(packet.member).ok().and_then(|member| members.get(member).copied().flatten());
        let member = told.unwrap_or_else(|| {
            let position = self.member_for(packet, &members);
            let mut kept = position as i8;
            if let Some(entry) = packet.flow.and_then(|flow| self.table.get_mut(&flow)) {
                // The source check may have written it since the packet read it.
                if entry.member == packet.member {
                    entry.member = kept;
                }
                kept = entry.member;
            }
            packet.member = kept;
            members.get(kept as usize).copied().flatten().or(members[position]).unwrap()
        });
        packet.label = Some(member.1);
        self.output(packet, member.0)
    }

    fn member_for(&self, packet: &Packet, members: &Members) -> usize {
        let entry = packet.flow.map(|flow| &self.table[&flow]);
        if packet.member == -1
            && let Some(reverse) = entry.and_then(|entry| self.reverse(entry))
        {
            let is_source = |(id, _): (u32, u32)| match (guest_behind(id), peer_behind(id)) {
                (Some(guest), _) => reverse.source == u32::from(GUESTS[guest].0),
                (_, Some(peer)) => reverse.source == u32::from_le_bytes(peer),
                _ => false,
            };
            if let Some(found) = members.iter().position(|member| member.is_some_and(is_source)) {
                return found;
            }
        }
        let hash = match entry {
            Some(entry) => entry.key.hash().primary,
            None => hash_without_flow(packet),
        } as usize;
        if members[hash % members.len()].is_some() {
            return hash % members.len();
        }
        let active: Vec<_> = (0..members.len()).filter(|position| members[*position].is_some()).collect();
        active[hash % active.len()]
    }
}

fn hash_without_flow(packet: &Packet) -> u32 {
    match super::key::key(packet) {
        Ok(super::key::Keyed::Key(key)) if super::fragments::is_whole(packet) => key.hash().primary,
        Ok(super::key::Keyed::Key(key) | super::key::Keyed::Portless(key)) => {
            let mut words = *key.words();
            words[1] = 0;
            vr_tables::flow::FlowKey::from_words(words).unwrap().hash().primary
        }
        Err(_) => 0,
    }
}
