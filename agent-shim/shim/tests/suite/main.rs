//! Tests of the control server: over its socket as clients see it, and in process where there are very many requests.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod agent_start;
mod bad_input;
mod client;
mod dumps;
mod errors;
mod flow_metadata;
mod mutations;
mod node;
mod ports;
mod raw;
mod recorded;
mod served;
mod sessions;
mod state;

/// Reader of the recorded start of an agent, which the codec's tests read too.
#[path = "../../../sandesh/tests/suite/trace_file.rs"]
mod trace_file;
