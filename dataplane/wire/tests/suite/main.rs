//! Whole packets: what is cut is put together again, and an independent parser agrees.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod corpus;
mod fragments;
mod headers;
mod packets;
mod segments;

/// The fuzz target, whose own package wants another compiler.
#[path = "../../../../tests/fuzz/src/wire_views.rs"]
pub mod fuzz_target;
