//! Objects programmed through the control socket while packets are forwarded, and flows set up by way of an agent.

use std::path::PathBuf;

use anyhow::ensure;
use clap::{Parser, ValueEnum};
use vr_benches::control::{self, write_json};
use vr_benches::setup::{self, Answers};

/// Programs nexthops, routes and flows through the control socket of a server with one worker, while packets of an
/// established flow pass it. Then flows are set up by way of an agent. Fails when a packet is lost.
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
    /// One part of it.
    #[arg(long)]
    only: Option<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Objects through the control socket.
    Objects,
    /// The set-up of flows by an agent that answers one trap after the other,
    OneByOne,
    /// by one that answers in bulks and waits for each answer,
    InBulks,
    /// and by one that does not wait.
    Ahead,
}

/// All figures.
#[derive(serde::Serialize)]
struct Figures {
    #[serde(flatten)]
    programmed: Option<control::Outcome>,
    set_up: Vec<setup::Outcome>,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let share = if arguments.quick { 10 } else { 1 };
    let wanted = |part| arguments.only.is_none_or(|only| only == part);
    let (mut programmed, mut set_up, mut lost) = (None, Vec::new(), 0);
    if wanted(Part::Objects) {
        let plan = control::Plan {
            nexthops: 10_000 / share,
            routes: 100_000 / share,
            flows: 1_000_000 / share,
            rate: arguments.rate,
        };
        let outcome = plan.run()?;
        control::print(&outcome);
        lost += outcome.sent - outcome.received;
        programmed = Some(outcome);
    }
    let agents = [
        (Part::OneByOne, Answers::OneByOne),
        (Part::InBulks, Answers::InBulks),
        (Part::Ahead, Answers::Ahead),
    ];
    for (_, answers) in agents.into_iter().filter(|(part, _)| wanted(*part)) {
        let outcome = setup::Plan { answers, pairs: 20_000 / share, rounds: 5, window: 256 }.run()?;
        setup::print(&outcome);
        lost += outcome.sent - outcome.arrived;
        set_up.push(outcome);
    }
    if let Some(path) = arguments.json {
        write_json(&path, &Figures { programmed, set_up })?;
    }
    ensure!(lost == 0, "{lost} packets were lost");
    Ok(())
}
