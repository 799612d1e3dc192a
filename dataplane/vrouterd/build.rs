//! Says from which state of the sources the daemon is built. Nothing of the machine goes into it, so that the same
//! sources give the same program.

use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=SOURCE_DATE_EPOCH");
    // A file that is not there would make every build start anew.
    if let Some(log) = output("git", &["rev-parse", "--path-format=absolute", "--git-path", "logs/HEAD"])
        && std::fs::exists(&log).unwrap_or(false)
    {
        println!("cargo::rerun-if-changed={log}");
    }
    let seconds = std::env::var("SOURCE_DATE_EPOCH").ok();
    let seconds = seconds.or_else(|| output("git", &["log", "-1", "--format=%ct"]));
    let time = seconds
        .and_then(|seconds| output("date", &["--utc", &format!("--date=@{seconds}"), "+%Y-%m-%d %H:%M:%S"]));
    let version = std::env::var("CARGO_PKG_VERSION").unwrap_or_default();
    let commit = output("git", &["rev-parse", "--short=12", "HEAD"]).map(|commit| format!("+{commit}"));
    println!("cargo::rustc-env=VROUTERD_VERSION={version}{}", commit.unwrap_or_default());
    println!("cargo::rustc-env=VROUTERD_BUILD_TIME={}", time.as_deref().unwrap_or("unknown"));
    println!("cargo::rustc-env=VROUTERD_TARGET={}", std::env::var("TARGET").unwrap_or_default());
}

/// What a program prints, if it succeeds with something.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output =
        Command::new(program).args(arguments).output().ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
