//! The figures, for people.

use super::{Answers, Outcome, Round};

/// A line: what, and which figure of a round.
type Line = (&'static str, fn(&Round) -> f64);

/// Writes the table to standard output.
pub fn print(outcome: &Outcome) {
    let answers = match outcome.answers {
        Answers::OneByOne => "one by one",
        Answers::InBulks => "in bulks",
        Answers::Ahead => "in bulks ahead",
    };
    let (rounds, pairs) = (outcome.rounds.len(), outcome.pairs);
    println!(
        "flow set-up, traps answered {answers}, {rounds} rounds of {pairs} pairs: median (least-largest)"
    );
    let lines: [Line; 9] = [
        ("pairs a second", |round| round.pairs_per_second),
        ("dataplane, cycles a pair", |round| round.worker_cycles_per_pair + round.control_cycles_per_pair),
        ("  worker", |round| round.worker_cycles_per_pair),
        ("  control thread", |round| round.control_cycles_per_pair),
        ("worker, passes with work", |round| round.worker_pass_cycles_per_pair),
        ("worker's thread as a whole", |round| round.worker_thread_cycles_per_pair),
        ("system calls, control thread", |round| round.control_calls_per_pair),
        ("  worker, on its ports", |round| round.worker_calls_per_pair),
        ("  worker, passes with work", |round| round.worker_passes_per_pair),
    ];
    for (what, figure) in lines {
        let mut figures: Vec<f64> = outcome.rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        if let (Some(least), Some(largest)) = (figures.first(), figures.last()) {
            let median = figures[figures.len() / 2];
            let digits = if median < 100.0 { 2 } else { 0 };
            println!("{what:<28} {median:>9.digits$} ({least:.digits$}-{largest:.digits$})");
        }
    }
    println!("first packets: {} sent, {} arrived", outcome.sent, outcome.arrived);
    for (reason, count) in &outcome.drops {
        println!("dropped, {reason}: {count}");
    }
}
