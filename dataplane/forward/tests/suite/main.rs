//! The pipeline over memory: fast lanes against the full path, and frames that are too large.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod changes;
mod copies;
mod dropped;
mod fragments;
mod host;
mod lab;
mod lanes;
mod monitoring;
mod oversize;
mod packets;
mod plain;
mod release;
mod restarting;
mod sub_interfaces;
mod translated;
mod waiting;
mod world;
