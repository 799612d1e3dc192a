//! Mirror entries, VRF entries, QoS maps and forwarding classes (control.md 4.8, 4.9, 4.14).

use vr_types::{MirrorId, VifId, VrfId};

use super::{CommandError, Tables};
use crate::snapshot::Mirror;

/// A VRF entry: where its host based services are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VrfEntry {
    /// Interface of the left side.
    pub left: Option<VifId>,
    /// Interface of the right side.
    pub right: Option<VifId>,
}

/// What to do with one side of a VRF entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SideChange {
    /// Leave it.
    Keep,
    /// Detach.
    Clear,
    /// Attach this interface.
    Set(VifId),
}

/// Forwarding class for each value of the three code points; 0 where none was set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QosMap {
    /// By DSCP.
    pub dscp: [u8; 64],
    /// By MPLS EXP.
    pub mpls: [u8; 8],
    /// By 802.1p priority.
    pub dot1p: [u8; 8],
}

impl Default for QosMap {
    fn default() -> Self {
        Self { dscp: [0; 64], mpls: [0; 8], dot1p: [0; 8] }
    }
}

/// Changes of a map: pairs of code point and forwarding class. Code points beyond the range do not count.
#[derive(Clone, Debug, Default)]
pub struct QosChange {
    /// By DSCP.
    pub dscp: Vec<(u8, u8)>,
    /// By MPLS EXP.
    pub mpls: Vec<(u8, u8)>,
    /// By 802.1p priority.
    pub dot1p: Vec<(u8, u8)>,
}

/// What a forwarding class writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ForwardingClass {
    /// DSCP.
    pub dscp: u8,
    /// MPLS EXP.
    pub mpls: u8,
    /// 802.1p priority.
    pub dot1p: u8,
    /// Hardware queue.
    pub queue: u8,
}

impl Tables {
    /// Sets a mirror entry.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table and for a nexthop that does not exist.
    pub fn mirror_add(&mut self, id: MirrorId, mirror: Mirror) -> Result<(), CommandError> {
        self.begin();
        if u32::from(id.0) >= self.limits.mirrors {
            return Err(CommandError::Invalid("the mirror is beyond the table"));
        }
        if self.nexthop_slot(mirror.nexthop).is_none() {
            return Err(CommandError::Invalid("the nexthop does not exist"));
        }
        self.work.mirrors.set(id.index(), Some(mirror));
        self.changed();
        Ok(())
    }

    /// Removes a mirror entry.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when it is not there.
    pub fn mirror_delete(&mut self, id: MirrorId) -> Result<(), CommandError> {
        self.begin();
        if self.work.mirror(id).is_none() {
            return Err(CommandError::Invalid("the mirror does not exist"));
        }
        self.work.mirrors.set(id.index(), None);
        self.changed();
        Ok(())
    }

    /// A mirror entry.
    ///
    /// # Errors
    /// [`CommandError::NoDevice`] for a number beyond the table, [`CommandError::NotFound`] for one not in use.
    pub fn mirror(&self, id: MirrorId) -> Result<Mirror, CommandError> {
        if u32::from(id.0) >= self.limits.mirrors {
            return Err(CommandError::NoDevice("mirror"));
        }
        self.work.mirror(id).copied().ok_or(CommandError::NotFound("mirror"))
    }

    /// Mirror entries from `first` on, in order.
    pub fn mirrors_from(&self, first: usize) -> impl Iterator<Item = (MirrorId, Mirror)> {
        self.work.mirrors.iter_from(first).map(|(id, mirror)| (MirrorId(id as u8), *mirror))
    }

    /// Adds or changes a VRF entry. A VRF is usable without one.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a VRF beyond the table and for an interface that does not exist.
    pub fn vrf_add(&mut self, vrf: VrfId, left: SideChange, right: SideChange) -> Result<(), CommandError> {
        self.begin();
        if u32::from(vrf.0) >= self.limits.vrfs {
            return Err(CommandError::Invalid("the VRF is beyond the table"));
        }
        let old = self.vrf_entries.get(&vrf).copied().unwrap_or_default();
        let side = |old, change| match change {
            SideChange::Keep => Ok(old),
            SideChange::Clear => Ok(None),
            SideChange::Set(vif) => {
                let missing = CommandError::Invalid("the interface of the service does not exist");
                self.work.vif(vif).map(|vif| Some(vif.id)).ok_or(missing)
            }
        };
        let entry = VrfEntry { left: side(old.left, left)?, right: side(old.right, right)? };
        self.vrf_entries.insert(vrf, entry);
        Ok(())
    }

    /// Removes a VRF entry.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when it is not there.
    pub fn vrf_delete(&mut self, vrf: VrfId) -> Result<(), CommandError> {
        self.begin();
        let removed = self.vrf_entries.remove(&vrf);
        removed.map(|_| ()).ok_or(CommandError::Invalid("the VRF entry does not exist"))
    }

    /// A VRF entry.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a VRF beyond the table, [`CommandError::NotFound`] for one without entry.
    pub fn vrf_entry(&self, vrf: VrfId) -> Result<VrfEntry, CommandError> {
        if u32::from(vrf.0) >= self.limits.vrfs {
            return Err(CommandError::Invalid("the VRF is beyond the table"));
        }
        self.vrf_entries.get(&vrf).copied().ok_or(CommandError::NotFound("VRF entry"))
    }

    /// VRF entries from `first` on, in order.
    pub fn vrf_entries_from(&self, first: VrfId) -> impl Iterator<Item = (VrfId, VrfEntry)> {
        self.vrf_entries.range(first..).map(|(vrf, entry)| (*vrf, *entry))
    }

    /// Adds a QoS map or changes some of its entries.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table.
    pub fn qos_map_add(&mut self, id: u16, change: &QosChange) -> Result<(), CommandError> {
        self.begin();
        if u32::from(id) >= self.limits.qos_maps {
            return Err(CommandError::Invalid("the QoS map is beyond the table"));
        }
        let map = self.qos.maps.entry(id).or_default();
        for (cells, pairs) in [
            (&mut map.dscp[..], &change.dscp),
            (&mut map.mpls[..], &change.mpls),
            (&mut map.dot1p[..], &change.dot1p),
        ] {
            for (code_point, class) in pairs {
                if let Some(cell) = cells.get_mut(usize::from(*code_point)) {
                    *cell = *class;
                }
            }
        }
        Ok(())
    }

    /// Removes a QoS map; one that is not there is no error.
    pub fn qos_map_delete(&mut self, id: u16) {
        self.begin();
        self.qos.maps.remove(&id);
    }

    /// A QoS map.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table, [`CommandError::NotFound`] for one not in use.
    pub fn qos_map(&self, id: u16) -> Result<&QosMap, CommandError> {
        if u32::from(id) >= self.limits.qos_maps {
            return Err(CommandError::Invalid("the QoS map is beyond the table"));
        }
        self.qos.maps.get(&id).ok_or(CommandError::NotFound("QoS map"))
    }

    /// QoS maps from `first` on, in order.
    pub fn qos_maps_from(&self, first: u16) -> impl Iterator<Item = (u16, &QosMap)> {
        self.qos.maps.range(first..).map(|(id, map)| (*id, map))
    }

    /// Sets a forwarding class.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table.
    pub fn forwarding_class_add(&mut self, id: u16, class: ForwardingClass) -> Result<(), CommandError> {
        self.begin();
        self.check_forwarding_class(id)?;
        self.qos.classes.insert(id, class);
        Ok(())
    }

    /// Removes a forwarding class; one that is not there is no error.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table.
    pub fn forwarding_class_delete(&mut self, id: u16) -> Result<(), CommandError> {
        self.begin();
        self.check_forwarding_class(id)?;
        self.qos.classes.remove(&id);
        Ok(())
    }

    /// A forwarding class.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a number beyond the table, [`CommandError::NotFound`] for one not in use.
    pub fn forwarding_class(&self, id: u16) -> Result<ForwardingClass, CommandError> {
        self.check_forwarding_class(id)?;
        self.qos.classes.get(&id).copied().ok_or(CommandError::NotFound("forwarding class"))
    }

    fn check_forwarding_class(&self, id: u16) -> Result<(), CommandError> {
        if u32::from(id) < self.limits.forwarding_classes {
            Ok(())
        } else {
            Err(CommandError::Invalid("the forwarding class is beyond the table"))
        }
    }

    /// Forwarding classes from `first` on, in order.
    pub fn forwarding_classes_from(&self, first: u16) -> impl Iterator<Item = (u16, ForwardingClass)> {
        self.qos.classes.range(first..).map(|(id, class)| (*id, *class))
    }
}
