//! The pipeline over memory: fast lanes against the full path, and frames that are too large.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod aggregates;
mod changes;
mod copies;
mod dropped;
mod ecmp_world;
mod entries;
mod evicted;
mod flood;
mod fragments;
mod host;
mod keys;
mod lab;
mod lanes;
mod limits;
mod members;
mod mirrored_flows;
mod monitoring;
mod oversize;
mod packets;
mod plain;
mod recompiled;
mod release;
mod restarting;
mod services;
mod sub_interfaces;
mod tcp_numbers;
mod translated;
mod translation;
mod uplinks;
mod waiting;
mod world;
