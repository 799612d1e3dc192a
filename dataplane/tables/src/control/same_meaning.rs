//! Whether numbers mean the same for a restarted agent as for its predecessor.

use std::collections::{BTreeMap, BTreeSet};

use hashbrown::{HashMap, HashSet};
use vr_types::{MirrorId, NexthopId, VifId, VrfId};

use crate::nexthop::{Nexthop, NexthopAction, NexthopFlags, NexthopSlot};
use crate::snapshot::Snapshot;
use crate::vif::Vif;

/// Composites of composites are followed so far.
const DEPTH: u32 = 4;

/// An interface, or one VLAN of it, without any number.
type Place<'a> = (&'a str, u8, Option<usize>);

/// Two programmings compared.
pub(super) struct SameMeaning<'a> {
    old: &'a Snapshot,
    new: &'a Snapshot,
    /// Names that tell nothing, since several interfaces have them.
    ambiguous: HashSet<Place<'a>>,
    vrfs: HashSet<VrfId>,
    keys: HashSet<NexthopId>,
    /// Maps that mean something else.
    other_qos: HashSet<u16>,
}

/// Where a flow key nexthop and a VRF are in use.
struct Use<'a> {
    place: Place<'a>,
    nexthop: NexthopId,
    vrf: VrfId,
}

impl<'a> SameMeaning<'a> {
    pub(super) fn new(old: &'a Snapshot, new: &'a Snapshot, other_qos: HashSet<u16>) -> Self {
        let ambiguous: HashSet<_> = [old, new].into_iter().flat_map(ambiguous).collect();
        let vrfs = same_vrfs(old, new, &ambiguous);
        let keys = same_keys(old, new, &ambiguous);
        Self { old, new, ambiguous, vrfs, keys, other_qos }
    }

    /// Whether the VRF is that of the same interfaces.
    pub(super) fn vrf(&self, vrf: VrfId) -> bool {
        vrf == VrfId::FABRIC || self.vrfs.contains(&vrf)
    }

    /// Whether the same interfaces have it in their flow keys.
    pub(super) fn key(&self, nexthop: NexthopId) -> bool {
        self.keys.contains(&nexthop)
    }

    /// Whether packets are marked alike by this QoS map, which need not be there.
    pub(super) fn qos(&self, map: u16) -> bool {
        !self.other_qos.contains(&map)
    }

    /// Whether a source check by it finds the same.
    pub(super) fn source(&self, nexthop: NexthopId) -> bool {
        self.both(self.old.nexthop_by_id(nexthop), self.new.nexthop_by_id(nexthop), DEPTH)
    }

    /// Whether mirrored packets go the same way, in the same form.
    pub(super) fn mirror(&self, mirror: MirrorId) -> bool {
        match (self.old.mirror(mirror), self.new.mirror(mirror)) {
            (Some(old), Some(new)) => {
                if (old.flags, old.vni, old.vlan) != (new.flags, new.vni, new.vlan) {
                    return false;
                }
                let nexthops = (self.old.nexthop_by_id(old.nexthop), self.new.nexthop_by_id(new.nexthop));
                self.both(nexthops.0, nexthops.1, DEPTH)
            }
            (None, None) => true,
            _ => false,
        }
    }

    fn both(&self, old: Option<&Nexthop>, new: Option<&Nexthop>, depth: u32) -> bool {
        let (Some(old), Some(new)) = (old, new) else { return false };
        match (&old.action, &new.action) {
            (NexthopAction::Encap(a), NexthopAction::Encap(b)) => self.interface(a.vif, b.vif),
            (NexthopAction::Receive(a), NexthopAction::Receive(b)) => self.interface(*a, *b),
            (NexthopAction::Tunnel(a), NexthopAction::Tunnel(b)) => a.destination == b.destination,
            (NexthopAction::UdpTunnel(a), NexthopAction::UdpTunnel(b)) => a.destination == b.destination,
            (NexthopAction::Composite(a), NexthopAction::Composite(b)) => {
                let balances = (old.flags ^ new.flags).contains(NexthopFlags::COMPOSITE_ECMP);
                let members = a.members.iter().zip(&b.members);
                depth > 0
                    && !balances
                    && a.members.len() == b.members.len()
                    && members.into_iter().all(|(a, b)| match (a, b) {
                        (None, None) => true,
                        (Some(a), Some(b)) => {
                            a.label == b.label && self.objects(a.nexthop, b.nexthop, depth - 1)
                        }
                        _ => false,
                    })
            }
            (a, b) => std::mem::discriminant(a) == std::mem::discriminant(b),
        }
    }

    fn objects(&self, old: NexthopSlot, new: NexthopSlot, depth: u32) -> bool {
        self.both(self.old.nexthop(old), self.new.nexthop(new), depth)
    }

    fn interface(&self, old: VifId, new: VifId) -> bool {
        let places = [self.old.vif(old), self.new.vif(new)].map(|vif| vif.map(place));
        places[0] == places[1] && places[0].is_some_and(|place| tells(&place, &self.ambiguous))
    }
}

fn place(vif: &Vif) -> Place<'_> {
    (&vif.details.name, vif.kind as u8, None)
}

/// Places of several interfaces.
fn ambiguous(snapshot: &Snapshot) -> impl Iterator<Item = Place<'_>> {
    let mut seen = HashSet::new();
    snapshot.vifs.iter().map(|(_, vif)| place(vif)).filter(move |place| !seen.insert(*place))
}

/// Whether a place is that of one interface only.
fn tells(place: &Place<'_>, ambiguous: &HashSet<Place<'_>>) -> bool {
    !ambiguous.contains(&(place.0, place.1, None))
}

/// All uses of flow key nexthops and VRFs.
fn uses(snapshot: &Snapshot) -> impl Iterator<Item = Use<'_>> {
    snapshot.vifs.iter().map(|(_, vif)| vif).flat_map(|vif| {
        let own = Use { place: place(vif), nexthop: vif.nexthop, vrf: vif.vrf };
        let vlans = vif.details.service_vlans.iter().enumerate().filter_map(move |(vlan, entry)| {
            let entry = (*entry)?;
            let place = (vif.details.name.as_str(), vif.kind as u8, Some(vlan));
            Some(Use { place, nexthop: entry.nexthop, vrf: entry.vrf })
        });
        std::iter::once(own).chain(vlans)
    })
}

/// VRFs whose interfaces of before are in the VRF of the same number now, and no others of before.
fn same_vrfs(old: &Snapshot, new: &Snapshot, ambiguous: &HashSet<Place<'_>>) -> HashSet<VrfId> {
    let now: HashMap<Place<'_>, VrfId> = uses(new).map(|one| (one.place, one.vrf)).collect();
    let (mut same, mut other) = (HashSet::new(), HashSet::new());
    for one in uses(old) {
        match now.get(&one.place) {
            Some(vrf) if tells(&one.place, ambiguous) && *vrf == one.vrf => {
                same.insert(one.vrf);
            }
            Some(vrf) => other.extend([*vrf, one.vrf]),
            None => {}
        }
    }
    same.retain(|vrf| !other.contains(vrf));
    same
}

/// Flow key nexthops that exactly the same interfaces have.
fn same_keys(old: &Snapshot, new: &Snapshot, ambiguous: &HashSet<Place<'_>>) -> HashSet<NexthopId> {
    fn users(snapshot: &Snapshot) -> BTreeMap<NexthopId, BTreeSet<Place<'_>>> {
        let mut users: BTreeMap<NexthopId, BTreeSet<Place<'_>>> = BTreeMap::new();
        for one in uses(snapshot) {
            users.entry(one.nexthop).or_default().insert(one.place);
        }
        users
    }
    let (old, mut new) = (users(old), users(new));
    old.into_iter()
        .filter(|(id, users)| new.remove(id).as_ref() == Some(users))
        .filter(|(_, users)| users.iter().all(|place| tells(place, ambiguous)))
        .map(|(id, _)| id)
        .collect()
}
