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
mod flood;
mod metadata;
mod outside;
mod translated;

use vr_io::netdev::{Feature, set_feature};
use vr_tests::netns::Namespace;

/// Has a device's packets leave with whole checksums, as on a wire, which receivers then verify.
fn whole_checksums(namespace: &Namespace, device: &str) {
    namespace.run(|| set_feature(device, Feature::TransmitChecksums, false)).unwrap().unwrap();
}

/// A counter of a namespace's kernel: its file below `/proc/net`, its group and its name.
fn counter(namespace: &Namespace, file: &str, group: &str, name: &str) -> u64 {
    let path = format!("/proc/thread-self/net/{file}");
    let text = namespace.run(|| std::fs::read_to_string(path)).unwrap().unwrap();
    let mut lines = text.lines().filter_map(|line| line.strip_prefix(group)?.strip_prefix(": "));
    let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
    let at = names.split(' ').position(|word| word == name).unwrap();
    values.split(' ').nth(at).unwrap().parse().unwrap()
}
