//! Every recurring job of the project, one command each: `cargo xtask <job>`.

#[allow(unreachable_pub, dead_code, reason = "the loader's tests include this file too")]
mod build_ebpf;
mod cargo;
mod corpora;
mod harness;
mod jobs;
mod layers;
mod leftovers;
mod outcome;
mod packages;
mod process;
mod run;
mod spec_copies;
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
    /// Runs all tests: formatting, lints, docs, unit, property, namespace and verifier tests, fuzz corpora.
    Test {
        /// Runs only the suites whose names contain this.
        #[arg(long, value_name = "TEXT")]
        only: Option<String>,
        /// Ends all suites after this time.
        #[arg(long, default_value_t = suites::MINUTES)]
        minutes: u32,
    },
    /// Shows pods on two nodes and an external host talk through three running daemons.
    Demo {
        /// For the demo: --keep leaves everything up, --clean removes what a killed run left, --quick is short.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
    /// Measures.
    Bench {
        /// What to measure.
        what: jobs::Bench,
        /// For the bench: --quick, --json FILE.
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
    let well = match Arguments::parse().job {
        Job::Test { only, minutes } => run::test(only.as_deref(), minutes),
        Job::Demo { arguments } => jobs::demo(&arguments).map(|()| true),
        Job::Bench { what, arguments } => jobs::bench(what, &arguments).map(|()| true),
        Job::Fuzz { target, seconds } => jobs::fuzz(target.as_deref(), seconds).map(|()| true),
        Job::BuildEbpf => build_ebpf::run().map(|()| true),
        Job::InstallPackages => packages::install().map(|()| true),
    };
    match well {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}
