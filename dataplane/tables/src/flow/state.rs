use vr_types::WorkerId;

use super::layout::FlowAction;

/// The state word of an entry: everything that decides whether and how a worker may use it, in one atomic.
///
/// Bits: 0-7 generation, 8-15 changes, 16-23 owning worker plus one (255: between two owners), 24-25 action,
/// 26 active, 27 simple, 28 TCP settled, 29 being changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct State(pub(super) u32);

impl State {
    const ACTIVE: u32 = 1 << 26;
    const SIMPLE: u32 = 1 << 27;
    const TCP_SETTLED: u32 = 1 << 28;
    const CHANGING: u32 = 1 << 29;

    /// The state of a new entry in HOLD.
    pub(super) const fn new(generation: u8) -> Self {
        Self(generation as u32 | (FlowAction::Hold as u32) << 24 | Self::ACTIVE | Self::TCP_SETTLED)
    }

    /// Whether packets may use the entry.
    #[inline]
    #[must_use]
    pub const fn is_active(self) -> bool {
        self.0 & Self::ACTIVE != 0
    }

    /// Whether the action is a plain forward or a translation: nothing but source check, counters, output, and new
    /// addresses and ports.
    #[inline]
    #[must_use]
    pub const fn is_simple(self) -> bool {
        self.0 & Self::SIMPLE != 0
    }

    /// Whether packets have to be translated.
    #[inline]
    #[must_use]
    pub const fn translates(self) -> bool {
        self.0 >> 24 & 3 == FlowAction::Nat as u32
    }

    /// Whether packets pass without further questions: the entry is active and simple, this worker owns
    /// it, and nothing is changing, a TCP connection included. Entries of other protocols are always settled, unless
    /// the agent has given them TCP flags.
    #[inline]
    #[must_use]
    pub const fn passes(self, worker: WorkerId) -> bool {
        const PASSES: u32 = State::ACTIVE | State::SIMPLE | State::TCP_SETTLED;
        let mask = PASSES | Self::CHANGING | 0xff << 16;
        self.0 & mask == PASSES | (worker.0 as u32 + 1) << 16
    }

    /// Whether a TCP segment without SYN, FIN and RST changes nothing but the acknowledgement number.
    #[inline]
    #[must_use]
    pub const fn tcp_settled(self) -> bool {
        self.0 & Self::TCP_SETTLED != 0
    }

    /// Whether the control thread is changing the shared half just now.
    #[inline]
    #[must_use]
    pub const fn is_changing(self) -> bool {
        self.0 & Self::CHANGING != 0
    }

    /// The action.
    #[inline]
    #[must_use]
    pub const fn action(self) -> FlowAction {
        match (self.0 >> 24) & 3 {
            0 => FlowAction::Drop,
            1 => FlowAction::Hold,
            2 => FlowAction::Forward,
            _ => FlowAction::Nat,
        }
    }

    /// Generation of the slot.
    #[inline]
    #[must_use]
    pub const fn generation(self) -> u8 {
        self.0 as u8
    }

    /// Whether this worker is the one that counts and compiles for the entry.
    #[inline]
    #[must_use]
    pub const fn is_owned_by(self, worker: WorkerId) -> bool {
        (self.0 >> 16) as u8 == worker.0.wrapping_add(1)
    }

    /// Whether the next worker that meets the entry may own it.
    pub(super) const fn is_unowned(self) -> bool {
        (self.0 >> 16) as u8 == 0
    }

    /// Whether its former owner may still be counting and nobody may own it yet.
    pub(super) const fn is_between_owners(self) -> bool {
        (self.0 >> 16) as u8 == u8::MAX
    }

    pub(super) const fn between_owners(self) -> Self {
        Self(self.0 | 0xff << 16)
    }

    pub(super) const fn unowned(self) -> Self {
        Self(self.0 & !(0xff << 16))
    }

    pub(super) const fn with_owner(self, worker: WorkerId) -> Self {
        Self(self.0 & !(0xff << 16) | (worker.0 as u32 + 1) << 16)
    }

    pub(super) const fn with_action(self, action: FlowAction, simple: bool) -> Self {
        let cleared = self.0 & !(3 << 24 | Self::SIMPLE);
        Self(cleared | (action as u32) << 24 | if simple { Self::SIMPLE } else { 0 })
    }

    pub(super) const fn with_tcp_settled(self, settled: bool) -> Self {
        if settled { Self(self.0 | Self::TCP_SETTLED) } else { Self(self.0 & !Self::TCP_SETTLED) }
    }

    /// What was compiled before is void.
    pub(super) const fn voided(self) -> Self {
        let changes = (self.0 as u16).to_le_bytes()[1].wrapping_add(1);
        Self(self.0 & !0xff00 | (changes as u32) << 8)
    }

    /// A change begins: what was compiled before is void.
    pub(super) const fn changing(self) -> Self {
        Self(self.voided().0 | Self::CHANGING)
    }

    pub(super) const fn changed(self) -> Self {
        Self(self.0 & !Self::CHANGING)
    }

    pub(super) const fn inactive(self) -> Self {
        Self(self.0 & !(Self::ACTIVE | Self::SIMPLE))
    }

    /// Generation and changes: a compiled action belongs to one value of this.
    #[inline]
    pub(super) const fn version(self) -> u16 {
        self.0 as u16
    }
}
