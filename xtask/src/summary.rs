//! The summary at the end of `cargo xtask test`.

use crate::outcome::Outcome;

/// Prints everything that a reader needs; whether all is well.
pub(crate) fn print(outcomes: &[Outcome]) -> bool {
    for outcome in outcomes {
        for failure in outcome.failures.iter().filter(|failure| !failure.output.is_empty()) {
            println!("\n---- {}: {} ----\n{}", outcome.name, failure.subject, failure.output);
        }
    }
    table(outcomes);
    failures(outcomes);
    skips(outcomes);
    let passed: u32 = outcomes.iter().map(|outcome| outcome.passed).sum();
    let failed: u32 = outcomes.iter().map(Outcome::failed).sum();
    let skipped: usize = outcomes.iter().map(|outcome| outcome.skipped.len()).sum();
    println!("\n{passed} passed, {failed} failed, {skipped} skipped");
    failed == 0
}

fn table(outcomes: &[Outcome]) {
    println!(
        "\n{:<15}{:<10}{:>8}{:>8}{:>9}{:>9}",
        "suite", "result", "passed", "failed", "skipped", "seconds"
    );
    for outcome in outcomes {
        println!(
            "{:<15}{:<10}{:>8}{:>8}{:>9}{:>9.1}",
            outcome.name,
            outcome.word(),
            outcome.passed,
            outcome.failed(),
            outcome.skipped.len(),
            outcome.took.as_secs_f64()
        );
    }
    let seconds: f64 = outcomes.iter().map(|outcome| outcome.took.as_secs_f64()).sum();
    println!("{:<50}{seconds:>9.1}", "together");
}

fn failures(outcomes: &[Outcome]) {
    if outcomes.iter().all(|outcome| outcome.failures.is_empty()) {
        return;
    }
    println!("\nFailed:");
    for outcome in outcomes {
        for failure in &outcome.failures {
            println!("  {}: {}", outcome.name, failure.subject);
            for what in &failure.what {
                println!("      {what}");
            }
        }
    }
}

fn skips(outcomes: &[Outcome]) {
    if outcomes.iter().all(|outcome| outcome.skipped.is_empty()) {
        println!("\nNothing was skipped.");
        return;
    }
    println!("\nSkipped, and why:");
    for outcome in outcomes {
        for skip in &outcome.skipped {
            println!("  {}: {}: {}", outcome.name, skip.test, skip.reason);
        }
    }
}
