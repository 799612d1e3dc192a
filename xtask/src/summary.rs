//! What test runners printed, made into one summary.

use std::time::Duration;

/// Tests counted from a suite's output.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    pub(crate) passed: u32,
    pub(crate) failed: u32,
    pub(crate) ignored: u32,
    /// Tests that ran but could not do their work: name and reason.
    pub(crate) skipped: Vec<String>,
}

/// Reads the closing lines of `cargo test` and the lines `skipped: <test>: <reason>`.
pub(crate) fn count(output: &str) -> Counted {
    let mut counted = Counted::default();
    for line in output.lines() {
        let line = line.trim();
        if let Some(skipped) = line.strip_prefix("skipped: ") {
            counted.skipped.push(skipped.to_owned());
        }
        if let Some((name, _)) = line.strip_prefix("test ").and_then(|rest| rest.split_once(" ... ignored")) {
            let reason = line.split_once("ignored, ").map_or("no reason given", |(_, reason)| reason);
            counted.skipped.push(format!("{name}: {reason}"));
        }
        let Some(result) = line.strip_prefix("test result: ") else { continue };
        for part in result.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next().and_then(|w| w.parse::<u32>().ok()), words.next())
            else {
                continue;
            };
            match what {
                "passed" => counted.passed += number,
                "failed" => counted.failed += number,
                "ignored" => counted.ignored += number,
                _ => {}
            }
        }
    }
    counted.skipped.sort();
    counted.skipped.dedup();
    counted
}

/// Result of one suite.
pub(crate) struct Result {
    pub(crate) name: &'static str,
    pub(crate) success: bool,
    pub(crate) timed_out: bool,
    pub(crate) took: Duration,
    pub(crate) counted: Counted,
    pub(crate) output: String,
}

impl Result {
    fn word(&self) -> &'static str {
        match (self.success, self.timed_out) {
            (true, _) => "passed",
            (false, true) => "timed out",
            (false, false) => "FAILED",
        }
    }

    /// A suite without tests of its own counts as one.
    fn tests(&self) -> (u32, u32) {
        let Counted { passed, failed, .. } = self.counted;
        match (passed + failed, self.success) {
            (0, true) => (1, 0),
            (0, false) => (0, 1),
            (_, true) => (passed, failed),
            (_, false) => (passed, failed.max(1)),
        }
    }
}

/// Prints everything; whether all is well.
pub(crate) fn print(results: &[Result]) -> bool {
    for result in results.iter().filter(|result| !result.success) {
        println!("\n---- {} {} ----", result.name, result.word());
        let lines: Vec<&str> = result.output.lines().collect();
        for line in &lines[lines.len().saturating_sub(60)..] {
            println!("{line}");
        }
    }
    println!("\n{:<14} {:<10} {:>7} {:>7} {:>8}", "suite", "result", "passed", "failed", "seconds");
    for result in results {
        let (passed, failed) = result.tests();
        println!(
            "{:<14} {:<10} {passed:>7} {failed:>7} {:>8.1}",
            result.name,
            result.word(),
            result.took.as_secs_f64()
        );
    }
    let skipped: Vec<(&str, &String)> = results
        .iter()
        .flat_map(|result| result.counted.skipped.iter().map(|line| (result.name, line)))
        .collect();
    if skipped.is_empty() {
        println!("\nNothing was skipped.");
    } else {
        println!("\nSkipped, and why:");
        for (suite, line) in &skipped {
            println!("  {suite}: {line}");
        }
    }
    let (passed, failed) =
        results.iter().map(Result::tests).fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1));
    println!("\n{passed} passed, {failed} failed, {} skipped", skipped.len());
    results.iter().all(|result| result.success)
}

#[cfg(test)]
mod tests {
    use super::{Counted, count};

    #[test]
    fn closing_lines_and_skips_are_counted() {
        let output = "\
test a ... ok
test b ... ignored, needs a second machine
skipped: rebuild: no BPF toolchain
test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.01s
";
        let expected = Counted {
            passed: 5,
            failed: 1,
            ignored: 1,
            skipped: vec!["b: needs a second machine".to_owned(), "rebuild: no BPF toolchain".to_owned()],
        };
        assert_eq!(count(output), expected);
    }
}
