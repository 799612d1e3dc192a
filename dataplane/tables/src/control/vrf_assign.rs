//! VRF and flow key nexthop by VLAN of a service interface (control.md 4.10).

use std::sync::Arc;

use vr_types::{VifId, VrfId};

use super::vif::{SERVICE_VLANS, service_vlans};
use super::{CommandError, Tables};
use crate::vif::{ServiceVlan, Vif, VifFlags};

const BEYOND: CommandError = CommandError::Invalid("the VLAN is beyond the table");

impl Tables {
    /// Sets or clears the entry of a VLAN; the interface becomes a service interface by it.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when interface or VLAN do not exist.
    pub fn vrf_assign(
        &mut self,
        vif: VifId,
        vlan: u16,
        entry: Option<ServiceVlan>,
    ) -> Result<(), CommandError> {
        self.begin();
        let mut changed = self.service_vif(vif)?.clone();
        if usize::from(vlan) >= SERVICE_VLANS {
            return Err(BEYOND);
        }
        let entry = entry.filter(|entry| entry.vrf != VrfId::NONE);
        let details = Arc::make_mut(&mut changed.details);
        if details.service_vlans.is_empty() && entry.is_some() {
            changed.flags |= VifFlags::SERVICE_IF;
            details.service_vlans = service_vlans(changed.flags, &[]);
        }
        if let Some(cell) = details.service_vlans.get_mut(usize::from(vlan)) {
            *cell = entry;
        }
        let kind = changed.kind;
        self.work.vifs.set(vif.index(), Some(changed));
        self.vif_changed(vif, kind);
        Ok(())
    }

    /// The entry of a VLAN, `None` if none is set.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when interface or VLAN do not exist.
    pub fn vrf_assigned(&self, vif: VifId, vlan: u16) -> Result<Option<ServiceVlan>, CommandError> {
        let vif = self.service_vif(vif)?;
        if usize::from(vlan) >= SERVICE_VLANS {
            return Err(BEYOND);
        }
        Ok(vif.details.service_vlans.get(usize::from(vlan)).copied().flatten())
    }

    /// Entries of an interface from VLAN `first` on, in order.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] when the interface does not exist.
    pub fn vrf_assigned_from(
        &self,
        vif: VifId,
        first: u16,
    ) -> Result<impl Iterator<Item = (u16, ServiceVlan)>, CommandError> {
        let vlans = &self.service_vif(vif)?.details.service_vlans;
        let from = vlans.iter().enumerate().skip(usize::from(first));
        Ok(from.filter_map(|(vlan, entry)| Some((vlan as u16, (*entry)?))))
    }

    fn service_vif(&self, vif: VifId) -> Result<&Vif, CommandError> {
        self.work.vif(vif).ok_or(CommandError::Invalid("the interface does not exist"))
    }
}
