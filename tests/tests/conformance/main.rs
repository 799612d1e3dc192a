//! The recorded step files (docs/spec/step-files.md), replayed in process: fresh tables, the handlers of the control
//! socket, and one pipeline over memory. Time is simulated.
//!
//! `tests/conformance/excused.txt` names the files that wait for something. It may only become shorter: an excused
//! file that passes fails the test.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod frames;
mod node;
mod replay;
mod replies;
mod steps;

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::{Path, PathBuf};

use replay::{Outcome, Replay};
use steps::Step;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("conformance")
}

/// Names of the step files, in order.
fn files() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "jsonl"))
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

/// Excused files with what they wait for.
fn excused() -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(folder().join("excused.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| {
            let (name, reason) = line.split_once(' ').expect("an excuse has a file and a reason");
            (name.to_owned(), reason.trim().to_owned())
        })
        .collect()
}

fn replay(name: &str) -> Outcome {
    let steps = steps::read(&folder().join(name));
    let run = || {
        let mut replay = Replay::new();
        replay.run(&steps);
        replay.finish()
    };
    std::panic::catch_unwind(run).unwrap_or_else(|_| Outcome::panicked(steps.len()))
}

#[test]
fn recordings_are_reproduced() {
    let excused = excused();
    let only = std::env::var("STEP_FILES").unwrap_or_default();
    let (mut wrong, mut details) = (Vec::new(), String::new());
    println!("{:<36} {:>6} {:>9} {:>7}  result", "file", "steps", "compared", "failed");
    for name in files().into_iter().filter(|name| name.contains(&only)) {
        let outcome = replay(&name);
        let excuse = excused.get(&name);
        let result = match (outcome.failures.is_empty(), excuse) {
            (true, None) => "passed".to_owned(),
            (true, Some(_)) => "passed, but is excused".to_owned(),
            (false, None) => "FAILED".to_owned(),
            (false, Some(reason)) => format!("excused: {reason}"),
        };
        let Outcome { steps, compared, failures } = &outcome;
        println!("{name:<36} {steps:>6} {compared:>9} {:>7}  {result}", failures.len());
        if failures.is_empty() != excuse.is_none() {
            writeln!(details, "\n{name}: {result}\n{}", failures.concat()).unwrap();
            wrong.push(name);
        } else if !only.is_empty() {
            println!("{}", failures.concat());
        }
    }
    assert!(wrong.is_empty(), "{}\n{details}", wrong.join(", "));
}

#[test]
fn excuses_are_for_files_that_exist() {
    let files = files();
    for name in excused().keys() {
        assert!(files.contains(name), "{name} is excused, but there is no such file");
    }
}

/// Step files and specification are copies. Where what they were copied from lies beside the project, none is missing
/// and none differs.
#[test]
fn copies_are_equal_to_their_originals() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let shared = project.join("../shared");
    if !shared.is_dir() {
        eprintln!("skipped: copies_are_equal_to_their_originals: there are no originals beside the project");
        return;
    }
    let mut compared = 0;
    for (originals, copies) in [("conformance", folder()), ("spec", project.join("docs/spec"))] {
        for original in std::fs::read_dir(shared.join(originals)).unwrap() {
            let original = original.unwrap();
            let copy = copies.join(original.file_name());
            let same = std::fs::read(&copy).is_ok_and(|copy| copy == std::fs::read(original.path()).unwrap());
            assert!(same, "{} is no copy of {}", copy.display(), original.path().display());
            compared += 1;
        }
    }
    assert!(compared > 30, "{compared} files");
}

/// The replay can fail: each kind of step, changed in one place, is noticed.
#[test]
fn changed_recordings_are_noticed() {
    let change = |step: &mut Step| match step {
        Step::Reply(reply) => reply.resp_code += 1,
        Step::Expect(expect) => *expect.frame.last_mut().unwrap() ^= 1,
        Step::ExpectNone(_) => *step = Step::Passive,
        Step::DropStats { delta, .. } | Step::VifStats { delta, .. } | Step::VrfStats { delta, .. } => {
            for value in delta.values_mut() {
                *value = (value.as_i64().unwrap() + 1).into();
            }
        }
        Step::FlowEntry(entry) => entry.bytes[16] ^= 1,
        _ => {}
    };
    let mut changed = 0;
    for name in ["09-local-forwarding.jsonl", "13-flow-miss-and-hold.jsonl"] {
        let mut steps = steps::read(&folder().join(name));
        let mut compared = 0;
        for step in &mut steps {
            change(step);
            let empty = matches!(step, Step::DropStats { delta, .. } if delta.is_empty());
            let checked = matches!(
                step,
                Step::Reply(_)
                    | Step::Expect(_)
                    | Step::DropStats { .. }
                    | Step::VifStats { .. }
                    | Step::VrfStats { .. }
                    | Step::FlowEntry(_)
            );
            compared += usize::from(checked && !empty);
        }
        let mut replay = Replay::new();
        replay.run(&steps);
        assert_eq!(replay.finish().failures.len(), compared, "{name}");
        changed += compared;
    }
    assert!(changed > 50);
}
