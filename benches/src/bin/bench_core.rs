//! Cycles per packet of the pipeline on memory ports.

use std::path::PathBuf;

use anyhow::Context;
use clap::Parser;
use vr_benches::alloc::Counting;
use vr_benches::core::{Direction, Row, Spread, measure};
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
    /// Rounds of 4,096 packets for each row.
    #[arg(long, default_value_t = 400)]
    rounds: usize,
}

/// A row of the JSON file.
#[derive(serde::Serialize)]
struct Line {
    direction: &'static str,
    tunnel: String,
    flows: u32,
    routes: u32,
    policy: bool,
    cycles_per_packet: Spread,
    ns_per_packet: Spread,
    allocations_per_packet: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let rate = tsc::per_nanosecond();
    println!("TSC {:.3} GHz; cycles per packet, 64-byte inner frames, policy on, one worker", rate);
    println!(
        "{:<6} {:<9} {:>9} {:>8} {:>8} {:>8} {:>8} {:>9}",
        "", "tunnel", "flows", "routes", "min", "median", "max", "ns"
    );
    let mut lines = Vec::new();
    for row in Row::all(arguments.quick) {
        let measured = measure(&row, 1, arguments.rounds)?;
        let line = Line {
            direction: if row.direction == Direction::Encap { "encap" } else { "decap" },
            tunnel: row.tunnel.to_string(),
            flows: row.flows,
            routes: row.routes,
            policy: true,
            cycles_per_packet: measured.cycles,
            ns_per_packet: measured.cycles.per(rate),
            allocations_per_packet: measured.allocations,
        };
        let Spread { min, median, max } = line.cycles_per_packet;
        println!(
            "{:<6} {:<9} {:>9} {:>8} {min:>8.1} {median:>8.1} {max:>8.1} {:>9.1}",
            line.direction, line.tunnel, line.flows, line.routes, line.ns_per_packet.median
        );
        lines.push(line);
    }
    if let Some(path) = arguments.json {
        let text = serde_json::to_string_pretty(&lines)?;
        std::fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}
