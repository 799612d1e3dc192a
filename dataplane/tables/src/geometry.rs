//! Buckets of four entries and an overflow area, as flow and bridge table share them (forwarding.md 6.3).

/// Sizes of a hash table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// Main entries, a multiple of four.
    pub entries: u32,
    /// Overflow entries behind them.
    pub overflow: u32,
}

impl Geometry {
    /// The flow table of the original.
    pub const FLOW: Self = Self { entries: 524_288, overflow: 105_472 };
    /// The bridge table of the original.
    pub const BRIDGE: Self = Self { entries: 262_144, overflow: 53_248 };

    /// A table of so many entries with the original's share of overflow: a fifth, rounded up to 1,024.
    #[must_use]
    pub const fn with_default_overflow(entries: u32) -> Self {
        Self { entries: entries & !3, overflow: (entries / 5 + 1023) & !1023 }
    }

    /// Main and overflow entries together.
    #[inline]
    #[must_use]
    pub const fn total(&self) -> usize {
        self.entries as usize + self.overflow as usize
    }

    /// First entry of the bucket of a hash.
    #[inline]
    #[must_use]
    pub const fn bucket(&self, hash: u32) -> u32 {
        let position =
            if self.entries.is_power_of_two() { hash & (self.entries - 1) } else { hash % self.entries };
        position & !3
    }
}
