//! The read side of counters: what a running daemon reports about its workers, ports and steering programs.
//!
//! A [`Report`] is plain data. The daemon fills it from counters that workers write for themselves, and gives it
//! as JSON to whoever connects to the socket [`SOCKET`] in its socket directory ([`fetch`]). Printed, it is a table
//! for people.

mod fetch;
mod flows;
mod kinds;
mod report;

pub use fetch::{FetchError, fetch};
pub use flows::{Flows, Memory, Quota};
pub use kinds::KindFigures;
pub use report::{Folding, Port, Report, Steering, Worker};

/// Name of the socket in the socket directory.
pub const SOCKET: &str = "vrouterd_status";
