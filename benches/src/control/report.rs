//! The figures, for people and as JSON.

use std::path::Path;

use anyhow::Context;

use super::Outcome;

/// Writes the table to standard output.
pub fn print(outcome: &Outcome) {
    println!("              objects   messages   seconds   objects/s   control thread, us/object");
    for phase in &outcome.phases {
        println!(
            "{:<9} {:>11} {:>10} {:>9.2} {:>11.0} {:>27.2}",
            phase.what,
            phase.objects,
            phase.messages,
            phase.seconds,
            phase.objects_per_second,
            phase.cpu_us_per_object
        );
    }
    println!("packets meanwhile: {} sent, {} received", outcome.sent, outcome.received);
}

/// Writes the figures to a file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, figures: &impl serde::Serialize) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(figures)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use super::super::Plan;
    use super::write_json;

    #[test]
    fn a_small_plan_is_programmed_and_written() {
        let plan = Plan { nexthops: 50, routes: 200, flows: 400, rate: 1000 };
        let outcome = plan.run().unwrap();
        assert_eq!(outcome.sent, outcome.received);
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("control.json");
        write_json(&path, &outcome).unwrap();
        let text = std::fs::read_to_string(path).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let phases = json["phases"].as_array().unwrap();
        let kinds: Vec<_> = phases.iter().map(|phase| (&phase["what"], &phase["objects"])).collect();
        assert_eq!(
            format!("{kinds:?}"),
            r#"[(String("nexthops"), Number(50)), (String("routes"), Number(200)), (String("flows"), Number(400))]"#
        );
        assert!(phases.iter().all(|phase| phase["objects_per_second"].as_f64().unwrap() > 0.0));
        assert_eq!(json["sent"], outcome.sent);
    }
}
