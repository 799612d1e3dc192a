//! ECMP: one member of a composite nexthop (forwarding.md 4.12).

use std::sync::atomic::Ordering::Relaxed;

use vr_tables::flow::{FlowFlags, FlowKey, SharedFlow};
use vr_tables::nexthop::{Composite, Member, NexthopAction, NexthopFlags, NexthopSlot};
use vr_types::{DropReason, FlowIndex};
use vr_wire::hash;

use super::flow_key::Keyed;
use super::fragments::is_fragment;
use super::pkt::Compilable;
use super::{Full, Pkt};
use crate::bytes::array;
use crate::verdict::Stop;

impl Full<'_> {
    /// ECMP: the member that the flow says, else one by the hash of the packet.
    pub(super) fn choose(
        &mut self,
        pkt: &mut Pkt,
        slot: NexthopSlot,
        flags: NexthopFlags,
        composite: &Composite,
    ) -> Stop {
        let at = |position: usize| composite.members.get(position).copied().flatten();
        let told = usize::try_from(pkt.ecmp).ok().and_then(at);
        let member = match told {
            Some(member) => member,
            None => match self.select(pkt, composite) {
                Some((position, member)) => {
                    let kept = self.remember_member(pkt, position);
                    usize::try_from(kept).ok().and_then(at).unwrap_or(member)
                }
                None => return Stop::Drop(DropReason::InvalidNh),
            },
        };
        let labels = !flags.contains(NexthopFlags::COMPOSITE_LU_ECMP);
        if labels {
            pkt.label = member.label;
            pkt.label_is_vni = false;
        }
        // What was compiled looks the member up once, by the position that the entry names.
        let position =
            u8::try_from(pkt.ecmp).ok().filter(|position| labels && at(usize::from(*position)).is_some());
        pkt.compilable = pkt
            .compilable
            .take()
            .filter(|compilable| compilable.member.is_none())
            .and_then(|compilable| Some(Compilable { member: Some((slot, position?)), ..compilable }));
        self.output(pkt, member.nexthop)
    }

    fn select(&self, pkt: &Pkt, composite: &Composite) -> Option<(i8, Member)> {
        let members = &composite.members;
        if let Some(found) = self.sticky_member(pkt, composite) {
            return Some(found);
        }
        let hash = self.member_hash(pkt, composite.hash_fields) as usize;
        let position = hash % members.len().max(1);
        if let Some(member) = members.get(position).copied().flatten() {
            return Some((position as i8, member));
        }
        let present = || members.iter().enumerate().filter_map(|(i, member)| Some((i as i8, (*member)?)));
        present().nth(hash % present().count().max(1))
    }

    /// The member from which the reverse flow's packets came.
    fn sticky_member(&self, pkt: &Pkt, composite: &Composite) -> Option<(i8, Member)> {
        if pkt.ecmp != -1 {
            return None;
        }
        let shared = self.flows.shared(pkt.flow?)?;
        if !shared.flags().contains(FlowFlags::RFLOW_VALID) {
            return None;
        }
        let reverse = FlowIndex(shared.reverse.load(Relaxed));
        // What an evicted flow has left in its slot counts no more.
        let info =
            self.flows.shared(reverse).filter(|_| self.flows.in_use(reverse))?.source_info.load(Relaxed);
        composite.members.iter().enumerate().find_map(|(position, member)| {
            let member = (*member)?;
            let matches = match &self.tables.nexthop(member.nexthop)?.action {
                NexthopAction::Tunnel(tunnel) => self.tables.peer(tunnel.destination).bits() == info,
                NexthopAction::Encap(encap) => u32::from(encap.vif.0) == info,
                _ => false,
            };
            matches.then_some((position as i8, member))
        })
    }

    /// Hash over the fields that the composite names, or of the flow's key.
    fn member_hash(&self, pkt: &Pkt, fields: u8) -> u32 {
        if let Some(key) = pkt.flow.and_then(|flow| self.flows.shared(flow)?.key()) {
            return key.hash().primary;
        }
        if !pkt.kind.is_ip() {
            let frame = pkt.bytes();
            let word = |at: usize| array::<4>(frame, at).map_or(0, u32::from_le_bytes);
            return hash::hash_words(&[word(0), word(4), word(8), u32::from(pkt.vrf.0)]).0;
        }
        let Ok(Keyed::Key(key) | Keyed::LaterFragment(key)) = self.key(pkt) else { return 0 };
        let fields = if fields == 0 { 0x1f } else { fields };
        let mut words = *key.words();
        // All fragments of a datagram have the same hash.
        if is_fragment(pkt) {
            words[1] = 0;
        }
        let keep = |bit: u8| fields & bit != 0;
        if !keep(1) {
            words[0] &= 0xff;
        }
        let (source, destination) = if key.is_inet6() { (3..7, 7..11) } else { (3..4, 4..5) };
        if !keep(2) {
            words[source].fill(0);
        }
        if !keep(4) {
            words[1] &= 0xffff_0000;
        }
        if !keep(8) {
            words[destination].fill(0);
        }
        if !keep(16) {
            words[1] &= 0x0000_ffff;
        }
        FlowKey::from_words(words).map_or(0, |key| key.hash().primary)
    }

    /// The flow keeps the member; whoever was first wins. Gives the winner.
    fn remember_member(&self, pkt: &mut Pkt, position: i8) -> i8 {
        if let Some(flow) = pkt.flow
            && let Some(shared) = self.flows.shared(flow)
        {
            let kept = shared.ecmp_index.compare_exchange(pkt.ecmp, position, Relaxed, Relaxed);
            self.flows.show(flow);
            if kept.is_ok() {
                self.void_member(pkt, flow, shared);
            }
            pkt.ecmp = kept.err().filter(|kept| *kept >= 0).unwrap_or(position);
        } else {
            pkt.ecmp = position;
        }
        pkt.ecmp
    }

    /// The packet's flow goes by another member: what was compiled for the flow is void, and for the one that it is linked
    /// to, whose source check compares with the member.
    fn void_member(&self, pkt: &mut Pkt, flow: FlowIndex, shared: &SharedFlow) {
        match (&mut pkt.compilable, self.flows.hot(flow)) {
            (Some(compilable), Some(hot)) => compilable.state = hot.void(compilable.state),
            _ => self.flows.void(flow),
        }
        self.flows.void(FlowIndex(shared.reverse.load(Relaxed)));
    }
}
