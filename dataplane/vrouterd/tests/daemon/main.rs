//! The daemon as a process: what it refuses and how it says so, how it starts and ends, and what hostile clients of
//! its control socket can do.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

// The other side of vhost-user.
mod devices;
#[allow(dead_code, unreachable_pub, reason = "the tests of ports use all of it")]
#[path = "../../../io/tests/support/front_end.rs"]
mod front_end;
mod hostile;
mod huge;
mod life;
mod machines;
mod node;
mod refusals;
mod restart;
mod traps;
mod vlan;
