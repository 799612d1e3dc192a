//! Jobs that build a program and become it. An interrupt reaches that program alone, which cleans up.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::build_ebpf::repository;
use crate::{cargo, corpora, packages};

/// Benches that there are.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Bench {
    /// The pipeline on memory ports: cycles and nanoseconds per packet.
    Core,
    /// Objects programmed through the control socket: how many a second, and that no packet is lost meanwhile. Then flows
    /// set up by way of an agent: pairs a second, and cycles of the dataplane for each.
    Control,
}

/// `cargo xtask demo`.
///
/// # Errors
/// When the demo cannot be started; it does not return otherwise.
pub(crate) fn demo(arguments: &[String]) -> anyhow::Result<()> {
    packages::need_root("the demo makes network namespaces, which")?;
    packages::install()?;
    let demo = release_program(&["vrouterd", "vr-tests", "agent-sim"], "vr-demo")?;
    become_program(Command::new(demo).args(arguments))
}

/// `cargo xtask bench`.
///
/// # Errors
/// When the bench cannot be started; it does not return otherwise.
pub(crate) fn bench(bench: Bench, arguments: &[String]) -> anyhow::Result<()> {
    let name = match bench {
        Bench::Core => "bench-core",
        Bench::Control => "bench-control",
    };
    let program = release_program(&["vr-benches"], name)?;
    if let Bench::Control = bench {
        // Its threads need all processors.
        return become_program(Command::new(program).args(arguments));
    }
    let processor = std::thread::available_parallelism().map_or(0, |count| count.get() - 1);
    let undisturbed = format!("chrt -f 50 taskset -c {processor}");
    let mut words = undisturbed.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words);
    if has_effect(&mut command) {
        return become_program(command.arg(program).args(arguments));
    }
    eprintln!("`{undisturbed}` is not possible here (is this root?): other programs may disturb the figures");
    become_program(Command::new(program).args(arguments))
}

/// Whether a program that changes how others run can do so here.
fn has_effect(wrapper: &mut Command) -> bool {
    let mut trial = Command::new(wrapper.get_program());
    trial.args(wrapper.get_args()).arg("true").stdout(Stdio::null()).stderr(Stdio::null());
    trial.status().is_ok_and(|status| status.success())
}

/// `cargo xtask fuzz`: fuzzes one target, or all of them one after the other.
///
/// # Errors
/// When fuzzing is not possible here, or has found something.
pub(crate) fn fuzz(target: Option<&str>, seconds: u32) -> anyhow::Result<()> {
    let works =
        |words: &[&str]| Command::new("cargo").args(words).output().is_ok_and(|run| run.status.success());
    ensure!(
        works(&["+nightly", "--version"]),
        "fuzzing needs nightly Rust: rustup toolchain install nightly --profile minimal"
    );
    ensure!(works(&["+nightly", "fuzz", "--version"]), "fuzzing needs cargo-fuzz: cargo install cargo-fuzz");
    let mut targets = corpora::targets()?;
    if let Some(target) = target {
        ensure!(
            targets.iter().any(|name| name == target),
            "there is no fuzz target {target}; there are: {}",
            targets.join(" ")
        );
        targets.retain(|name| name == target);
    }
    for target in targets {
        println!("Fuzzing {target} for {seconds} s");
        let new_inputs = repository()?.join("target/fuzz-inputs").join(&target);
        std::fs::create_dir_all(&new_inputs).with_context(|| format!("creating {}", new_inputs.display()))?;
        let status = Command::new("cargo")
            .args(["+nightly", "fuzz", "run", "--fuzz-dir", corpora::FOLDER, &target])
            // The first folder gets what is new, and the one under version control stays as it is.
            .args([&new_inputs, &corpora::corpus(&target)?])
            .args(["--", &format!("-max_total_time={seconds}")])
            .current_dir(repository()?)
            .status()
            .context("cannot start cargo")?;
        ensure!(status.success(), "the fuzz target {target} failed; the input that did it is named above");
        println!("New inputs are in {}", new_inputs.display());
    }
    Ok(())
}

fn release_program(packages: &[&str], name: &str) -> anyhow::Result<PathBuf> {
    let programs = cargo::build_release(packages)?;
    let program = programs.into_iter().find(|program| program.target == name && program.kind == "bin");
    Ok(program.with_context(|| format!("none of {} has a program {name}", packages.join(", ")))?.file)
}

fn become_program(command: &mut Command) -> anyhow::Result<()> {
    let error = command.exec();
    bail!("cannot start {}: {error}", command.get_program().display())
}
