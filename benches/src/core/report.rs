//! The figures of a row, for people and as JSON.

use std::path::Path;

use anyhow::Context;
use serde::{Serialize, Serializer};

use super::{Row, Run};

/// Least, middle and most of a figure over the runs.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Spread {
    /// Least.
    min: f64,
    /// Middle.
    median: f64,
    /// Most.
    max: f64,
}

impl Spread {
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let at = |i: usize| values.get(i).copied().unwrap_or(f64::NAN);
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }

    fn per(self, divisor: f64) -> Self {
        Self { min: self.min / divisor, median: self.median / divisor, max: self.max / divisor }
    }
}

/// A row with its figures: an object of the JSON file.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    direction: &'static str,
    tunnel: String,
    flows: u32,
    routes: u32,
    traffic: &'static str,
    policy: bool,
    cycles_per_packet: Spread,
    ns_per_packet: Spread,
    #[serde(serialize_with = "whole_if_possible")]
    allocations_per_packet: f64,
}

/// Zero as `0`, not as `0.0`.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "the signature is serde's")]
fn whole_if_possible<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.fract() == 0.0 {
        serializer.serialize_u64(*value as u64)
    } else {
        serializer.serialize_f64(*value)
    }
}

impl Line {
    /// The line of a row that was measured in these runs; `rate` is the number of cycles in a nanosecond.
    #[must_use]
    pub fn new(row: &Row, runs: &[Run], rate: f64) -> Self {
        let cycles = Spread::of(runs.iter().map(|run| run.cycles).collect());
        Self {
            direction: row.direction.name(),
            tunnel: row.tunnel.to_string(),
            flows: row.flows,
            routes: row.routes,
            traffic: row.traffic.name(),
            policy: true,
            cycles_per_packet: cycles,
            ns_per_packet: cycles.per(rate),
            allocations_per_packet: runs.iter().map(|run| run.allocations).sum::<f64>() / runs.len() as f64,
        }
    }

    /// Writes the line to standard output.
    pub fn print(&self) {
        let Spread { min, median, max } = self.cycles_per_packet;
        println!(
            "{:<6} {:<9} {:<11} {:>9} {:>8} {median:>8.1} {min:>8.1} {max:>8.1} {:>8.1} {:>7}",
            self.direction,
            self.tunnel,
            self.traffic,
            self.flows,
            self.routes,
            self.ns_per_packet.median,
            self.allocations_per_packet
        );
    }
}

/// Writes the heading of the table to standard output.
pub fn print_heading() {
    println!(
        "                                                  cycles per packet            ns per  allocs."
    );
    println!("       tunnel    packets         flows   routes   median      min      max   packet  per p.");
}

/// Writes how much more a row takes than another one that was measured in turns with it.
pub fn print_ratio(row: &Line, other: &Line) {
    let (a, b) = (row.cycles_per_packet, other.cycles_per_packet);
    println!(
        "       {} against {}: {:.2} by the medians, {:.2} by the least",
        row.traffic,
        other.traffic,
        a.median / b.median,
        a.min / b.min
    );
}

/// Writes an array of lines to a file.
///
/// # Errors
/// When the file cannot be written.
pub fn write_json(path: &Path, lines: &[Line]) -> anyhow::Result<()> {
    let mut text = serde_json::to_string_pretty(lines)?;
    text.push('\n');
    std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test fails by a panic")]
mod tests {
    use serde_json::Value;
    use vr_types::TunnelKind;

    use super::super::{Bench, Direction, Row, Run, Traffic};
    use super::{Line, write_json};

    #[test]
    fn the_file_has_the_fields_that_others_read() {
        let row = Row::new(Direction::Decap, TunnelKind::Vxlan, 100, 10, Traffic::Udp);
        let mut bench = Bench::new(&row).unwrap();
        let runs = [bench.run(1).unwrap(), bench.run(3).unwrap()];
        let file = tempfile::NamedTempFile::new().unwrap();
        write_json(file.path(), &[Line::new(&row, &runs, 2.0)]).unwrap();

        let lines: Value = serde_json::from_slice(&std::fs::read(file.path()).unwrap()).unwrap();
        let line = lines[0].as_object().unwrap();
        let mut names: Vec<&str> = line.keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = [
            "allocations_per_packet",
            "cycles_per_packet",
            "direction",
            "flows",
            "ns_per_packet",
            "policy",
            "routes",
            "traffic",
            "tunnel",
        ];
        assert_eq!(names, expected);
        assert_eq!((&line["direction"], &line["tunnel"]), (&Value::from("decap"), &Value::from("vxlan")));
        assert_eq!((&line["flows"], &line["routes"]), (&Value::from(100), &Value::from(10)));
        assert_eq!(line["policy"], Value::from(true));
        for (cycles, ns) in ["min", "median", "max"]
            .map(|part| (&line["cycles_per_packet"][part], &line["ns_per_packet"][part]))
        {
            let (cycles, ns) = (cycles.as_f64().unwrap(), ns.as_f64().unwrap());
            assert!(cycles > 0.0 && (cycles / ns - 2.0).abs() < 1e-6, "{cycles} {ns}");
        }
    }

    #[test]
    fn runs_are_summed_up() {
        let row = Row::new(Direction::Encap, TunnelKind::MplsOverUdp, 1, 1, Traffic::Udp);
        let run = |cycles| Run { cycles, allocations: 0.0 };
        let line = serde_json::to_string(&Line::new(&row, &[run(30.0), run(10.0), run(20.0)], 10.0)).unwrap();
        assert_eq!(
            line,
            r#"{"direction":"encap","tunnel":"mplsoudp","flows":1,"routes":1,"traffic":"udp","policy":true,"cycles_per_packet":{"min":10.0,"median":20.0,"max":30.0},"ns_per_packet":{"min":1.0,"median":2.0,"max":3.0},"allocations_per_packet":0}"#
        );
    }
}
