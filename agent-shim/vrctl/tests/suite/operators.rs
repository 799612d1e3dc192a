//! The examples in docs/operators.md are what the words print.

use vr_types::{DropReason, VifId};

use crate::rig::Rig;
use crate::samples::{masked, program};

/// How many examples that print something there are at least.
const EXAMPLES: usize = 25;
/// A line that stands for any number of lines.
const LEFT_OUT: &str = "...";

/// A command, and the lines under it.
struct Example {
    line: String,
    shown: Vec<String>,
}

/// What stands behind `$`, in the order of the page.
fn examples() -> Vec<Example> {
    let page = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operators.md");
    let page = std::fs::read_to_string(page).unwrap();
    let mut examples: Vec<Example> = Vec::new();
    let mut is_open = false;
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(code) if code.starts_with("$ ") => {
                examples.push(Example { line: code[2..].to_owned(), shown: Vec::new() });
                is_open = true;
            }
            Some(code) if is_open => examples.last_mut().unwrap().shown.push(code.to_owned()),
            // An empty line of an output may be the end of the example as well.
            None if line.is_empty() && is_open => {
                examples.last_mut().unwrap().shown.push(String::new());
            }
            _ => is_open = false,
        }
    }
    for example in &mut examples {
        while example.shown.last().is_some_and(String::is_empty) {
            example.shown.pop();
        }
    }
    examples
}

/// Whether the lines are those that are shown.
fn agrees(lines: &[String], shown: &[String]) -> bool {
    match shown.split_first() {
        None => lines.iter().all(String::is_empty),
        Some((first, rest)) if first == LEFT_OUT => {
            (0..=lines.len()).any(|skipped| agrees(&lines[skipped..], rest)) || rest.is_empty()
        }
        Some((first, rest)) => lines.first() == Some(first) && agrees(&lines[1..], rest),
    }
}

#[test]
fn the_examples_for_operators_are_true() {
    let rig = Rig::new();
    program(&rig);
    (0..12).for_each(|_| rig.drops[0].dropped(VifId(5), DropReason::FlowActionDrop));
    rig.drops[1].dropped(VifId(0), DropReason::L2NoRoute);
    rig.drops[1].drop_log.write(&crate::drop_log::dropped(DropReason::FlowActionDrop, 5));
    let examples = examples();
    for example in &examples {
        let done = rig.run_on_node(&example.line);
        let text = format!("{}{}", done.error, done.out).replace("\x1b[H\x1b[2J\x1b[3J", "");
        let hide = |line: &str| masked(line.trim_end()).trim_end().to_owned();
        let lines: Vec<String> = text.lines().map(hide).collect();
        let shown: Vec<String> = example.shown.iter().map(|line| hide(line)).collect();
        assert!(agrees(&lines, &shown), "$ {}\n{text}", example.line);
    }
    let showing = examples.iter().filter(|example| !example.shown.is_empty());
    assert!(showing.clone().count() >= EXAMPLES);
    for word in [
        "vif",
        "nh",
        "rt",
        "flow",
        "mpls",
        "vxlan",
        "mirror",
        "dropstats",
        "vrfstats",
        "vrftable",
        "vrouter",
        "qosmap",
        "vrmemstats",
        "dpdkinfo",
        "dpdkconf",
        "vrinfo",
    ] {
        let has = |example: &Example| example.line.split(' ').next() == Some(word);
        assert!(showing.clone().any(has), "no example of {word}");
    }
}

#[test]
fn an_example_that_is_not_true_is_noticed() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    let printed = lines("a b c d");
    for right in ["a b c d", "a ... d", "... c d", "a ...", "... b ... d", "..."] {
        assert!(agrees(&printed, &lines(right)), "{right}");
    }
    for wrong in ["a b c", "a b d", "a ... c", "... e", "b ...", "a b c d e"] {
        assert!(!agrees(&printed, &lines(wrong)), "{wrong}");
    }
}
