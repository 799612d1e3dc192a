//! The jobs that are not a module of their own.

use std::process::{Command, Stdio};

use anyhow::{Context, bail, ensure};

use crate::{packages, suites};

/// `cargo xtask test`.
pub(crate) fn test(only: Option<&str>) -> anyhow::Result<bool> {
    packages::need_root("the tests make network namespaces, which")?;
    packages::install()?;
    suites::run(only)
}

fn run(command: &mut Command) -> anyhow::Result<bool> {
    let name = command.get_program().to_string_lossy().into_owned();
    let status = command.status().with_context(|| format!("cannot start {name}"))?;
    Ok(status.success())
}

fn build_release(packages: &[&str]) -> anyhow::Result<()> {
    println!("Building {} (release)", packages.join(", "));
    let mut command = Command::new("cargo");
    command.args(["build", "--release"]);
    for package in packages {
        command.args(["-p", package]);
    }
    ensure!(run(&mut command)?, "the build failed");
    Ok(())
}

/// Folder of release programs.
fn release_folder() -> std::path::PathBuf {
    let target =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| "target".into(), std::path::PathBuf::from);
    target.join("release")
}

/// `cargo xtask demo`.
pub(crate) fn demo(arguments: &[String]) -> anyhow::Result<bool> {
    packages::need_root("the demo makes network namespaces, which")?;
    packages::install()?;
    build_release(&["vrouterd", "vr-tests"])?;
    // An interrupt goes to the whole group: the demo cleans up and this program waits for it.
    // SAFETY: ignoring a signal has no preconditions.
    #[allow(unsafe_code, reason = "the standard library cannot ignore a signal")]
    unsafe {
        libc::signal(libc::SIGINT, libc::SIG_IGN);
    }
    run(Command::new(release_folder().join("vr-demo")).args(arguments))
}

/// `cargo xtask bench`.
pub(crate) fn bench(what: &str, arguments: &[String]) -> anyhow::Result<bool> {
    ensure!(what == "core", "there is no bench `{what}`; there is `core`");
    build_release(&["vr-benches"])?;
    let program = release_folder().join("bench-core");
    let scheduled = ["chrt", "-f", "50", "taskset", "-c", &last_processor().to_string()].map(str::to_owned);
    let possible = packages::is_root()
        && Command::new("chrt")
            .args(["-f", "50", "true"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
    if possible {
        return run(Command::new(&scheduled[0]).args(&scheduled[1..]).arg(program).args(arguments));
    }
    println!("Without real-time priority (needs root and chrt): other programs disturb the figures.");
    run(Command::new(program).args(arguments))
}

fn last_processor() -> usize {
    std::thread::available_parallelism().map_or(0, |count| count.get() - 1)
}

/// `cargo xtask fuzz`.
pub(crate) fn fuzz(target: Option<&str>, seconds: u32) -> anyhow::Result<bool> {
    let there = Command::new("cargo").args(["+nightly", "fuzz", "--version"]).output();
    if !there.is_ok_and(|output| output.status.success()) {
        bail!(
            "fuzzing needs nightly Rust and cargo-fuzz: rustup toolchain install nightly; cargo install cargo-fuzz"
        );
    }
    let targets: Vec<String> = if let Some(target) = target {
        vec![target.to_owned()]
    } else {
        let files =
            std::fs::read_dir("tests/fuzz/fuzz_targets").context("run this in the project's folder")?;
        let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
        names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect()
    };
    for target in targets {
        println!("Fuzzing {target} for {seconds} s");
        let limit = format!("-max_total_time={seconds}");
        let mut command = Command::new("cargo");
        command.args(["+nightly", "fuzz", "run", "--fuzz-dir", "tests/fuzz", &target, "--", &limit]);
        if !run(&mut command)? {
            return Ok(false);
        }
    }
    Ok(true)
}
