//! Longest prefix match: a trie with a stride of eight bits, its nodes compressed to runs of equal slots and
//! shared between snapshots.
//!
//! Every slot carries the route that covers it (leaves are pushed down), so a lookup never goes back. The
//! routes themselves stand in a [`Rib`](crate::rib::Rib) beside the trie; a removal asks that one for the
//! covering route.

use std::sync::Arc;

use vr_types::BridgeIndex;

use crate::nexthop::NexthopSlot;

/// What a lookup finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to send the packet.
    pub nexthop: NexthopSlot,
    /// 24 bits of label and, above them, the route flags of [`RouteFlags`].
    label_and_flags: u32,
    /// Entry whose MAC answers ARP for this route, or [`BridgeIndex::NONE`].
    pub stitched: BridgeIndex,
    /// Length of the prefix that matched.
    pub prefix_len: u8,
}

bitflags::bitflags! {
    /// Flags of a route (forwarding.md 3.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct RouteFlags: u8 {
        /// The label is to be pushed.
        const LABEL_VALID = 0x1;
        /// Answer ARP for addresses of this prefix.
        const ARP_PROXY = 0x2;
        /// Copy gratuitous ARP to the agent.
        const ARP_TRAP = 0x4;
        /// Flood ARP when no MAC is stitched.
        const ARP_FLOOD = 0x8;
        /// Learnt by MAC and IP learning.
        const MAC_IP_LEARNT = 0x10;
    }
}

impl Route {
    /// Value of an absent label.
    pub const NO_LABEL: u32 = 0x00ff_ffff;

    /// What a VRF without a matching route gives: the discard nexthop.
    pub const MISS: Self = Self {
        nexthop: NexthopSlot::DISCARD,
        label_and_flags: Self::NO_LABEL,
        stitched: BridgeIndex::NONE,
        prefix_len: 0,
    };

    /// A route; the label counts only with [`RouteFlags::LABEL_VALID`].
    #[must_use]
    pub fn new(
        nexthop: NexthopSlot,
        label: u32,
        flags: RouteFlags,
        stitched: BridgeIndex,
        prefix_len: u8,
    ) -> Self {
        let label =
            if flags.contains(RouteFlags::LABEL_VALID) { label & Self::NO_LABEL } else { Self::NO_LABEL };
        Self { nexthop, label_and_flags: label | u32::from(flags.bits()) << 24, stitched, prefix_len }
    }

    /// The flags.
    #[inline]
    #[must_use]
    pub const fn flags(&self) -> RouteFlags {
        RouteFlags::from_bits_truncate((self.label_and_flags >> 24) as u8)
    }

    /// The label to push, if there is one.
    #[inline]
    #[must_use]
    pub const fn label(&self) -> Option<u32> {
        if self.flags().contains(RouteFlags::LABEL_VALID) { Some(self.raw_label()) } else { None }
    }

    /// The stored label; [`Route::NO_LABEL`] when there is none.
    #[inline]
    #[must_use]
    pub const fn raw_label(&self) -> u32 {
        self.label_and_flags & Self::NO_LABEL
    }
}

#[derive(Clone)]
enum Slot {
    Route(Route),
    Node(Arc<Node>),
}

impl Slot {
    fn same_route(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Route(a), Self::Route(b)) if a == b)
    }
}

/// 256 slots, equal neighbours stored once: a set bit starts a new run.
struct Node {
    starts: [u64; 4],
    /// Runs before each of the four words.
    before: [u16; 4],
    runs: Box<[Slot]>,
}

impl Node {
    fn slot(&self, byte: u8) -> &Slot {
        let word = usize::from(byte >> 6);
        let upto = self.starts[word] & (u64::MAX >> (63 - (byte & 63)));
        &self.runs[usize::from(self.before[word]) + upto.count_ones() as usize - 1]
    }

    fn expand(&self) -> Vec<Slot> {
        (0..=255).map(|byte| self.slot(byte).clone()).collect()
    }

    /// The compressed node, or the one route when all slots are the same.
    fn compress(slots: Vec<Slot>) -> Slot {
        let mut starts = [0u64; 4];
        let mut before = [0u16; 4];
        let mut runs: Vec<Slot> = Vec::with_capacity(8);
        for (index, slot) in slots.into_iter().enumerate() {
            if index % 64 == 0 {
                before[index / 64] = runs.len() as u16;
            }
            // A word must start with a run of its own unless one continues from the word before, in which
            // case that run is counted in `before`.
            if runs.last().is_none_or(|last| !last.same_route(&slot)) {
                starts[index / 64] |= 1 << (index % 64);
                runs.push(slot);
            }
        }
        match (&runs[..], runs.len()) {
            ([Slot::Route(route)], 1) => Slot::Route(*route),
            _ => Slot::Node(Arc::new(Self { starts, before, runs: runs.into_boxed_slice() })),
        }
    }
}

/// The lookup structure of one VRF and family; `N` is the length of an address in bytes.
#[derive(Clone)]
pub struct Fib<const N: usize> {
    root: Slot,
}

impl<const N: usize> Default for Fib<N> {
    fn default() -> Self {
        Self { root: Slot::Route(Route::MISS) }
    }
}

impl<const N: usize> Fib<N> {
    /// The longest match.
    #[inline]
    #[must_use]
    pub fn lookup(&self, address: &[u8; N]) -> Route {
        let mut slot = &self.root;
        for byte in address {
            match slot {
                Slot::Route(route) => return *route,
                Slot::Node(node) => slot = node.slot(*byte),
            }
        }
        match slot {
            Slot::Route(route) => *route,
            // Nodes below the last byte do not exist.
            Slot::Node(_) => Route::MISS,
        }
    }

    /// Puts `route` wherever `prefix` covers and no longer prefix does. `route.prefix_len` is its length.
    pub(crate) fn insert(&mut self, prefix: &[u8; N], route: Route) {
        self.replace(prefix, route.prefix_len, route, |old| old.prefix_len <= route.prefix_len);
    }

    /// Puts `covering` wherever the prefix of this length was the longest match.
    pub(crate) fn remove(&mut self, prefix: &[u8; N], prefix_len: u8, covering: Route) {
        self.replace(prefix, prefix_len, covering, |old| old.prefix_len == prefix_len);
    }

    fn replace(&mut self, prefix: &[u8; N], len: u8, new: Route, gives_way: impl Fn(&Route) -> bool + Copy) {
        self.root = replace_in(&self.root, prefix, usize::from(len), new, gives_way);
    }
}

/// The slot `slot`, which stands for the address bits before `prefix`, with `new` put below the prefix.
fn replace_in(
    slot: &Slot,
    prefix: &[u8],
    len: usize,
    new: Route,
    gives_way: impl Fn(&Route) -> bool + Copy,
) -> Slot {
    match (slot, len) {
        (Slot::Route(old), 0) => Slot::Route(if gives_way(old) { new } else { *old }),
        (Slot::Node(node), 0) => {
            let slots = node.expand();
            Node::compress(slots.iter().map(|below| replace_in(below, &[], 0, new, gives_way)).collect())
        }
        (slot, len) => {
            let mut slots = match slot {
                Slot::Route(_) => vec![slot.clone(); 256],
                Slot::Node(node) => node.expand(),
            };
            let Some((&byte, rest)) = prefix.split_first() else { return slot.clone() };
            if len >= 8 {
                let below = &mut slots[usize::from(byte)];
                *below = replace_in(below, rest, len - 8, new, gives_way);
            } else {
                let first = usize::from(byte) & !(0xff >> len);
                for below in &mut slots[first..first + (256 >> len)] {
                    *below = replace_in(below, &[], 0, new, gives_way);
                }
            }
            Node::compress(slots)
        }
    }
}
