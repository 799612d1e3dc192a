//! How long what was compiled for a flow stays valid.

use crate::nexthop::NexthopSlot;

const GROUPS: usize = 256;

/// The group of a nexthop object, small enough for a flow's cache line: objects whose slots are the same in
/// the last eight bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NexthopGroup(pub(crate) u8);

impl NexthopGroup {
    /// The group of the object in this slot.
    #[must_use]
    pub const fn of(slot: NexthopSlot) -> Self {
        Self(slot.0 as u8)
    }
}

/// Per group, how often a nexthop of it changed in what a source check asks of it: where it leads, and
/// whether its id leads to it; and how often a slot of it became free.
#[derive(Clone)]
pub struct NexthopEpochs([u32; GROUPS]);

impl Default for NexthopEpochs {
    fn default() -> Self {
        Self([0; GROUPS])
    }
}

impl NexthopEpochs {
    /// The epoch of a group.
    #[inline]
    #[must_use]
    pub const fn of(&self, group: NexthopGroup) -> u32 {
        self.0[group.0 as usize]
    }

    pub(crate) const fn advance(&mut self, slot: NexthopSlot) {
        let epoch = &mut self.0[NexthopGroup::of(slot).0 as usize];
        *epoch = epoch.wrapping_add(1);
    }
}
