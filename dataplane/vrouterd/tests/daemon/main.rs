//! The daemon as a process: what it refuses and how it says so, how it starts and ends, and what hostile clients of
//! its control socket can do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod hostile;
mod huge;
mod life;
mod node;
mod refusals;
mod traps;
