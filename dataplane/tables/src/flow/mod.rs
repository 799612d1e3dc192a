//! The flow table (forwarding.md 6): one direction of a conversation per entry.
//!
//! Two representations of an entry stand side by side: 256 bytes in the file that the agent maps
//! ([`SharedFlow`]), at the index where the original puts it, and a private cache line ([`HotFlow`]) with the
//! key, a state word, counters and what the owning worker compiled. `docs/flow-table.md` states which one is
//! the truth for which field, and who may change what under which memory order. Clients of R2.20 map entries of 128
//! bytes: copies of the shared half, which then is private (`view.rs`).

mod fold;
mod foreign;
mod holds;
mod hot;
mod key;
mod layout;
mod overflow;
mod ports;
mod settle;
mod source;
mod table;
mod translation;
mod view;

pub use fold::FlowFolding;
pub use holds::HoldCounters;
pub use hot::{Compiled, EgressKind, HotFlow, State};
pub use key::{FlowHash, FlowKey};
pub use layout::{FlowAction, FlowFlags, SharedFlow, TcpFlags};
pub use ports::ServicePorts;
pub(crate) use source::Inet6Peers;
pub use source::Source;
pub use table::{FlowTable, InsertError};
pub use translation::Translation;
