//! `vrouterd`: the daemon. Configuration, preflight, wiring and life cycle; no forwarding logic.
//!
//! [`config`] is the file, [`preflight`] what has to be there before anything is changed, [`ports`] how interfaces
//! get their ports, [`daemon`] the wiring and the control loop, [`housekeeping`] the thread beside it. [`compat`] is
//! the command line of the original forwarder, for when the program has its name.

mod about;
mod access;
mod compat;
mod config;
mod daemon;
mod exit;
mod flow_figures;
mod housekeeping;
mod lock;
mod placement;
mod ports;
mod preflight;
mod signals;
mod status;

use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Mutex;

use anyhow::Context;
use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::config::{Config, Log};
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
    /// Record what clients of the control socket ask and what they are answered, for `vrctl replay`. Appends to FILE.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["check", "detach"])]
    record: Option<PathBuf>,
    /// Take this instance's eBPF programs off all devices and end. They stay when the daemon ends, so that pods do
    /// not regain the kernel's path.
    #[arg(long)]
    detach: bool,
}

fn main() -> ExitCode {
    let is_original = compat::is_called_so();
    let outcome = if is_original { run_as_original() } else { run(&Arguments::parse()) };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("{}: {failure}", if is_original { compat::NAME } else { "vrouterd" });
            failure.code()
        }
    }
}

fn run(arguments: &Arguments) -> Result<(), Failure> {
    let config = Config::read(&arguments.config)?;
    if arguments.detach {
        log(&config.log)?;
        return detach(&config);
    }
    preflight::check(&config)?;
    if arguments.check {
        println!("{} is sound, and this machine has what it needs", arguments.config.display());
        return Ok(());
    }
    log(&config.log)?;
    exit::end_with_any_thread();
    daemon::run(&config, arguments.record.as_deref())
}

/// As the original forwarder: what is wrong with the command line and the machine is said in the foreground.
fn run_as_original() -> Result<(), Failure> {
    let compat::Start { config, daemon, warnings } = compat::read()?;
    preflight::check(&config)?;
    log(&config.log)?;
    if daemon {
        // Before any thread is started: they would stay behind.
        nix::unistd::daemon(false, false).context("leaving the foreground")?;
    }
    exit::end_with_any_thread();
    for warning in warnings {
        tracing::warn!("{warning}");
    }
    if config.mock {
        tracing::warn!("no --vdev: test mode, every interface is a vhost-user client");
    }
    let outcome = daemon::run(&config, None);
    if daemon && let Err(failure) = &outcome {
        // Standard error leads nowhere now.
        tracing::error!("{failure}");
    }
    outcome
}

/// `RUST_LOG` is stronger than the configuration.
fn log(log: &Log) -> anyhow::Result<()> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(log.level.name()));
    let messages = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(false);
    match &log.file {
        None => messages.with_writer(std::io::stderr).init(),
        Some(path) => messages.with_writer(Mutex::new(open_log(path)?)).init(),
    }
    Ok(())
}

fn open_log(path: &Path) -> anyhow::Result<std::fs::File> {
    if let Some(directory) = path.parent() {
        // Opening the file says what is wrong.
        let _ = std::fs::create_dir_all(directory);
    }
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write messages to `{}`; name another file", path.display()))
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
