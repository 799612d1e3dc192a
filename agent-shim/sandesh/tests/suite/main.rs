//! Tests of the codec against the specification, the recordings and random input.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod conformance;
mod corpus;
mod decoding;
mod framing;
mod properties;
mod spec;
mod support;
mod trace;
mod vectors;

/// The fuzz target, whose own package wants another compiler.
#[path = "../../../../tests/fuzz/src/sandesh_decode.rs"]
pub mod fuzz_target;
