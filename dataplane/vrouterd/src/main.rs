//! `vrouterd`: the daemon. Configuration, preflight, wiring and life cycle; no forwarding logic.
//!
//! [`config`] is the file, [`preflight`] what has to be there before anything is changed, [`ports`] how interfaces
//! get their ports, [`daemon`] the wiring and the control loop, [`housekeeping`] the thread beside it.

mod config;
mod daemon;
mod exit;
mod housekeeping;
mod lock;
mod ports;
mod preflight;
mod signals;
mod status;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Level};
use crate::exit::Failure;

/// Userspace vrouter: forwards between pods, tunnels and the host, as an OpenContrail agent programs it.
#[derive(Debug, Parser)]
#[command(version, after_help = exit::HELP)]
struct Arguments {
    /// The configuration file, in TOML; see docs/configuration.md.
    #[arg(long, value_name = "FILE", default_value = "/etc/vrouter-xdp/vrouterd.toml")]
    config: PathBuf,
    /// Read the configuration, look whether this machine has what it needs, say so and end.
    #[arg(long, conflicts_with = "detach")]
    check: bool,
    /// Take this instance's eBPF programs off all devices and end. They stay when the daemon ends, so that pods do
    /// not regain the kernel's path.
    #[arg(long)]
    detach: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("vrouterd: {failure}");
            failure.code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    log(config.log.level);
    if arguments.detach {
        return detach(&config);
    }
    preflight::check(&config)?;
    if arguments.check {
        println!("{} is sound, and this machine has what it needs", arguments.config.display());
        return Ok(());
    }
    daemon::run(&config)
}

/// Messages go to standard error. `RUST_LOG` is stronger than the configuration.
fn log(level: Level) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level.name()));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
}

fn detach(config: &Config) -> Result<(), Failure> {
    let devices = steer_loader::detach_all(config.instance.as_str(), None)?;
    if devices.is_empty() {
        println!("instance {} has no eBPF programs here", config.instance.as_str());
    }
    for device in devices {
        println!("the eBPF programs of instance {} are off {device}", config.instance.as_str());
    }
    Ok(())
}
