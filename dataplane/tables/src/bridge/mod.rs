//! The bridge table: (VRF, MAC) to nexthop (forwarding.md 3.4).
//!
//! One hash table for all VRFs with buckets of four and an overflow area; an entry stands where the
//! original puts it, because its index travels in messages. Two representations: sixteen private bytes per
//! entry, a bucket to the cache line, for the workers, and the 64 bytes of control.md 5.3 for the agent.
//! There is one writer. A worker that reads an entry while it is reused finds its value changed and reads
//! again.

mod count;
mod entry;
mod shared;
mod table;
mod writer;

pub use count::BridgeCounting;
pub use entry::{BridgeEntry, BridgeFlags, BridgeKey};
pub use table::BridgeTable;
pub use writer::{BridgeFull, BridgeWriter};
