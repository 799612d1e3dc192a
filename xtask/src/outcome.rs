//! What came of a suite.

use std::os::unix::process::ExitStatusExt;
use std::time::Duration;

use crate::harness::{self, Skip, Tally};
use crate::process::Ended;

/// Lines shown of what a failing program printed: the first, and the last.
const SHOWN: (usize, usize) = (60, 30);

/// What came of a suite. A program that has no tests of its own, or a check, counts as one test.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) name: &'static str,
    pub(crate) passed: u32,
    pub(crate) failures: Vec<Failure>,
    pub(crate) skipped: Vec<Skip>,
    pub(crate) passed_names: Vec<String>,
    pub(crate) timed_out: bool,
    pub(crate) took: Duration,
}

/// A program that failed, or whose tests did, or something that a check found.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The program, or what a check found.
    pub(crate) subject: String,
    /// At least one.
    pub(crate) tests: u32,
    /// Names of tests that failed, and what else was wrong.
    pub(crate) what: Vec<String>,
    /// What the program printed about it.
    pub(crate) output: String,
}

impl Outcome {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    pub(crate) fn failed(&self) -> u32 {
        self.failures.iter().map(|failure| failure.tests).sum()
    }

    /// In one word.
    pub(crate) fn word(&self) -> &'static str {
        match (self.failures.is_empty(), self.timed_out) {
            (true, _) => "passed",
            (false, true) => "TIMED OUT",
            (false, false) => "FAILED",
        }
    }

    /// In one sentence.
    pub(crate) fn sentence(&self) -> String {
        let (failed, skipped) = (self.failed(), self.skipped.len());
        let seconds = self.took.as_secs_f64();
        format!(
            "{} in {seconds:.1} s: {} passed, {failed} failed, {skipped} skipped",
            self.word(),
            self.passed
        )
    }

    /// Adds a check that found these faults.
    pub(crate) fn checked(&mut self, faults: &[String]) {
        if faults.is_empty() {
            self.passed += 1;
        }
        self.failures.extend(faults.iter().map(|fault| Failure {
            subject: fault.clone(),
            tests: 1,
            what: Vec::new(),
            output: String::new(),
        }));
    }

    /// Adds a program that is a test as a whole, unless it ran tests.
    pub(crate) fn ran(&mut self, program: &str, ended: &Ended) {
        let tally = harness::read(&ended.stdout, &ended.stderr);
        if tally.finished {
            self.add(program, ended, tally);
        } else if ended.success() {
            self.passed += 1;
        } else {
            self.fail(program, ended, Tally::default());
        }
    }

    /// Adds a program that the test harness drives.
    pub(crate) fn tested(&mut self, program: &str, ended: &Ended) {
        self.add(program, ended, harness::read(&ended.stdout, &ended.stderr));
    }

    /// Adds a program for which there was no time left.
    pub(crate) fn not_run(&mut self, program: &str) {
        self.timed_out = true;
        self.checked(&[format!("{program}: not run, the time was over")]);
    }

    /// Makes a suite without a single test a failure.
    pub(crate) fn must_have_run(&mut self) {
        if self.passed == 0 && self.failures.is_empty() && self.skipped.is_empty() {
            self.checked(&["there was no test to run".to_owned()]);
        }
    }

    fn add(&mut self, program: &str, ended: &Ended, mut tally: Tally) {
        self.passed += tally.passed;
        self.skipped.append(&mut tally.skipped);
        self.passed_names.append(&mut tally.passed_names);
        if !(ended.success() && tally.finished && tally.failed == 0) {
            self.fail(program, ended, tally);
        }
    }

    fn fail(&mut self, program: &str, ended: &Ended, tally: Tally) {
        let mut what = tally.failed_names;
        match ended.status {
            None => {
                self.timed_out = true;
                what.push("not finished when the time was over".to_owned());
            }
            Some(status) if status.signal().is_some() => what.push(format!("died of {status}")),
            Some(_) if what.is_empty() && tally.finished => what.push("failed after its tests".to_owned()),
            Some(_) => {}
        }
        let output = essence(&ended.stdout, &ended.stderr);
        self.failures.push(Failure { subject: program.to_owned(), tests: tally.failed.max(1), what, output });
    }
}

/// The part of a failing program's output that a reader needs.
fn essence(stdout: &str, stderr: &str) -> String {
    let stdout = stdout.find("\nfailures:\n").map_or(stdout, |start| &stdout[start..]);
    let is_chatter = |line: &&str| {
        let chatter =
            ["Compiling", "Checking", "Documenting", "Downloaded", "Downloading", "Running", "Fresh"];
        line.starts_with('{')
            || line.is_empty()
            || chatter.contains(&line.split_whitespace().next().unwrap_or(""))
    };
    let lines: Vec<&str> = stdout.lines().chain(stderr.lines()).filter(|line| !is_chatter(line)).collect();
    let (first, last) = SHOWN;
    if lines.len() <= first + last {
        return lines.join("\n");
    }
    let left_out = format!("... {} lines left out ...", lines.len() - first - last);
    [&lines[..first], &[left_out.as_str()], &lines[lines.len() - last..]].concat().join("\n")
}

#[cfg(test)]
mod tests {
    use super::{Ended, Outcome, essence};
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    const PASSED: &str = "test a ... ok\ntest result: ok. 1 passed; 0 failed; 0 ignored\n";
    const FAILED: &str = "test a ... FAILED\n\nfailures:\n\n---- a stdout ----\nwrong\n\nfailures:\n    a\n\n\
                          test result: FAILED. 0 passed; 1 failed; 0 ignored\n";

    /// `status` as of wait(2); none: its time was over.
    fn ended(status: Option<i32>, stdout: &str) -> Ended {
        Ended { status: status.map(ExitStatus::from_raw), stdout: stdout.into(), stderr: String::new() }
    }

    fn of(status: Option<i32>, stdout: &str) -> Outcome {
        let mut outcome = Outcome::new("suite");
        outcome.tested("program", &ended(status, stdout));
        outcome
    }

    #[test]
    fn only_success_with_a_result_is_success() {
        assert_eq!(of(Some(0), PASSED).sentence(), "passed in 0.0 s: 1 passed, 0 failed, 0 skipped");
        assert_eq!(of(Some(0), "test a ... ok\n").word(), "FAILED");
        assert_eq!(of(Some(6), PASSED).word(), "FAILED");
        assert_eq!(of(Some(101 << 8), FAILED).failed(), 1);
        assert_eq!(of(Some(101 << 8), FAILED).failures[0].what, ["a"]);
        assert_eq!(of(None, "test a ... ").word(), "TIMED OUT");
    }

    #[test]
    fn commands_without_tests_count_as_one() {
        let mut outcome = Outcome::new("suite");
        outcome.ran("good", &ended(Some(0), ""));
        outcome.ran("bad", &ended(Some(256), "why"));
        outcome.ran("tests", &ended(Some(0), PASSED));
        assert_eq!((outcome.passed, outcome.failed()), (2, 1));
        assert_eq!(outcome.failures[0].output, "why");
    }

    #[test]
    fn a_suite_without_tests_fails() {
        let mut outcome = Outcome::new("suite");
        outcome.must_have_run();
        assert_eq!(outcome.word(), "FAILED");
    }

    #[test]
    fn the_essence_is_without_chatter_and_not_long() {
        let stderr = format!("   Compiling a v1\n{}", "error\n".repeat(1000));
        let text = essence("test b ... ok\n\nfailures:\nfirst\n", &stderr);
        assert!(text.starts_with("failures:\nfirst\nerror\n"), "{text}");
        assert!(text.contains("left out") && text.lines().count() < 100);
    }
}
