//! MPLS labels and VXLAN network identifiers (control.md 4.6, 4.7).

use std::sync::Arc;

use vr_types::{Label, NexthopId, Vni};

use super::{CommandError, Tables};

/// VNIs have 24 bits.
const VNI_LIMIT: u32 = 1 << 24;

impl Tables {
    fn check_label(&self, label: Label) -> Result<(), CommandError> {
        if label.0 < self.limits.labels {
            Ok(())
        } else {
            Err(CommandError::Invalid("the label is beyond the table"))
        }
    }

    /// Sets the nexthop of a label.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a label beyond the table and for a nexthop that does not exist. The original
    /// takes the label's old nexthop away in that case; here the label keeps it.
    pub fn label_add(&mut self, label: Label, nexthop: NexthopId) -> Result<(), CommandError> {
        self.begin();
        self.check_label(label)?;
        let missing = CommandError::Invalid("the nexthop does not exist");
        let slot = self.nexthop_slot(nexthop).ok_or(missing)?;
        let old = self.work.label(label);
        self.nexthops.acquire(slot);
        self.work.labels.set(label.index(), Some(slot));
        if let Some(old) = old {
            self.nexthops.release(&mut self.work, old);
        }
        self.changed();
        Ok(())
    }

    /// Removes a label; one that is not there is no error.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a label beyond the table.
    pub fn label_delete(&mut self, label: Label) -> Result<(), CommandError> {
        self.begin();
        self.check_label(label)?;
        if let Some(old) = self.work.label(label) {
            self.work.labels.set(label.index(), None);
            self.nexthops.release(&mut self.work, old);
            self.changed();
        }
        Ok(())
    }

    /// The nexthop of a label.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for a label beyond the table, [`CommandError::NotFound`] for one not in use.
    pub fn label(&self, label: Label) -> Result<NexthopId, CommandError> {
        self.check_label(label)?;
        let slot = self.work.label(label).ok_or(CommandError::NotFound("label"))?;
        Ok(self.nexthop_id(slot))
    }

    /// Labels from `first` on, in order, with their nexthops.
    pub fn labels_from(&self, first: usize) -> impl Iterator<Item = (Label, NexthopId)> {
        self.work.labels.iter_from(first).map(|(label, slot)| (Label(label as u32), self.nexthop_id(*slot)))
    }

    /// Sets the nexthop of a VNI.
    ///
    /// # Errors
    /// [`CommandError::Invalid`] for more than 24 bits and for a nexthop that does not exist.
    pub fn vni_add(&mut self, vni: Vni, nexthop: NexthopId) -> Result<(), CommandError> {
        self.begin();
        if vni.0 >= VNI_LIMIT {
            return Err(CommandError::Invalid("a VNI has 24 bits"));
        }
        let slot = self.nexthop_slot(nexthop).ok_or(CommandError::Invalid("the nexthop does not exist"))?;
        self.nexthops.acquire(slot);
        self.vnis.insert(vni);
        let old = Arc::make_mut(&mut self.work.vnis).insert(vni, slot);
        if let Some(old) = old {
            self.nexthops.release(&mut self.work, old);
        }
        self.changed();
        Ok(())
    }

    /// Removes a VNI; one that is not there is no error.
    pub fn vni_delete(&mut self, vni: Vni) {
        self.begin();
        if self.vnis.remove(&vni)
            && let Some(old) = Arc::make_mut(&mut self.work.vnis).remove(&vni)
        {
            self.nexthops.release(&mut self.work, old);
            self.changed();
        }
    }

    /// The nexthop of a VNI.
    ///
    /// # Errors
    /// [`CommandError::NotFound`] for one not in use.
    pub fn vni(&self, vni: Vni) -> Result<NexthopId, CommandError> {
        let slot = self.work.vni(vni).ok_or(CommandError::NotFound("VNI"))?;
        Ok(self.nexthop_id(slot))
    }

    /// VNIs from `first` on, in order, with their nexthops.
    pub fn vnis_from(&self, first: Vni) -> impl Iterator<Item = (Vni, NexthopId)> {
        self.vnis.range(first..).filter_map(|vni| Some((*vni, self.nexthop_id(self.work.vni(*vni)?))))
    }
}
