//! The tables against plain models, from one thread and from several.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod bridge;
mod bridge_threads;
mod epochs;
mod evicting;
mod flow_threads;
mod flows;
mod folding;
mod large;
mod links;
mod refused_flows;
mod refused_small;
mod refused_ways;
mod release;
mod restart;
mod restart_devices;
mod restart_flows;
mod restart_switch;
mod routes;
mod support;
mod uplinks;
