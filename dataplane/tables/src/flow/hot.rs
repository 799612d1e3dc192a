//! The private cache line of an entry.
#![allow(unsafe_code, reason = "states a property of a plain layout")]

use std::sync::atomic::{
    AtomicU16, AtomicU32, AtomicU64, Ordering::AcqRel, Ordering::Acquire, Ordering::Relaxed,
};

use vr_types::{BridgeIndex, Mac, VrfId};

use super::source::Source;
use super::state::State;
use crate::epochs::{NexthopEpochs, NexthopGroup};
use crate::mapped::Zeroed;
use crate::nexthop::NexthopSlot;

/// How a compiled flow leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EgressKind {
    /// Bridged: the frame goes on as it is.
    Bridged,
    /// Routed: TTL less one, the Ethernet header is replaced.
    Routed,
    /// Routed, by the member of an ECMP composite that the flow goes by: nexthop and label of
    /// [`Compiled`] are the composite and the member's position.
    Member,
    /// The packet came from the fabric and its nexthop is known by label or VNI; only the source check
    /// was compiled. With a label in [`Compiled`] the packet leaves by the nexthop there, in a way that the label
    /// describes.
    FromFabric,
}

/// What the owning worker worked out at the last full lookup. Plain data, valid for one epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// Where packets have to come from.
    pub source: Source,
    /// Group of the nexthop by which the source was checked.
    pub checked_by: NexthopGroup,
    /// How packets leave.
    pub kind: EgressKind,
    /// Nexthop to leave by.
    pub nexthop: NexthopSlot,
    /// Label or VNI to push, if there is one.
    pub label: Option<u32>,
    /// Destination MAC of the packets that this was compiled for.
    pub mac: Mac,
    /// Bridge entry that counts the packets, if they pass one.
    pub bridge: BridgeIndex,
    /// VRF in which the lookup was made; its epoch decides how long this is valid.
    pub vrf: VrfId,
}

const SLOT_BITS: u32 = 21;
const INDEX_MASK: u64 = (1 << SLOT_BITS) - 1;
const KIND_SHIFT: u32 = 2 * SLOT_BITS;
const LABEL_VALID: u64 = 1 << (KIND_SHIFT + 2);
const VERSION_SHIFT: u32 = KIND_SHIFT + 3;
const LABEL_BITS: u32 = 24;
const LABEL_MASK: u32 = (1 << LABEL_BITS) - 1;

/// Epochs only ever grow, so their sum changes whenever one of them does. Odd, so never zero.
#[inline]
const fn sum(vrf: u32, nexthops: u32) -> u32 {
    vrf.wrapping_add(nexthops) << 1 | 1
}

/// What was compiled for a flow and is valid: [`Compiled`], taken apart field by field when asked for.
#[derive(Clone, Copy)]
pub struct CompiledFlow<'a> {
    hot: &'a HotFlow,
    egress: u64,
    label: u32,
}

impl CompiledFlow<'_> {
    /// [`Compiled::source`].
    #[inline]
    pub fn source(self) -> Source {
        Source::from_bits(self.hot.source.load(Relaxed))
    }

    /// [`Compiled::kind`].
    #[inline]
    pub const fn kind(self) -> EgressKind {
        match (self.egress >> KIND_SHIFT) & 3 {
            0 => EgressKind::Bridged,
            1 => EgressKind::Routed,
            2 => EgressKind::FromFabric,
            _ => EgressKind::Member,
        }
    }

    /// [`Compiled::nexthop`].
    #[inline]
    pub const fn nexthop(self) -> NexthopSlot {
        NexthopSlot((self.egress & INDEX_MASK) as u32)
    }

    /// [`Compiled::label`].
    #[inline]
    pub fn label(self) -> Option<u32> {
        (self.egress & LABEL_VALID != 0).then_some(self.label & LABEL_MASK)
    }

    /// [`Compiled::bridge`].
    #[inline]
    pub const fn bridge(self) -> BridgeIndex {
        match (self.egress >> SLOT_BITS) & INDEX_MASK {
            INDEX_MASK => BridgeIndex::NONE,
            index => BridgeIndex(index as u32),
        }
    }

    /// [`Compiled::vrf`].
    #[inline]
    pub fn vrf(self) -> VrfId {
        self.hot.vrf()
    }

    /// All of it.
    #[must_use]
    pub fn all(self) -> Compiled {
        let [a, b, c, d] = self.hot.mac_low.load(Relaxed).to_le_bytes();
        let [e, f] = self.hot.mac_high.load(Relaxed).to_le_bytes();
        Compiled {
            source: self.source(),
            checked_by: NexthopGroup((self.label >> LABEL_BITS) as u8),
            kind: self.kind(),
            nexthop: self.nexthop(),
            label: self.label(),
            mac: Mac([a, b, c, d, e, f]),
            bridge: self.bridge(),
            vrf: self.vrf(),
        }
    }

    /// Whether packets to this MAC are what it was made for: [`Compiled::mac`].
    #[inline]
    pub fn is_for(self, mac: Mac) -> bool {
        let [a, b, c, d, e, f] = mac.0;
        let low = self.hot.mac_low.load(Relaxed) ^ u32::from_le_bytes([a, b, c, d]);
        let high = self.hot.mac_high.load(Relaxed) ^ u16::from_le_bytes([e, f]);
        low | u32::from(high) == 0
    }
}

/// One cache line: key, state, counters, compiled action.
///
/// The key is written before the entry is published and does not change while it is. The state word is
/// changed by compare-and-swap. Counters are written by the owning worker alone, and the compiled part is
/// written and read by the owning worker alone, so relaxed accesses suffice for both.
#[repr(C, align(64))]
pub struct HotFlow {
    pub(super) key: [AtomicU32; 5],
    pub(super) state: AtomicU32,
    pub(super) bytes: AtomicU64,
    /// From bit 0: nexthop (21), bridge entry (21), kind (2), label valid (1), version of the state (16).
    egress: AtomicU64,
    pub(super) packets: AtomicU32,
    source: AtomicU32,
    /// From bit 0: label (24), group of the nexthop that checked the source (8).
    label: AtomicU32,
    /// Epochs of VRF and group together at compilation; 0 for never compiled.
    pub(super) epoch: AtomicU32,
    mac_low: AtomicU32,
    mac_high: AtomicU16,
    vrf: AtomicU16,
}

// SAFETY: atomics only; zero is a value of each.
unsafe impl Zeroed for HotFlow {}

const _: () = assert!(size_of::<HotFlow>() == 64);

impl HotFlow {
    /// Whether the first five words of the key are these; for IPv6 the rest has to be compared as well.
    #[inline]
    pub(super) fn matches(&self, words: &[u32; 11]) -> bool {
        words.first_chunk().is_some_and(|words| self.matches_inet(words))
    }

    /// Whether the first five words of the key are these.
    #[inline]
    pub(super) fn matches_inet(&self, words: &[u32; 5]) -> bool {
        let mut difference = 0;
        for (cell, word) in self.key.iter().zip(words) {
            difference |= cell.load(Relaxed) ^ word;
        }
        difference == 0
    }

    /// The state word.
    #[inline]
    pub fn state(&self) -> State {
        State(self.state.load(Acquire))
    }

    /// The VRF that the compiled part belongs to.
    #[inline]
    pub fn vrf(&self) -> VrfId {
        VrfId(self.vrf.load(Relaxed))
    }

    /// The compiled part, if it was made for this state and these epochs: `epoch` of [`HotFlow::vrf`]
    /// ([`Snapshot::flow_epoch`](crate::Snapshot::flow_epoch)), and that of the nexthop that checked the
    /// source. For the owning worker only.
    #[inline]
    pub fn compiled(&self, state: State, epoch: u32, nexthops: &NexthopEpochs) -> Option<CompiledFlow<'_>> {
        let egress = self.egress.load(Relaxed);
        let label = self.label.load(Relaxed);
        let checked_by = NexthopGroup((label >> LABEL_BITS) as u8);
        let valid = self.epoch.load(Relaxed) == sum(epoch, nexthops.of(checked_by))
            && (egress >> VERSION_SHIFT) as u16 == state.version();
        valid.then_some(CompiledFlow { hot: self, egress, label })
    }

    /// Voids what was compiled, and what the owner is compiling just now. Any worker may: the next packet is looked
    /// at in full. `seen` is the state of the entry that the caller has read; returned is the state for which he may
    /// compile. If the entry has changed since, that is one for which nothing counts.
    pub fn void(&self, seen: State) -> State {
        let old = self.state.fetch_update(AcqRel, Acquire, |state| Some(State(state).voided().0));
        self.forget();
        match old {
            Ok(old) if State(old).version() == seen.version() => seen.voided(),
            _ => seen,
        }
    }

    /// Gives the entry another state if it has this one still.
    pub(super) fn replace(&self, seen: State, new: State) -> bool {
        self.state.compare_exchange(seen.0, new.0, AcqRel, Acquire).is_ok()
    }

    /// Voids what was compiled for good: the changes that tell versions apart have eight bits and come round.
    pub(super) fn forget(&self) {
        self.epoch.store(0, Relaxed);
    }

    /// Stores what was compiled for this state and these epochs. For the owning worker only. Says whether it takes the
    /// place of what only epochs had voided.
    pub fn compile(&self, state: State, epoch: u32, nexthops: &NexthopEpochs, compiled: &Compiled) -> bool {
        let [a, b, c, d, e, f] = compiled.mac.0;
        self.source.store(compiled.source.bits(), Relaxed);
        let label = compiled.label.unwrap_or(0) & LABEL_MASK;
        self.label.store(label | u32::from(compiled.checked_by.0) << LABEL_BITS, Relaxed);
        self.mac_low.store(u32::from_le_bytes([a, b, c, d]), Relaxed);
        self.mac_high.store(u16::from_le_bytes([e, f]), Relaxed);
        self.vrf.store(compiled.vrf.0, Relaxed);
        let kind = match compiled.kind {
            EgressKind::Bridged => 0,
            EgressKind::Routed => 1,
            EgressKind::FromFabric => 2,
            EgressKind::Member => 3,
        };
        let egress = u64::from(compiled.nexthop.0) & INDEX_MASK
            | (u64::from(compiled.bridge.0) & INDEX_MASK) << SLOT_BITS
            | kind << KIND_SHIFT
            | if compiled.label.is_some() { LABEL_VALID } else { 0 }
            | u64::from(state.version()) << VERSION_SHIFT;
        self.egress.store(egress, Relaxed);
        let (before, now) = (self.epoch.load(Relaxed), sum(epoch, nexthops.of(compiled.checked_by)));
        self.epoch.store(now, Relaxed);
        before != 0 && before != now
    }

    /// Counts one packet. For the owning worker only.
    #[inline]
    pub fn count(&self, bytes: usize) {
        self.packets.store(self.packets.load(Relaxed).wrapping_add(1), Relaxed);
        self.bytes.store(self.bytes.load(Relaxed).wrapping_add(bytes as u64), Relaxed);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use vr_types::NexthopId;

    use super::super::{FlowAction, FlowKey, FlowTable};
    use super::{
        BridgeIndex, Compiled, EgressKind, HotFlow, Mac, NexthopEpochs, NexthopGroup, NexthopSlot, Source,
        State, VrfId,
    };
    use crate::geometry::Geometry;

    /// What an entry has compiled.
    fn compiled(hot: &HotFlow, state: State, epoch: u32, nexthops: &NexthopEpochs) -> Option<Compiled> {
        let compiled = hot.compiled(state, epoch, nexthops)?;
        let all = compiled.all();
        let [a, b, c, d, e, f] = all.mac.0;
        let others = [Mac([!a, b, c, d, e, f]), Mac([a, b, c, d, e, !f])];
        assert!(compiled.is_for(all.mac) && !others.iter().any(|mac| compiled.is_for(*mac)));
        Some(all)
    }

    const PLAIN: Compiled = Compiled {
        source: Source::inet([10, 0, 0, 1]),
        checked_by: NexthopGroup(1),
        kind: EgressKind::Routed,
        nexthop: NexthopSlot(1),
        label: None,
        mac: Mac::ZERO,
        bridge: BridgeIndex::NONE,
        vrf: VrfId(1),
    };

    #[test]
    fn what_was_compiled_is_read_back_for_its_state_and_epochs_only() {
        // SAFETY: zero is a value of every field.
        let hot: HotFlow = unsafe { std::mem::zeroed() };
        let state = State::new(7);
        let mut nexthops = NexthopEpochs::default();
        let all = Compiled {
            source: Source::inet([4, 3, 2, 1]),
            checked_by: NexthopGroup(255),
            kind: EgressKind::FromFabric,
            nexthop: NexthopSlot(0x1f_fffe),
            label: Some(0xff_fffe),
            mac: Mac([1, 2, 3, 4, 5, 6]),
            bridge: BridgeIndex(0x10_0001),
            vrf: VrfId(65_000),
        };
        assert_eq!(compiled(&hot, state, 1, &nexthops), None);
        hot.compile(state, 9, &nexthops, &all);
        assert_eq!(compiled(&hot, state, 9, &nexthops), Some(all));
        assert_eq!(compiled(&hot, state, 10, &nexthops), None);
        hot.forget();
        assert_eq!(compiled(&hot, state, 9, &nexthops), None);
        hot.compile(state, 9, &nexthops, &all);
        assert_eq!(compiled(&hot, state.changing().changed(), 9, &nexthops), None);
        assert_eq!(compiled(&hot, State::new(8), 9, &nexthops), None);
        nexthops.advance(NexthopSlot(0x12ff));
        assert_eq!(compiled(&hot, state, 9, &nexthops), None);
        nexthops.advance(NexthopSlot(0x12fe));
        hot.compile(state, 9, &nexthops, &all);
        assert_eq!(compiled(&hot, state, 9, &nexthops), Some(all));
        let kinds = [EgressKind::Bridged, EgressKind::Routed, EgressKind::Member, EgressKind::FromFabric];
        for kind in kinds {
            let unbridged = Compiled { bridge: BridgeIndex::NONE, label: None, kind, ..all };
            hot.compile(state, 9, &nexthops, &unbridged);
            assert_eq!(compiled(&hot, state, 9, &nexthops), Some(unbridged));
        }
    }

    #[test]
    fn what_was_compiled_stays_void_when_the_count_of_changes_comes_round() {
        let table = FlowTable::new(Geometry { entries: 4, overflow: 0 }, 1, None).unwrap();
        let key = FlowKey::inet(17, [0, 1, 0, 53], NexthopId(9), [10, 0, 0, 1], [10, 0, 0, 2]);
        let index = table.insert(&key, key.hash(), |_| {}).unwrap();
        let (hot, nexthops) = (table.hot(index).unwrap(), NexthopEpochs::default());
        table.modify(index, |_| (FlowAction::Forward, true));
        let before = hot.state();
        hot.compile(before, 1, &nexthops, &PLAIN);
        assert_eq!(compiled(hot, hot.state(), 1, &nexthops), Some(PLAIN));
        (0..256).for_each(|_| table.modify(index, |_| (FlowAction::Forward, true)));
        assert_eq!(hot.state(), before, "the same version");
        assert_eq!(compiled(hot, hot.state(), 1, &nexthops), None);
    }

    #[test]
    fn what_is_compiled_while_another_worker_voids_is_void() {
        // SAFETY: zero is a value of every field.
        let hot: HotFlow = unsafe { std::mem::zeroed() };
        let nexthops = NexthopEpochs::default();
        let (owner, other) = (hot.state(), hot.state());
        let other = hot.void(other);
        hot.compile(owner, 1, &nexthops, &PLAIN);
        assert_eq!(compiled(&hot, hot.state(), 1, &nexthops), None);
        hot.compile(other, 1, &nexthops, &PLAIN);
        assert_eq!(compiled(&hot, hot.state(), 1, &nexthops), Some(PLAIN), "looked at after it was voided");
        assert_eq!(hot.void(owner), owner, "nothing counts for a state that has passed");
    }
}
