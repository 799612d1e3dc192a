//! The table that the demo prints, line by line as the findings come.

use std::time::Duration;

use anyhow::Result;

/// What one check found.
#[derive(Clone, Debug, Default)]
pub(crate) struct Finding {
    pub(crate) pass: bool,
    /// The way the packets took.
    pub(crate) tunnel: String,
    pub(crate) round_trip: Option<Duration>,
    /// Megabits per second.
    pub(crate) rate: Option<f64>,
    pub(crate) detail: String,
}

/// Counts the lines that failed.
#[derive(Debug, Default)]
pub(crate) struct Report {
    lines: usize,
    failed: usize,
}

impl Report {
    /// Prints the head of the table.
    pub(crate) fn begin() -> Self {
        println!();
        line("check", "tunnel", "result", "RTT", "rate", "seen");
        println!("{}", "-".repeat(120));
        Self::default()
    }

    /// Prints one line. An error is a failed check.
    pub(crate) fn add(&mut self, title: &str, outcome: Result<Finding>) {
        let finding =
            outcome.unwrap_or_else(|error| Finding { detail: format!("{error:#}"), ..Finding::default() });
        self.lines += 1;
        self.failed += usize::from(!finding.pass);
        let result = if finding.pass { "pass" } else { "FAIL" };
        let time =
            finding.round_trip.map_or_else(String::new, |time| format!("{:.0} us", time.as_secs_f64() * 1e6));
        let rate = finding.rate.map_or_else(String::new, |rate| format!("{rate:.0} Mbit/s"));
        line(title, &finding.tunnel, result, &time, &rate, &finding.detail);
    }

    /// Prints the sum; whether everything passed.
    pub(crate) fn end(&self) -> bool {
        println!("{}", "-".repeat(120));
        println!("{} of {} checks passed", self.lines - self.failed, self.lines);
        self.failed == 0 && self.lines > 0
    }
}

/// Prints something that helps to understand the line above.
pub(crate) fn note(text: &str) {
    println!("    {text}");
}

fn line(title: &str, tunnel: &str, result: &str, time: &str, rate: &str, detail: &str) {
    println!("{title:<38} {tunnel:<10} {result:<6} {time:>9} {rate:>12}  {detail}");
}
