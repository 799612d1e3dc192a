//! The inputs collected for the fuzzer are replayed by every test run.

use std::fs;
use std::path::Path;

use crate::fuzz_target::wire_views;

#[test]
fn wire_views_corpus() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/fuzz/corpus/wire_views");
    let mut replayed = 0;
    for entry in fs::read_dir(folder).unwrap() {
        wire_views(&fs::read(entry.unwrap().path()).unwrap());
        replayed += 1;
    }
    assert!(replayed >= 40, "only {replayed} inputs");
}
