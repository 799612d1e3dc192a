//! The flow table (forwarding.md 6): one direction of a conversation per entry.
//!
//! Two representations of an entry stand side by side: 256 bytes in the file that the agent maps
//! ([`SharedFlow`]), at the index where the original puts it, and a private cache line ([`HotFlow`]) with the
//! key, a state word, counters and what the owning worker compiled. `docs/flow-table.md` states which one is
//! the truth for which field, and who may change what under which memory order. Clients of R2.20 map entries of 128
//! bytes: copies of the shared half, which then is private (`view.rs`).

mod burst;
mod change;
mod count;
mod evict;
mod expect;
mod fold;
mod foreign;
mod holds;
mod hot;
mod insert;
mod key;
mod layout;
mod memory;
mod overflow;
mod ports;
mod quota;
mod renew;
mod settle;
mod source;
mod state;
mod table;
mod translation;
mod view;

pub use burst::{Burst, BurstLimits};
pub use count::Marks;
pub(crate) use evict::Candidate;
pub use expect::Expected;
pub use fold::FlowFolding;
pub use holds::HoldCounters;
pub use hot::{Compiled, CompiledFlow, EgressKind, HotFlow};
pub use insert::InsertError;
pub use key::{FlowHash, FlowKey};
pub use layout::{FlowAction, FlowFlags, SharedFlow, TcpFlags};
pub use ports::ServicePorts;
pub use quota::{Charge, QuotaLimits, QuotaUse, Quotas};
pub(crate) use source::Inet6Peers;
pub use source::Source;
pub use state::State;
pub use table::{FlowTable, Tagged};
pub use translation::Translation;
