//! The inputs collected for the fuzzer are replayed by every test run.

use std::fs;

use crate::netlink_frames::netlink_frames;
use crate::sandesh_decode::sandesh_decode;
use crate::support::repository;

/// Gives every input of a corpus to its target; there are at least `expected`.
fn replay(corpus: &str, target: fn(&[u8]), expected: usize) {
    let mut replayed = 0;
    for entry in fs::read_dir(repository("tests/fuzz/corpus").join(corpus)).unwrap() {
        target(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= expected, "only {replayed} inputs in {corpus}");
}

#[test]
fn sandesh_decode_corpus() {
    replay("sandesh_decode", sandesh_decode, 60);
}

#[test]
fn netlink_frames_corpus() {
    replay("netlink_frames", netlink_frames, 20);
}
