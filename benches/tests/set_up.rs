//! The bench of flow set-up does what it says. It finds its threads by their names, so that it is alone in a process.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

use vr_benches::setup::{Answers, Plan};

#[test]
fn pairs_of_small_plans_are_set_up() {
    for answers in [Answers::OneByOne, Answers::InBulks, Answers::Ahead] {
        let outcome = Plan { answers, pairs: 300, rounds: 2, window: 64 }.run().unwrap();
        assert_eq!((outcome.sent, outcome.arrived), (900, 900), "{:?}", outcome.drops);
        assert_eq!(outcome.rounds.len(), 2);
        let json = serde_json::to_value(&outcome).unwrap();
        for round in json["rounds"].as_array().unwrap() {
            for figure in ["pairs_per_second", "worker_cycles_per_pair", "control_cycles_per_pair"] {
                assert!(round[figure].as_f64().unwrap() > 0.0, "{figure} in {round}");
            }
        }
    }
}
