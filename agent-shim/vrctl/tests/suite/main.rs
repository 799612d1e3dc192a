//! The program, as operators run it, against a control server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod changes;
mod drop_log;
mod operators;
mod r220;
mod replay;
mod rig;
mod sample_file;
mod samples;
mod views;
