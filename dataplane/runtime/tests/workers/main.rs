//! Workers over memory and socket ports, with real tables.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod attaching;
mod forwarding;
mod holding;
mod idle;
mod lab;
mod overload;
mod renumbering;
