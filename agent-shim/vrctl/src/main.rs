//! `vrctl`: the operator's program.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Looks at a running vrouterd.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    /// The daemon's socket directory.
    #[arg(long, global = true, value_name = "DIR", default_value = "/var/run/vrouter")]
    socket_dir: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Workers, ports, system calls per packet and steering programs.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("vrctl: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Status { json } => {
            let report = vr_observe::fetch(&arguments.socket_dir)?;
            if json {
                println!("{}", serde_json::to_string_pretty(&report)?);
            } else {
                print!("{report}");
            }
        }
    }
    Ok(())
}
