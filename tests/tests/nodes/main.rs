//! Two nodes with a daemon and a pod each: what they send is decoded by somebody else's program, and what others send
//! to them does no harm.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod capture;
mod decoded;
mod hostile;
mod pair;
mod restart;
