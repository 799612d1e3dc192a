//! The inputs collected for the fuzzer are replayed by every test run.

use std::fs;

use crate::fuzz_target::sandesh_decode;
use crate::support::repository;

#[test]
fn sandesh_decode_corpus() {
    let mut replayed = 0;
    for entry in fs::read_dir(repository("tests/fuzz/corpus/sandesh_decode")).unwrap() {
        sandesh_decode(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 40, "only {replayed} inputs");
}
