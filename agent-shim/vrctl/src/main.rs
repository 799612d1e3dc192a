//! `vrctl`: the operator's program. The words that operators know (`vif`, `nh`, `rt`, ...) are its
//! subcommands; called through a link with the name of a word it is that word.

mod client;
mod failure;
mod flows;
mod records;
mod replay;
mod session;
mod text;
mod view;
mod words;

use std::ffi::OsString;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// Looks at a running vrouterd and changes it.
///
/// The words that operators know are subcommands, and work by themselves through links of their names. Each
/// explains itself with --help.
#[derive(Debug, Parser)]
#[command(version, after_help = words::help())]
struct Arguments {
    /// The daemon's socket directory.
    #[arg(long, visible_alias = "sock-dir", global = true, value_name = "DIR")]
    socket_dir: Option<PathBuf>,
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
    /// Send the requests of a recording, and compare the replies.
    Replay(replay::Replay),
    #[command(external_subcommand)]
    Word(Vec<OsString>),
}

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let name = arguments.first().map(Path::new).and_then(Path::file_name).and_then(|name| name.to_str());
    let name = name.unwrap_or("vrctl").to_owned();
    let result = match words::find(&name) {
        Some(word) => word(&arguments, None),
        None => run(Arguments::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(&name),
    }
}

fn run(arguments: Arguments) -> Result<(), Failure> {
    match arguments.command {
        Command::Status { json } => {
            let directory = arguments.socket_dir.unwrap_or_else(|| PathBuf::from(session::DIRECTORY));
            let report = vr_observe::fetch(&directory).map_err(anyhow::Error::from)?;
            if json {
                let report = serde_json::to_string_pretty(&report).map_err(anyhow::Error::from)?;
                writeln!(io::stdout(), "{report}")?;
            } else {
                write!(io::stdout(), "{report}")?;
            }
            Ok(())
        }
        Command::Replay(replay) => {
            let directory = arguments.socket_dir.unwrap_or_else(|| PathBuf::from(session::DIRECTORY));
            replay::run(&replay, &directory)
        }
        Command::Word(rest) => {
            let word = rest.first().and_then(|word| word.to_str()).unwrap_or_default();
            match words::find(word) {
                Some(run) => run(&rest, arguments.socket_dir),
                None => Err(anyhow::anyhow!("there is no `{word}`; see vrctl --help").into()),
            }
        }
    }
}
