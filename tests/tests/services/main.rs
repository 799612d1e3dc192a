//! Flows with real connections: services, address translation, floods, closed sessions.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    reason = "a test fails by a panic"
)]

mod balanced;
mod closed;
mod metadata;
mod outside;
mod translated;

use vr_io::netdev::{Feature, set_feature};
use vr_tests::netns::Namespace;

/// Has a device's packets leave with whole checksums, as on a wire, which receivers then verify.
fn whole_checksums(namespace: &Namespace, device: &str) {
    namespace.run(|| set_feature(device, Feature::TransmitChecksums, false)).unwrap().unwrap();
}
