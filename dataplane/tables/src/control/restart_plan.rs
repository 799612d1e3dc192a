//! Which interfaces of a restarted agent are those of its predecessor.

use hashbrown::HashMap;
use vr_types::VifId;

use crate::snapshot::Snapshot;
use crate::vif::{Vif, VifKind};

/// What becomes of interfaces and their ports at the switch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Plan {
    /// Old and new number of interfaces that keep their ports.
    pub(super) kept: Vec<(VifId, VifId)>,
    /// Old numbers of those that are gone.
    pub(super) gone: Vec<VifId>,
    /// New numbers of those that are new.
    pub(super) added: Vec<VifId>,
    /// Old and new number of those that are the same, but need another port: they are among both.
    reopened: Vec<(VifId, VifId)>,
}

/// What a port was opened for.
#[derive(PartialEq, Eq, Hash)]
struct Device<'a> {
    name: &'a str,
    kind: VifKind,
    transport: u8,
    os_index: u32,
    vhostuser_mode: u8,
}

impl<'a> Device<'a> {
    fn of(vif: &'a Vif) -> Self {
        let details = &vif.details;
        Self {
            name: &details.name,
            kind: vif.kind,
            transport: details.transport,
            os_index: details.os_index,
            vhostuser_mode: details.vhostuser_mode,
        }
    }
}

impl Plan {
    /// `has_lost` tells of an old interface whether its port is of no use any more.
    pub(super) fn new(old: &Snapshot, new: &Snapshot, has_lost: impl Fn(VifId) -> bool) -> Self {
        // Of interfaces that are described alike each keeps its number if it can.
        let stays = |id| {
            let [old, new] = [old, new].map(|snapshot| snapshot.vif(id).map(Device::of));
            old.is_some() && old == new
        };
        let mut before: HashMap<Device<'_>, Vec<VifId>> = HashMap::new();
        for (_, vif) in old.vifs.iter().filter(|(_, vif)| !stays(vif.id)) {
            before.entry(Device::of(vif)).or_default().push(vif.id);
        }
        let mut plan = Self::default();
        for (_, vif) in new.vifs.iter() {
            let found = if stays(vif.id) {
                Some(vif.id)
            } else {
                before.get_mut(&Device::of(vif)).and_then(Vec::pop)
            };
            match found {
                Some(old) if has_lost(old) => {
                    plan.gone.push(old);
                    plan.added.push(vif.id);
                    plan.reopened.push((old, vif.id));
                }
                Some(old) => plan.kept.push((old, vif.id)),
                None => plan.added.push(vif.id),
            }
        }
        plan.gone.extend(before.into_values().flatten());
        plan
    }

    /// Interfaces that keep their ports under another number.
    pub(super) fn moves(&self) -> Vec<(VifId, VifId)> {
        self.kept.iter().copied().filter(|(old, new)| old != new).collect()
    }

    /// Interfaces that are the same under another number, whatever becomes of their ports.
    pub(super) fn renumbered(&self) -> Vec<(VifId, VifId)> {
        let same = self.kept.iter().chain(&self.reopened);
        same.copied().filter(|(old, new)| old != new).collect()
    }
}
