//! Forwarding tables, their published snapshots, and the layouts that the agent maps.
//!
//! - [`Snapshot`]: everything that changes by command only; immutable, published once per batch of commands
//!   through [`publish`].
//! - [`bridge::BridgeTable`] and [`flow::FlowTable`]: hash tables with stable positions that the agent maps;
//!   their readers take no lock.
//! - `control::Tables`: the one writer; its methods are the commands.
//! - [`stats`]: counters by worker.

pub mod bridge;
pub mod bridge_folding;
pub mod control;
mod deferred;
pub mod dense;
pub mod drop_log;
pub mod epochs;
pub mod fat_flow;
pub mod fib;
pub mod flow;
pub mod geometry;
pub mod grace;
pub mod huge;
mod mapped;
pub mod nexthop;
pub mod options;
pub mod prefetch;
pub mod publish;
pub mod rib;
pub mod snapshot;
pub mod stats;
pub mod vif;

pub use mapped::MapError;
pub use snapshot::Snapshot;
