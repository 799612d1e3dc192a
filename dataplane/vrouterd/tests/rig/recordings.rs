//! The recorded step files.

use std::fmt::Write;
use std::path::{Path, PathBuf};

use crate::replay::Replay;
use crate::steps;

pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance")
}

#[test]
fn recordings_are_reproduced_over_vhost_user() {
    let only = std::env::var("STEP_FILES").unwrap_or_default();
    let excused = std::fs::read_to_string(folder().join("excused.txt")).unwrap();
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .filter(|name| name.contains(&only))
        .filter(|name| !excused.lines().any(|line| line.split(' ').next() == Some(name)))
        .collect();
    names.sort();
    assert!(!names.is_empty());
    let mut wrong = String::new();
    println!("{:<36} {:>6} {:>9} {:>7}", "file", "steps", "compared", "failed");
    for name in names {
        let mut replay = Replay::new();
        replay.run(&steps::read(&folder().join(&name)));
        let outcome = replay.finish();
        println!("{name:<36} {:>6} {:>9} {:>7}", outcome.steps, outcome.compared, outcome.failures.len());
        if !outcome.failures.is_empty() {
            writeln!(wrong, "\n{name}:\n{}", outcome.failures.concat()).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}
