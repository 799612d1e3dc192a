//! Objects programmed through the control socket while packets are forwarded.

use std::path::PathBuf;

use anyhow::ensure;
use clap::Parser;
use vr_benches::control::{Plan, print, write_json};

/// Programs nexthops, routes and flows through the control socket of a server with one worker, while packets of an
/// established flow pass it. Fails when one of them is lost.
#[derive(Parser)]
struct Arguments {
    /// Writes the figures as JSON to this file.
    #[arg(long)]
    json: Option<PathBuf>,
    /// A tenth of everything.
    #[arg(long)]
    quick: bool,
    /// Packets a second that are sent meanwhile, at the most.
    #[arg(long, default_value_t = 100_000)]
    rate: u32,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let share = if arguments.quick { 10 } else { 1 };
    let plan = Plan {
        nexthops: 10_000 / share,
        routes: 100_000 / share,
        flows: 1_000_000 / share,
        rate: arguments.rate,
    };
    let outcome = plan.run()?;
    print(&outcome);
    if let Some(path) = arguments.json {
        write_json(&path, &outcome)?;
    }
    let lost = outcome.sent - outcome.received;
    ensure!(lost == 0, "{lost} packets were lost");
    Ok(())
}
