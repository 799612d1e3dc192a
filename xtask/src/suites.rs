//! The suites of `cargo xtask test`: what runs, in which order, for how long at the most.

use std::process::Command;
use std::time::Duration;

use crate::summary::{self, count};
use crate::{layers, leftovers, process};

/// What a suite does.
enum Work {
    /// Runs programs one after the other.
    Commands(&'static [&'static [&'static str]]),
    /// Checks something itself; the text says what is wrong.
    Check(fn() -> anyhow::Result<Vec<String>>),
}

/// One suite.
struct Suite {
    name: &'static str,
    covers: &'static str,
    budget: u64,
    work: Work,
}

/// Crates whose tests need root and namespaces.
const PRIVILEGED: [&str; 5] = ["vr-io", "steer-loader", "vr-runtime", "vrouterd", "vr-tests"];

const SUITES: &[Suite] = &[
    Suite {
        name: "formatting",
        covers: "every Rust file is formatted",
        budget: 60,
        work: Work::Commands(&[
            &["cargo", "fmt", "--all", "--check"],
            &["cargo", "fmt", "--manifest-path", "ebpf/steer/Cargo.toml", "--check"],
            &["cargo", "fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"],
        ]),
    },
    Suite {
        name: "layers",
        covers: "crates depend on the layers below them only",
        budget: 60,
        work: Work::Check(layers::check),
    },
    Suite {
        name: "clippy",
        covers: "lints, warnings are errors",
        budget: 480,
        work: Work::Commands(&[&[
            "cargo",
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]]),
    },
    Suite {
        name: "docs",
        covers: "documentation builds without warnings",
        budget: 240,
        work: Work::Commands(&[&["cargo", "doc", "--quiet", "--workspace", "--no-deps"]]),
    },
    Suite {
        name: "build",
        covers: "tests and programs compile",
        budget: 600,
        work: Work::Commands(&[&["cargo", "build", "--quiet", "--workspace", "--all-targets"]]),
    },
    Suite {
        name: "unit",
        covers: "unit and property tests, step files, fuzz corpora",
        budget: 300,
        work: Work::Commands(&[&[
            "cargo",
            "test",
            "--workspace",
            "--no-fail-fast",
            "--exclude",
            PRIVILEGED[0],
            "--exclude",
            PRIVILEGED[1],
            "--exclude",
            PRIVILEGED[2],
            "--exclude",
            PRIVILEGED[3],
            "--exclude",
            PRIVILEGED[4],
            "--",
            "--show-output",
        ]]),
    },
    Suite {
        name: "verifier",
        covers: "the kernel takes the eBPF programs, and they decide as they should",
        budget: 240,
        work: Work::Commands(&[&[
            "cargo",
            "test",
            "-p",
            PRIVILEGED[1],
            "--no-fail-fast",
            "--",
            "--show-output",
        ]]),
    },
    Suite {
        name: "ports",
        covers: "every kind of port on real devices",
        budget: 240,
        work: Work::Commands(&[&[
            "cargo",
            "test",
            "-p",
            PRIVILEGED[0],
            "--no-fail-fast",
            "--",
            "--show-output",
            "--test-threads=1",
        ]]),
    },
    Suite {
        name: "namespaces",
        covers: "workers, daemon and scenarios between namespaces",
        budget: 300,
        work: Work::Commands(&[&[
            "cargo",
            "test",
            "-p",
            PRIVILEGED[2],
            "-p",
            PRIVILEGED[3],
            "-p",
            PRIVILEGED[4],
            "--no-fail-fast",
            "--",
            "--show-output",
            "--test-threads=1",
        ]]),
    },
    Suite {
        name: "left behind",
        covers: "namespaces, files and pinned objects are cleaned up",
        budget: 30,
        work: Work::Check(leftovers::find),
    },
];

/// Runs the suites whose name contains `only`, or all; whether all is well.
pub(crate) fn run(only: Option<&str>) -> anyhow::Result<bool> {
    let mut results = Vec::new();
    for suite in SUITES.iter().filter(|suite| only.is_none_or(|only| suite.name.contains(only))) {
        println!("{:<14} {} (at most {} s)", suite.name, suite.covers, suite.budget);
        results.push(suite.run()?);
    }
    Ok(summary::print(&results))
}

impl Suite {
    fn run(&self) -> anyhow::Result<summary::Result> {
        let budget = Duration::from_secs(self.budget);
        let mut result = summary::Result {
            name: self.name,
            success: true,
            timed_out: false,
            took: Duration::ZERO,
            counted: summary::Counted::default(),
            output: String::new(),
        };
        match &self.work {
            Work::Check(check) => {
                let faults = check()?;
                result.success = faults.is_empty();
                result.output = faults.join("\n");
            }
            Work::Commands(commands) => {
                for words in *commands {
                    let mut command = Command::new(words[0]);
                    command
                        .args(&words[1..])
                        .env("RUSTDOCFLAGS", "-D warnings")
                        .env("CARGO_TERM_COLOR", "never");
                    let ended = process::run(&mut command, budget.saturating_sub(result.took))?;
                    result.took += ended.took;
                    result.output.push_str(&ended.output);
                    result.success &= ended.success;
                    result.timed_out |= ended.timed_out;
                }
                result.counted = count(&result.output);
            }
        }
        Ok(result)
    }
}
