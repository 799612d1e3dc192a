//! What the agent asks about flows, and what it is told.

use vr_types::{FlowIndex, VrfId};

use super::CommandError;
use crate::flow::{FlowAction, FlowFlags, FlowKey};

/// How a request names the reverse flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// By its position.
    Index(FlowIndex),
    /// By its key; `None` for one that is of no family.
    Key(Option<FlowKey>),
}

/// A flow as the agent describes it.
#[derive(Clone, Copy, Debug)]
pub struct FlowSpec {
    /// Position; `None` to add by key.
    pub index: Option<FlowIndex>,
    /// Key; `None` for one that is of no family.
    pub key: Option<FlowKey>,
    /// Generation of the entry at the position.
    pub generation: u8,
    /// Action; `None` for a number that is none.
    pub action: Option<FlowAction>,
    /// Flags; without [`FlowFlags::ACTIVE`] the flow is removed.
    pub flags: FlowFlags,
    /// Flags of host based services.
    pub flags1: u16,
    /// Evict a TCP flow that is over; nothing else counts then.
    pub force_evict: bool,
    /// The reverse flow; counts with [`FlowFlags::RFLOW_VALID`].
    pub reverse: Reverse,
    /// VRF.
    pub vrf: VrfId,
    /// VRF to go on in; counts with [`FlowFlags::VRFT`].
    pub dvrf: VrfId,
    /// Mirrors, 255 and more for none; count with [`FlowFlags::MIRROR`].
    pub mirrors: [u16; 2],
    /// Member of a composite, negative for none.
    pub ecmp_index: i8,
    /// Nexthop of the source check.
    pub source_nexthop: u32,
    /// QoS map, negative for none.
    pub qos_map: i16,
    /// TTL to write, 0 for none.
    pub ttl: u8,
    /// Underlay link, negative for none.
    pub underlay_index: i8,
    /// Why it drops; counts with [`FlowAction::Drop`].
    pub drop_reason: u8,
}

/// What a request about a flow gives; index and generation count for errors as well.
#[derive(Debug)]
pub struct FlowReply {
    /// Success, or why not.
    pub result: Result<(), CommandError>,
    /// Position of the entry that was found or made, else that of the request.
    pub index: Option<FlowIndex>,
    /// Its generation, 0 if there is no entry.
    pub generation: u8,
    /// The entry was removed.
    pub deleted: bool,
    /// Packets and bytes that an evicted predecessor has left in the slot of a new entry.
    pub left: (u64, u64),
}

/// Flow counters of the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// Entries in use, overflow included.
    pub used: u32,
    /// Of these in the overflow area.
    pub used_overflow: u32,
    /// Entries that the agent took out of HOLD.
    pub processed: u64,
    /// Entries that the agent added.
    pub added: u64,
    /// Entries that the agent changed.
    pub changed: u64,
    /// Entries that the agent removed.
    pub deleted: u64,
    /// Entries that packets made.
    pub created: u64,
    /// Packets refused because too many flows wait.
    pub hold_overflows: u64,
    /// Entries that wait for the agent.
    pub holding: u64,
    /// Entries that made room without the agent.
    pub evicted: u64,
    /// Flows that may still be made beyond the hold limit.
    pub burst_free: u32,
}
