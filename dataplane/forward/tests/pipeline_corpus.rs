//! The inputs collected for the fuzzer are replayed by every test run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

use std::fs;
use std::path::Path;

/// The fuzz target, whose own package wants another compiler.
#[path = "../../../tests/fuzz/src/pipeline/mod.rs"]
pub mod fuzz_target;

#[test]
fn pipeline_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/pipeline");
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        println!("{}", path.display()); // the last one is the one that failed
        fuzz_target::pipeline(&fs::read(path).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 40, "only {replayed} inputs");
}
