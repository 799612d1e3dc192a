//! Every recurring job of the project, one command each: `cargo xtask <job>`.

#[allow(unreachable_pub, dead_code, reason = "the loader's tests include this file too")]
mod build_ebpf;
mod jobs;
mod layers;
mod leftovers;
mod packages;
mod process;
mod suites;
mod summary;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Every recurring job, one command each.
#[derive(Parser)]
#[command(name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    job: Job,
}

#[derive(Subcommand)]
enum Job {
    /// Passes all tests: formatting, clippy, docs, unit, property, namespace and verifier tests.
    Test {
        /// Runs only the suites whose name contains this.
        #[arg(long)]
        only: Option<String>,
    },
    /// Shows pods on two nodes and an external host talk through three running daemons.
    Demo {
        /// Passed to the demo: --keep, --clean, --quick.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures the forwarder.
    Bench {
        /// `core`: the pipeline on memory ports.
        what: String,
        /// Passed to the bench: --quick, --json FILE.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Fuzzes, where nightly Rust and cargo-fuzz are installed.
    Fuzz {
        /// Which target; all of them, one after the other, if none is named.
        target: Option<String>,
        /// Seconds for each target.
        #[arg(long, default_value_t = 60)]
        seconds: u32,
    },
    /// Rebuilds the committed eBPF object.
    BuildEbpf,
    /// Installs the system packages that the other jobs need.
    InstallPackages,
}

fn main() -> ExitCode {
    let result = match Arguments::parse().job {
        Job::Test { only } => jobs::test(only.as_deref()),
        Job::Demo { arguments } => jobs::demo(&arguments),
        Job::Bench { what, arguments } => jobs::bench(&what, &arguments),
        Job::Fuzz { target, seconds } => jobs::fuzz(target.as_deref(), seconds),
        Job::BuildEbpf => build_ebpf::run().map(|()| true),
        Job::InstallPackages => packages::install().map(|()| true),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
