//! Bridge entries (control.md 4.5, forwarding.md 3.4).

use vr_types::{BridgeIndex, Mac, NexthopId, VrfId};

use super::route::with_vrf;
use super::{CommandError, GivenMac, Tables};
use crate::bridge::{BridgeEntry, BridgeFlags, BridgeKey, BridgeTable};

/// A bridge entry as the agent describes it.
#[derive(Clone, Copy, Debug)]
pub struct BridgeSpec {
    /// VRF.
    pub vrf: VrfId,
    /// MAC.
    pub mac: GivenMac,
    /// Nexthop.
    pub nexthop: NexthopId,
    /// Label or VNI; counts with [`BridgeFlags::LABEL_VALID`], else the entry keeps the one that it has.
    pub label: u32,
    /// Flags.
    pub flags: BridgeFlags,
}

/// A bridge entry of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BridgeView {
    /// Its MAC.
    pub mac: Mac,
    /// The entry.
    pub entry: BridgeEntry,
    /// Id of its nexthop.
    pub nexthop: NexthopId,
}

impl Tables {
    /// Adds or replaces a bridge entry.
    ///
    /// # Errors
    /// [`CommandError`] as control.md 4.5 says.
    pub fn bridge_add(&mut self, spec: &BridgeSpec) -> Result<(), CommandError> {
        self.begin();
        let mac = spec.mac.non_zero().ok_or(CommandError::Invalid("a bridge entry needs a MAC"))?;
        if u32::from(spec.vrf.0) >= self.limits.vrfs {
            return Err(CommandError::Invalid("the VRF is beyond the table"));
        }
        let nexthop = self.nexthop_slot(spec.nexthop).ok_or(CommandError::NotFound("nexthop"))?;
        let key = BridgeKey::new(spec.vrf, mac);
        let old = self.bridge.table().lookup(key);
        let kept = old.map_or(0, |old| old.label);
        let label = if spec.flags.contains(BridgeFlags::LABEL_VALID) { spec.label } else { kept };
        let mut flags = spec.flags.difference(BridgeFlags::MAC_NEW);
        if old.is_none_or(|old| old.nexthop != nexthop) {
            flags.remove(BridgeFlags::MAC_MOVED);
        }
        if self.nexthops_dirty {
            // Workers see the entry at once; what it leads to has to be there before.
            self.publish_snapshot();
        }
        self.bridge.set(key, (nexthop, spec.nexthop), label, flags).map_err(|_| FULL)?;
        self.nexthops.acquire(nexthop);
        if let Some(old) = old {
            self.nexthops.release(&mut self.work, old.nexthop);
        }
        self.bridge_changed(spec.vrf);
        Ok(())
    }

    /// Removes a bridge entry.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] when it is not there.
    pub fn bridge_delete(&mut self, vrf: VrfId, mac: GivenMac) -> Result<(), CommandError> {
        self.begin();
        let key = BridgeKey::new(vrf, mac.non_zero().ok_or(NO_ENTRY)?);
        let entry = self.bridge.table().lookup(key).ok_or(NO_ENTRY)?;
        self.bridge.remove(key);
        self.nexthops.release(&mut self.work, entry.nexthop);
        self.bridge_changed(vrf);
        Ok(())
    }

    fn bridge_changed(&mut self, vrf: VrfId) {
        with_vrf(&mut self.work.vrfs, vrf, |_| ());
        self.changed();
    }

    /// The entry of a MAC.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] when it is not there.
    pub fn bridge_entry(&self, vrf: VrfId, mac: GivenMac) -> Result<BridgeView, CommandError> {
        let key = BridgeKey::new(vrf, mac.non_zero().ok_or(NO_ENTRY)?);
        let entry = self.bridge.table().lookup(key).ok_or(NO_ENTRY)?;
        Ok(self.bridge_view(key, entry))
    }

    fn bridge_view(&self, key: BridgeKey, entry: BridgeEntry) -> BridgeView {
        BridgeView { mac: key.mac(), entry, nexthop: self.nexthop_id(entry.nexthop) }
    }

    /// Entries of a VRF in order of their positions, behind that of `after`. When that one has gone, the
    /// walk goes on where it was looked for, and may repeat up to three entries.
    pub fn bridge_entries(&self, vrf: VrfId, after: Option<Mac>) -> impl Iterator<Item = BridgeView> {
        let table = self.bridge.table();
        let after = after.and_then(|mac| {
            let key = BridgeKey::new(vrf, mac);
            match table.lookup(key) {
                Some(entry) => Some(entry.index),
                None => table.bucket(key).checked_sub(1).map(BridgeIndex),
            }
        });
        self.bridge.iter(vrf, after).map(|(key, entry)| self.bridge_view(key, entry))
    }

    /// Used bridge entries: in the main table and in the overflow area.
    #[must_use]
    pub fn bridge_used(&self) -> (u32, u32) {
        self.bridge.used()
    }

    /// The bridge table.
    #[must_use]
    pub const fn bridge_table(&self) -> &std::sync::Arc<BridgeTable> {
        self.bridge.table()
    }
}

const NO_ENTRY: CommandError = CommandError::NotFound("bridge entry");
const FULL: CommandError = CommandError::NoMemory("bridge");
