//! The figures, for people.

use super::{Outcome, Round};

/// A line: what, and which figure of a round.
type Line = (&'static str, fn(&Round) -> f64);

/// Writes the table to standard output.
pub fn print(outcome: &Outcome) {
    println!(
        "flow set-up, {} rounds of {} pairs: median (least-largest)",
        outcome.rounds.len(),
        outcome.pairs
    );
    let lines: [Line; 5] = [
        ("pairs a second", |round| round.pairs_per_second),
        ("dataplane, cycles a pair", |round| round.worker_cycles_per_pair + round.control_cycles_per_pair),
        ("  worker, passes with work", |round| round.worker_cycles_per_pair),
        ("  control thread", |round| round.control_cycles_per_pair),
        ("worker's thread as a whole", |round| round.worker_thread_cycles_per_pair),
    ];
    for (what, figure) in lines {
        let mut figures: Vec<f64> = outcome.rounds.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        if let (Some(least), Some(largest)) = (figures.first(), figures.last()) {
            println!("{what:<28} {:>9.0} ({least:.0}-{largest:.0})", figures[figures.len() / 2]);
        }
    }
    println!("first packets: {} sent, {} arrived", outcome.sent, outcome.arrived);
    for (reason, count) in &outcome.drops {
        println!("dropped, {reason}: {count}");
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use super::super::Plan;

    #[test]
    fn pairs_of_a_small_plan_are_set_up() {
        let outcome = Plan { pairs: 300, rounds: 2, window: 64 }.run().unwrap();
        assert_eq!((outcome.sent, outcome.arrived), (600, 600), "{:?}", outcome.drops);
        assert_eq!(outcome.rounds.len(), 2);
        for round in outcome.rounds {
            assert!(round.pairs_per_second > 0.0);
            assert!(round.worker_cycles_per_pair > 0.0 && round.control_cycles_per_pair > 0.0);
        }
    }
}
