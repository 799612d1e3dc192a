//! Cycles per packet of the pipeline on memory ports.

use std::path::PathBuf;

use clap::Parser;
use vr_benches::alloc::Counting;
use vr_benches::core::{Bench, Line, Row, print_heading, write_json};
use vr_benches::tsc;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// TSC cycles and nanoseconds per packet, one worker, 64-byte inner frames, established flows with policy.
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
    /// Runs of each row; the table has the median of their medians, and the least and the largest.
    #[arg(long, default_value_t = 5)]
    runs: usize,
    /// Rounds of 4,096 packets in each run.
    #[arg(long, default_value_t = 60)]
    rounds: usize,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rate = tsc::per_nanosecond();
    println!("Port to port on memory ports, one worker, 64-byte inner frames, policy on; TSC {rate:.3} GHz");
    print_heading();
    let mut lines = Vec::new();
    let only = arguments.only.unwrap_or_default();
    for row in Row::all(arguments.quick).into_iter().filter(|row| row.to_string().contains(&only)) {
        let mut bench = Bench::new(&row)?;
        let runs =
            (0..arguments.runs).map(|_| bench.run(arguments.rounds)).collect::<anyhow::Result<Vec<_>>>()?;
        let line = Line::new(&row, &runs, rate);
        line.print();
        lines.push(line);
    }
    if let Some(path) = arguments.json {
        write_json(&path, &lines)?;
    }
    Ok(())
}
