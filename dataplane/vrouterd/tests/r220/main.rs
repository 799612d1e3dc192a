//! The daemon with `compat = "r2.20"`, over TCP, by a client that encodes what R2.20 encodes (control.md 9, A.2). The
//! encoder is that of the stand-in for the agent, not the daemon's.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod bad_input;
mod flows;
#[allow(dead_code, unreachable_pub, reason = "the tests of ports use all of it")]
#[path = "../../../io/tests/support/front_end.rs"]
mod front_end;
mod machines;
mod node;
mod requests;
mod values;
