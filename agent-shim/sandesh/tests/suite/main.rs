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
mod trace_file;
mod vectors;

/// A fuzz target, whose own package wants another compiler.
#[path = "../../../../tests/fuzz/src/netlink_frames.rs"]
pub mod netlink_frames;
/// A fuzz target, likewise.
#[path = "../../../../tests/fuzz/src/sandesh_decode.rs"]
pub mod sandesh_decode;
