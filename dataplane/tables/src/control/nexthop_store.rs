use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashSet;
use vr_types::NexthopId;

use super::CommandError;
use super::nexthop::NexthopSpec;
use crate::deferred::Deferred;
use crate::grace::Grace;
use crate::nexthop::{Nexthop, NexthopAction, NexthopSlot};
use crate::snapshot::Snapshot;

/// Slots that references have bits for: compiled flows keep 21.
const MAX_SLOTS: u32 = (1 << 21) - 1;

/// What is known of the object in a slot.
pub(super) struct Stored {
    /// As GET shows it.
    pub(super) spec: NexthopSpec,
    /// Length of the rewrite for which the object was made; later ones have to be as long.
    pub(super) rewrite_len: usize,
    /// Routes, labels, VNIs, composites and bridge entries that refer to it.
    references: u32,
    /// Of these other nexthops.
    parents: u32,
    /// Whether its id leads to it.
    listed: bool,
}

/// Positions of nexthop objects and who refers to them. An object outlives its id while it is referred to.
#[derive(Default)]
pub(super) struct NexthopStore {
    slots: Vec<Option<Box<Stored>>>,
    free: Vec<NexthopSlot>,
    retired: Deferred<NexthopSlot>,
    listed: usize,
}

impl NexthopStore {
    /// With the built-in discard nexthop only.
    pub(super) fn new(snapshot: &mut Snapshot) -> Self {
        let mut store = Self::default();
        let spec = NexthopSpec::discard();
        let stored = Stored { spec, rewrite_len: 0, references: 1, parents: 0, listed: true };
        store.slots.push(Some(Box::new(stored)));
        store.listed = 1;
        snapshot.nexthops.set(NexthopSlot::DISCARD.index(), Some(Nexthop::discard()));
        snapshot.nexthop_slots.set(NexthopId::DISCARD.index(), Some(NexthopSlot::DISCARD));
        store
    }

    /// How many ids are in use.
    pub(super) const fn len(&self) -> usize {
        self.listed
    }

    /// The object in a slot.
    pub(super) fn get(&self, slot: NexthopSlot) -> Option<&Stored> {
        self.slots.get(slot.index())?.as_deref()
    }

    /// The id under which the object in a slot is, or was, known.
    pub(super) fn id(&self, slot: NexthopSlot) -> NexthopId {
        self.get(slot).map_or(NexthopId::DISCARD, |stored| stored.spec.id)
    }

    /// How many refer to an object, its id included.
    pub(super) fn references(&self, slot: NexthopSlot) -> u32 {
        self.get(slot).map_or(0, |stored| stored.references + u32::from(stored.listed))
    }

    /// Puts a new object into a free slot and lets its id lead there.
    pub(super) fn add(
        &mut self,
        snapshot: &mut Snapshot,
        spec: NexthopSpec,
        nexthop: Nexthop,
        rewrite_len: usize,
    ) -> Result<(), CommandError> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < MAX_SLOTS as usize => {
                self.slots.push(None);
                NexthopSlot(self.slots.len() as u32 - 1)
            }
            None => return Err(CommandError::NoMemory("nexthop")),
        };
        self.acquire_all(snapshot, &nexthop);
        snapshot.nexthop_slots.set(spec.id.index(), Some(slot));
        snapshot.nexthops.set(slot.index(), Some(nexthop));
        let stored = Stored { spec, rewrite_len, references: 0, parents: 0, listed: true };
        self.slots[slot.index()] = Some(Box::new(stored));
        self.listed += 1;
        Ok(())
    }

    /// Replaces the contents of an object; its users see the new ones.
    pub(super) fn replace(
        &mut self,
        snapshot: &mut Snapshot,
        slot: NexthopSlot,
        spec: NexthopSpec,
        nexthop: Nexthop,
        rewrite_len: usize,
    ) {
        self.acquire_all(snapshot, &nexthop);
        let old = snapshot.nexthop(slot).cloned();
        if let Some(old) = &old {
            self.void_compiled(snapshot, slot, old, &nexthop);
        }
        snapshot.nexthops.set(slot.index(), Some(nexthop));
        if let Some(stored) = self.slots[slot.index()].as_deref_mut() {
            stored.spec = spec;
            stored.rewrite_len = rewrite_len;
        }
        if let Some(old) = old {
            self.release_all(snapshot, &old);
        }
    }

    /// The fast lanes read the nexthop by which a packet leaves whenever they use it. What was compiled
    /// depends on the nexthops before that one: those that lead to ourselves, and those of source checks.
    fn void_compiled(&self, snapshot: &mut Snapshot, slot: NexthopSlot, old: &Nexthop, new: &Nexthop) {
        let other_source = !checks_alike(old, new);
        if other_source {
            snapshot.nexthop_epochs.advance(slot);
        }
        let is_member = self.get(slot).is_some_and(|stored| stored.parents > 0);
        if leads_to_us(old) || leads_to_us(new) || other_source && is_member {
            snapshot.advance_epoch();
        }
    }

    /// Takes the id from its object; says whether it had one.
    pub(super) fn remove(&mut self, snapshot: &mut Snapshot, id: NexthopId) -> bool {
        let Some(slot) = snapshot.nexthop_slots.get(id.index()).copied() else { return false };
        snapshot.nexthop_slots.set(id.index(), None);
        snapshot.nexthop_epochs.advance(slot);
        self.listed -= 1;
        if let Some(stored) = self.slots[slot.index()].as_deref_mut() {
            stored.listed = false;
            if stored.references == 0 {
                self.drop_object(snapshot, slot);
            }
        }
        true
    }

    /// One more user of an object.
    pub(super) fn acquire(&mut self, slot: NexthopSlot) {
        if let Some(Some(stored)) = self.slots.get_mut(slot.index()) {
            stored.references += 1;
        }
    }

    /// One user less; an object without id and users goes.
    pub(super) fn release(&mut self, snapshot: &mut Snapshot, slot: NexthopSlot) {
        if let Some(Some(stored)) = self.slots.get_mut(slot.index()) {
            stored.references = stored.references.saturating_sub(1);
            if stored.references == 0 && !stored.listed {
                self.drop_object(snapshot, slot);
            }
        }
    }

    fn drop_object(&mut self, snapshot: &mut Snapshot, slot: NexthopSlot) {
        let object = snapshot.nexthop(slot).cloned();
        snapshot.nexthops.set(slot.index(), None);
        // What was found out for the object must not meet its successor in the slot.
        snapshot.nexthop_epochs.advance(slot);
        self.slots[slot.index()] = None;
        self.retired.push(slot);
        if let Some(object) = object {
            self.release_all(snapshot, &object);
        }
    }

    fn acquire_all(&mut self, snapshot: &mut Snapshot, nexthop: &Nexthop) {
        for slot in parts(nexthop) {
            self.acquire(slot);
            self.change_parents(slot, 1);
        }
        if let Some(address) = inet6_peer(nexthop) {
            Arc::make_mut(&mut snapshot.peers).add(address);
        }
    }

    fn release_all(&mut self, snapshot: &mut Snapshot, nexthop: &Nexthop) {
        for slot in parts(nexthop) {
            self.change_parents(slot, -1);
            self.release(snapshot, slot);
        }
        if let Some(address) = inet6_peer(nexthop) {
            Arc::make_mut(&mut snapshot.peers).remove(address);
        }
    }

    fn change_parents(&mut self, slot: NexthopSlot, by: i32) {
        if let Some(Some(stored)) = self.slots.get_mut(slot.index()) {
            stored.parents = stored.parents.saturating_add_signed(by);
        }
    }

    /// Whether `nexthop` leads to `target` through composites, which would make packets go round.
    pub(super) fn leads_to(snapshot: &Snapshot, nexthop: &Nexthop, target: NexthopSlot) -> bool {
        let mut seen = HashSet::new();
        let mut open: Vec<NexthopSlot> = parts(nexthop).collect();
        while let Some(slot) = open.pop() {
            if slot == target {
                return true;
            }
            if seen.insert(slot)
                && let Some(part) = snapshot.nexthop(slot)
            {
                open.extend(parts(part));
            }
        }
        false
    }

    /// After a publication: slots given up before it are free when the workers have moved on.
    pub(super) fn published(&mut self, grace: &Grace) {
        self.retired.seal(grace);
        self.recycle(grace);
    }

    /// Makes slots available whose grace period is over.
    pub(super) fn recycle(&mut self, grace: &Grace) {
        while let Some(slots) = self.retired.take(grace) {
            self.free.extend(slots);
        }
    }
}

/// Whether packets go on to another lookup by it, or up to the host.
const fn leads_to_us(nexthop: &Nexthop) -> bool {
    matches!(nexthop.action, NexthopAction::L2Receive | NexthopAction::Receive(_))
}

/// Whether source checks find the same (forwarding.md 6.6).
fn checks_alike(old: &Nexthop, new: &Nexthop) -> bool {
    match (&old.action, &new.action) {
        (NexthopAction::Encap(old), NexthopAction::Encap(new)) => old.vif == new.vif,
        (NexthopAction::Tunnel(old), NexthopAction::Tunnel(new)) => old.destination == new.destination,
        (NexthopAction::UdpTunnel(old), NexthopAction::UdpTunnel(new)) => old.destination == new.destination,
        (NexthopAction::Composite(a), NexthopAction::Composite(b)) => {
            a.members == b.members && old.flags == new.flags
        }
        (old, new) => !is_checked(old) && !is_checked(new),
    }
}

const fn is_checked(action: &NexthopAction) -> bool {
    matches!(
        action,
        NexthopAction::Encap(_)
            | NexthopAction::Tunnel(_)
            | NexthopAction::UdpTunnel(_)
            | NexthopAction::Composite(_)
    )
}

/// The IPv6 address that packets come from when the nexthop leads back to their sender.
const fn inet6_peer(nexthop: &Nexthop) -> Option<[u8; 16]> {
    let destination = match &nexthop.action {
        NexthopAction::Tunnel(tunnel) => tunnel.destination,
        NexthopAction::UdpTunnel(tunnel) => tunnel.destination,
        _ => return None,
    };
    match destination {
        IpAddr::V6(address) => Some(address.octets()),
        IpAddr::V4(_) => None,
    }
}

/// The objects that an object refers to.
fn parts(nexthop: &Nexthop) -> impl Iterator<Item = NexthopSlot> {
    let (members, direct) = match &nexthop.action {
        NexthopAction::Composite(composite) => (composite.members.as_slice(), None),
        NexthopAction::Pbb { direct, .. } => ([].as_slice(), *direct),
        _ => ([].as_slice(), None),
    };
    members.iter().flatten().map(|member| member.nexthop).chain(direct)
}
