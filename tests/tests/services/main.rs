//! Flows with real connections: services, address translation, floods, closed sessions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod balanced;
mod metadata;
mod outside;
mod translated;
