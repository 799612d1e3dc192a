//! Cycles per packet of the pipeline on memory ports.

use std::path::PathBuf;

use clap::Parser;
use vr_benches::alloc::Counting;
use vr_benches::core::{
    Bench, Line, Row, available, member, print_heading, print_memory, print_ratio, print_scaling, write_json,
};
use vr_benches::tsc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// TSC cycles and nanoseconds per packet, 64-byte inner frames, established flows with policy.
///
/// Rows with one worker; pairs of rows with and without address translation, measured in turns; memory of the flow
/// table; two workers on one table.
#[derive(Parser)]
struct Arguments {
    /// Writes the rows as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// MPLS over UDP and VXLAN with 10,000 flows and one route only.
    #[arg(long)]
    quick: bool,
    /// Only rows whose name contains this; a name is like `encap vxlan 10000 1`.
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// Only the row of this very name.
    #[arg(long, value_name = "NAME")]
    row: Option<String>,
    /// Runs of each row; the table has the median of their medians, and the least and the largest.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rounds of 4,096 packets in each run.
    #[arg(long, default_value_t = 60)]
    rounds: usize,
    /// For the process itself: flows and processor of a part of the last measurement.
    #[arg(long, hide = true, value_delimiter = ',')]
    member: Option<Vec<u32>>,
}

impl Arguments {
    fn wants(&self, name: &str) -> bool {
        name.contains(self.only.as_deref().unwrap_or_default())
            && self.row.as_deref().is_none_or(|row| row == name)
    }

    /// Whether a row is wanted and fits the machine; says so if not.
    fn takes(&self, row: &Row) -> anyhow::Result<bool> {
        if !self.wants(&row.to_string()) {
            return Ok(false);
        }
        let (needed, free) = (row.memory(), available()?);
        if needed > free {
            println!("{row}: skipped, needs some {} MiB and there are {} MiB", needed >> 20, free >> 20);
        }
        Ok(needed <= free)
    }

    fn measure(&self, row: &Row, rate: f64) -> anyhow::Result<Line> {
        let mut bench = Bench::new(row)?;
        let runs = (0..self.runs).map(|_| bench.run(self.rounds)).collect::<anyhow::Result<Vec<_>>>()?;
        let line = Line::new(row, &runs, rate);
        line.print();
        Ok(line)
    }

    /// Two rows in turns.
    fn pair(&self, rows: &[Row; 2], rate: f64) -> anyhow::Result<[Line; 2]> {
        let [mut first, mut second] = [Bench::new(&rows[0])?, Bench::new(&rows[1])?];
        let mut runs = [Vec::new(), Vec::new()];
        for _ in 0..self.runs {
            runs[0].push(first.run(self.rounds)?);
            runs[1].push(second.run(self.rounds)?);
        }
        let lines = [0, 1].map(|n| Line::new(&rows[n], &runs[n], rate));
        lines.iter().for_each(Line::print);
        print_ratio(&lines[0], &lines[1]);
        Ok(lines)
    }
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rate = tsc::per_nanosecond();
    if let Some([flows, cpu]) = arguments.member.as_deref() {
        return member(*flows, *cpu as usize, rate);
    }
    println!("Port to port on memory ports, 64-byte inner frames, policy on; TSC {rate:.3} GHz");
    print_heading();
    let mut lines = Vec::new();
    for row in Row::all(arguments.quick).into_iter().chain(Row::others(arguments.quick)) {
        if arguments.takes(&row)? {
            lines.push(arguments.measure(&row, rate)?);
        }
    }
    for pair in Row::pairs(arguments.quick) {
        if arguments.wants(&pair[0].to_string()) && arguments.takes(&pair[0])? {
            lines.extend(arguments.pair(&pair, rate)?);
        }
    }
    if !arguments.quick && arguments.wants("memory") {
        for flows in [1_000_000, 10_000_000] {
            let row = Row::scaling(flows);
            if row.memory() <= available()? {
                print_memory(&row)?;
            } else {
                println!("{flows} flows: skipped for lack of memory");
            }
        }
    }
    if !arguments.quick && arguments.wants("scaling") {
        for flows in [10_000, 1_000_000] {
            print_scaling(flows, rate)?;
        }
    }
    if let Some(path) = arguments.json {
        write_json(&path, &lines)?;
    }
    Ok(())
}
