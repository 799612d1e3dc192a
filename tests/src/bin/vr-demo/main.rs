//! The demo: pods on two nodes and a host outside talk through three running vrouters.

mod checks;
mod clean;
mod cluster;
mod endurance;
mod layout;
mod ports;
mod report;
mod service;

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use anyhow::{Context, Result, ensure};
use clap::Parser;

use crate::cluster::Cluster;
use crate::report::Report;

/// Pods on two nodes and a host outside talk through three running vrouters.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave everything up at the end, until Ctrl-C.
    #[arg(long)]
    keep: bool,
    /// Remove what a killed run has left, and do nothing else.
    #[arg(long)]
    clean: bool,
    /// Transfer less.
    #[arg(long)]
    quick: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("vr-demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    ensure!(nix::unistd::geteuid().is_root(), "network namespaces need root; run this with sudo");
    if arguments.clean {
        clean::clean()?;
        println!("Nothing of the demo is left.");
        return Ok(true);
    }
    clean::ensure_clean()?;
    clean_on_interrupt()?;
    let passed = show(arguments);
    clean::clean()?;
    passed
}

fn show(arguments: &Arguments) -> Result<bool> {
    let mut cluster = Cluster::build()?;
    let mut report = Report::begin();
    checks::all(&mut cluster, &mut report);
    endurance::all(&mut cluster, &mut report, arguments.quick);
    let passed = report.end();
    ports::print(&cluster);
    if arguments.keep {
        keep(&cluster);
    }
    Ok(passed)
}

/// Prints how to look around and waits for Ctrl-C.
fn keep(cluster: &Cluster) {
    println!("\nEverything stays up until Ctrl-C, and the agents go on answering. To look around:");
    println!("  ip netns exec {}blue-1 ping {}", layout::PREFIX, layout::OUTSIDE_HOST);
    println!("  ip netns exec {}node1 tcpdump -ni eth0 udp port 6635", layout::PREFIX);
    for node in &cluster.topology.nodes {
        println!("  less {}/{}/vrouterd.log", layout::DIRECTORY, node.name);
        println!("  cargo run -p vrctl -- --socket-dir {}/{}/sockets status", layout::DIRECTORY, node.name);
    }
    loop {
        std::thread::park();
    }
}

/// Ctrl-C removes everything at once, whatever is going on.
fn clean_on_interrupt() -> Result<()> {
    let (mut reader, writer) = UnixStream::pair()?;
    for signal in [nix::libc::SIGINT, nix::libc::SIGTERM, nix::libc::SIGHUP] {
        let writer = writer.try_clone()?;
        signal_hook::low_level::pipe::register(signal, writer).context("taking Ctrl-C")?;
    }
    std::thread::Builder::new().name("interrupt".to_owned()).spawn(move || {
        if reader.read_exact(&mut [0]).is_ok() {
            eprintln!("\nInterrupted; cleaning up ...");
            if let Err(error) = clean::clean() {
                eprintln!("vr-demo: {error:#}");
            }
            std::process::exit(130);
        }
    })?;
    Ok(())
}
