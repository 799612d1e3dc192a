//! How many entries flows of a VRF and of an interface may have.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

use hashbrown::HashMap;
use vr_types::{FlowIndex, VifId, VrfId};

use crate::mapped::{MapError, Mapped};

/// The most entries that packets may make; 0 for no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QuotaLimits {
    /// In one VRF.
    pub per_vrf: u32,
    /// By one interface.
    pub per_vif: u32,
}

/// To whom an entry is charged; [`VrfId::NONE`] and [`VifId::NONE`] for nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// The VRF in which it was made.
    pub vrf: VrfId,
    /// The interface that made it.
    pub vif: VifId,
}

/// One who has a quota, as `vrctl status` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QuotaUse {
    /// Number of the VRF or interface.
    pub number: u16,
    /// Entries that are charged to it.
    pub used: u32,
    /// Packets refused because of its quota.
    pub refused: u64,
}

struct Counts {
    limit: u32,
    used: Mapped<AtomicU32>,
    refused: Mapped<AtomicU64>,
}

impl Counts {
    fn new(limit: u32, numbers: usize) -> Result<Self, MapError> {
        Ok(Self { limit, used: Mapped::private(numbers)?, refused: Mapped::private(numbers)? })
    }

    /// Takes one within the limit; a number outside the table has none.
    fn take(&self, number: usize) -> bool {
        let Some(used) = self.used.get(number) else { return true };
        // Added before it is compared: of several workers none gets beyond the limit.
        if used.fetch_add(1, Relaxed) < self.limit || self.limit == 0 {
            return true;
        }
        used.fetch_sub(1, Relaxed);
        if let Some(refused) = self.refused.get(number) {
            refused.fetch_add(1, Relaxed);
        }
        false
    }

    /// Takes one, whatever the limit.
    fn add(&self, number: usize) {
        if let Some(used) = self.used.get(number) {
            used.fetch_add(1, Relaxed);
        }
    }

    fn give_back(&self, number: usize) {
        if let Some(used) = self.used.get(number) {
            used.fetch_sub(1, Relaxed);
        }
    }

    fn report(&self) -> Vec<QuotaUse> {
        let both = self.used.iter().zip(&*self.refused).enumerate();
        let uses = both.map(|(number, (used, refused))| QuotaUse {
            number: number as u16,
            used: used.load(Relaxed),
            refused: refused.load(Relaxed),
        });
        uses.filter(|one| one.used > 0 || one.refused > 0).collect()
    }

    fn bytes(&self) -> usize {
        size_of_val(&*self.used) + size_of_val(&*self.refused)
    }
}

/// Counts of entries. They change only when an entry comes or goes.
pub struct Quotas {
    vrfs: Counts,
    vifs: Counts,
    /// Per entry, to whom it is charged, all bits turned over: zero for one that is charged to nobody.
    charges: Mapped<AtomicU32>,
}

impl Quotas {
    pub(crate) fn new(
        limits: QuotaLimits,
        entries: usize,
        vrfs: usize,
        vifs: usize,
    ) -> Result<Self, MapError> {
        Ok(Self {
            vrfs: Counts::new(limits.per_vrf, vrfs)?,
            vifs: Counts::new(limits.per_vif, vifs)?,
            charges: Mapped::private(entries)?,
        })
    }

    /// Charges an entry that a packet is about to make, if both quotas allow it.
    #[must_use]
    pub fn admit(&self, charge: Charge) -> bool {
        if !self.vrfs.take(charge.vrf.index()) {
            return false;
        }
        let admitted = self.vifs.take(charge.vif.index());
        if !admitted {
            self.vrfs.give_back(charge.vrf.index());
        }
        admitted
    }

    /// Charges an entry that the agent has made, whatever the quotas.
    pub(crate) fn add(&self, charge: Charge) {
        self.vrfs.add(charge.vrf.index());
        self.vifs.add(charge.vif.index());
    }

    /// Takes a charge back for which no entry was made.
    pub fn give_back(&self, charge: Charge) {
        self.vrfs.give_back(charge.vrf.index());
        self.vifs.give_back(charge.vif.index());
    }

    /// Remembers who was charged for an entry. In the batch in which it was made.
    pub fn remember(&self, index: FlowIndex, charge: Charge) {
        if let Some(cell) = self.charges.get(index.index()) {
            cell.store(!(u32::from(charge.vrf.0) << 16 | u32::from(charge.vif.0)), Relaxed);
        }
    }

    /// The interface that was charged for an entry may have another number; for the control thread.
    pub(crate) fn renumber(&self, index: FlowIndex, moves: &HashMap<VifId, VifId>) {
        let charged = self.charges.get(index.index()).map_or(0, |cell| cell.load(Relaxed));
        let charge = Charge { vrf: VrfId((!charged >> 16) as u16), vif: VifId(!charged as u16) };
        if charged != 0
            && let Some(vif) = moves.get(&charge.vif)
        {
            self.vifs.give_back(charge.vif.index());
            self.vifs.add(vif.index());
            self.remember(index, Charge { vif: *vif, ..charge });
        }
    }

    /// The entry is gone, and no worker uses it any more.
    pub(super) fn forget(&self, index: FlowIndex) {
        let Some(cell) = self.charges.get(index.index()) else { return };
        match cell.swap(0, Relaxed) {
            0 => {}
            charged => {
                let charged = !charged;
                self.give_back(Charge { vrf: VrfId((charged >> 16) as u16), vif: VifId(charged as u16) });
            }
        }
    }

    /// The VRFs that have entries or were refused some.
    #[must_use]
    pub fn vrfs(&self) -> Vec<QuotaUse> {
        self.vrfs.report()
    }

    /// The interfaces that have entries or were refused some.
    #[must_use]
    pub fn vifs(&self) -> Vec<QuotaUse> {
        self.vifs.report()
    }

    pub(super) fn bytes(&self) -> usize {
        self.vrfs.bytes() + self.vifs.bytes() + size_of_val(&*self.charges)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use super::{Charge, FlowIndex, QuotaLimits, QuotaUse, Quotas, VifId, VrfId};

    fn charge(vrf: u16, vif: u16) -> Charge {
        Charge { vrf: VrfId(vrf), vif: VifId(vif) }
    }

    #[test]
    fn what_is_refused_by_one_is_not_charged_to_the_other() {
        let quotas = Quotas::new(QuotaLimits { per_vrf: 3, per_vif: 2 }, 16, 4, 8).unwrap();
        assert!((0..2).all(|_| quotas.admit(charge(1, 3))));
        assert!(!quotas.admit(charge(1, 3)));
        assert!(quotas.admit(charge(1, 4)));
        assert!(!quotas.admit(charge(1, 5)), "the VRF has three");
        quotas.add(charge(1, 3));
        let vrf = QuotaUse { number: 1, used: 4, refused: 1 };
        let vifs = [(3, 3, 1), (4, 1, 0)].map(|(number, used, refused)| QuotaUse { number, used, refused });
        assert_eq!((quotas.vrfs(), quotas.vifs()), (vec![vrf], vifs.to_vec()));
    }

    #[test]
    fn a_charge_follows_its_interface() {
        let quotas = Quotas::new(QuotaLimits { per_vrf: 0, per_vif: 1 }, 16, 4, 8).unwrap();
        for (entry, vif) in [(3, 3), (4, 4), (5, 5)] {
            assert!(quotas.admit(charge(1, vif)));
            quotas.remember(FlowIndex(entry), charge(1, vif));
        }
        let moves = [(3, 4), (4, 6)].map(|(old, new)| (VifId(old), VifId(new))).into_iter().collect();
        (0..16).for_each(|entry| quotas.renumber(FlowIndex(entry), &moves));
        let used: Vec<(u16, u32)> = quotas.vifs().iter().map(|one| (one.number, one.used)).collect();
        assert_eq!(used, [(4, 1), (5, 1), (6, 1)]);
        quotas.forget(FlowIndex(3));
        assert!(quotas.admit(charge(1, 4)) && !quotas.admit(charge(1, 6)));
    }

    #[test]
    fn an_entry_is_given_back_to_who_was_charged() {
        let quotas = Quotas::new(QuotaLimits { per_vrf: 1, per_vif: 0 }, 16, 4, 8).unwrap();
        assert!(quotas.admit(charge(0, 0)) && !quotas.admit(charge(0, 1)));
        quotas.remember(FlowIndex(15), charge(0, 0));
        quotas.forget(FlowIndex(14));
        assert!(!quotas.admit(charge(0, 0)));
        (0..2).for_each(|_| quotas.forget(FlowIndex(15)));
        assert!(quotas.admit(charge(0, 0)));
        assert!(quotas.admit(Charge { vrf: VrfId::NONE, vif: VifId::NONE }), "nobody's");
    }
}
