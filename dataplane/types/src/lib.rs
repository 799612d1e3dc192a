//! Identifiers, addresses, drop reasons and trap reasons shared by every layer.
//!
//! Every table is indexed by its own identifier type only, so that a label can never be used as a
//! nexthop id by accident. All identifiers are plain numbers in host order; the types say which table
//! they name.

mod drop_reason;
mod id;
mod mac;
mod release;
mod trap;
mod tunnel;

pub use drop_reason::DropReason;
pub use id::{BridgeIndex, FlowId, FlowIndex, Label, MirrorId, NexthopId, VifId, Vni, VrfId, WorkerId};
pub use mac::Mac;
pub use release::Release;
pub use trap::{Trap, TrapReason};
pub use tunnel::TunnelKind;

/// Address families as messages number them (Linux values; control.md appendix B, "family").
pub mod family {
    /// IPv4.
    pub const INET: u8 = 2;
    /// Layer 2.
    pub const BRIDGE: u8 = 7;
    /// IPv6.
    pub const INET6: u8 = 10;
}
