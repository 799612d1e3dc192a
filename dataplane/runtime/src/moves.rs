use std::collections::HashMap;

use vr_types::VifId;

/// Interfaces that get other numbers.
pub(crate) struct Moves(HashMap<VifId, VifId>);

impl Moves {
    /// Old and new numbers.
    pub(crate) fn new(moves: &[(VifId, VifId)]) -> Self {
        Self(moves.iter().copied().collect())
    }

    /// The number of an interface from now on.
    pub(crate) fn of(&self, vif: VifId) -> VifId {
        self.0.get(&vif).copied().unwrap_or(vif)
    }

    /// Old and new numbers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (VifId, VifId)> {
        self.0.iter().map(|(old, new)| (*old, *new))
    }
}
