//! `cargo xtask test`: runs the suites.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::build_ebpf::repository;
use crate::cargo::{self, MESSAGES, Program};
use crate::corpora;
use crate::leftovers::Leftovers;
use crate::outcome::Outcome;
use crate::process::{self, Progress};
use crate::suites::{Order, SUITES, Suite, Work, belongs};
use crate::{packages, summary};

/// Tests that replay a corpus are named `<fuzz target>_corpus` and have a suite of their own.
const REPLAYS: &str = "_corpus";

/// Runs the suites whose names contain `only`, or all; whether all is well.
///
/// # Errors
/// When the machine cannot be made ready, or the user interrupts.
pub(crate) fn test(only: Option<&str>, minutes: u32) -> anyhow::Result<bool> {
    packages::need_root("the tests make network namespaces, which")?;
    std::env::set_current_dir(repository()?)?;
    packages::install()?;
    process::take_interrupts()?;
    let wanted = |suite: &Suite| only.is_none_or(|only| suite.name.contains(only));
    let needs_programs = |suite: &Suite| matches!(suite.work, Work::Tests { .. } | Work::Corpora);
    let builds = SUITES.iter().any(|suite| wanted(suite) && needs_programs(suite));
    let mut run = Run {
        end: Instant::now() + Duration::from_secs(60 * u64::from(minutes)),
        programs: Vec::new(),
        leftovers: Leftovers::begin()?,
    };
    let mut outcomes = Vec::new();
    for suite in SUITES {
        let follows = match suite.work {
            Work::Build => builds,
            Work::Leftovers => true,
            _ => false,
        };
        if wanted(suite) || follows {
            outcomes.push(run.suite(suite)?);
        }
    }
    Ok(summary::print(&outcomes))
}

struct Run {
    end: Instant,
    /// What the build has built.
    programs: Vec<Program>,
    leftovers: Leftovers,
}

impl Run {
    fn suite(&mut self, suite: &Suite) -> anyhow::Result<Outcome> {
        let left = self.end.saturating_duration_since(Instant::now());
        let mut progress = Progress::new(suite.name, Duration::from_secs(suite.budget.into()).min(left));
        let mut outcome = Outcome::new(suite.name);
        println!("{:<15}{}", suite.name, suite.covers);
        match &suite.work {
            Work::Leftovers => outcome.checked(self.leftovers.found()),
            Work::Check(check) => outcome.checked(&check()?),
            Work::Commands(lines, environment) => {
                for line in *lines {
                    let ended = process::run(command(line).envs(environment.iter().copied()), &mut progress)?;
                    outcome.ran(line, &ended);
                }
            }
            Work::Build => {
                let line = "cargo build --workspace --all-targets --features vr-io/xsk-rs --keep-going";
                let ended = process::run(command(line).arg(MESSAGES), &mut progress)?;
                self.programs = cargo::programs(&ended.stdout);
                outcome.ran(line, &ended);
            }
            Work::Tests { of, order } => {
                let threads: &[&str] = if *order == Order::OneByOne { &["--test-threads=1"] } else { &[] };
                let arguments = [&["--skip", REPLAYS], threads].concat();
                let programs = self.tests(|program| belongs(&program.package, of));
                self.run_tests(&programs, &arguments, &mut progress, &mut outcome)?;
                outcome.must_have_run();
            }
            Work::Corpora => {
                let programs = self.tests(|_| true);
                self.run_tests(&programs, &[REPLAYS], &mut progress, &mut outcome)?;
                let faults = corpora::faults(&outcome.passed_names)?;
                outcome.checked(&faults);
            }
        }
        self.leftovers.after(suite.name)?;
        outcome.took = progress.elapsed();
        progress.clear();
        println!("{:<15}{}", "", outcome.sentence());
        Ok(outcome)
    }

    /// The test programs that are wanted. Benches and examples are only built.
    fn tests(&self, wanted: impl Fn(&Program) -> bool) -> Vec<&Program> {
        let kind = |program: &Program| !["bench", "example"].contains(&program.kind.as_str());
        self.programs.iter().filter(|program| program.is_test && kind(program) && wanted(program)).collect()
    }

    /// Runs test programs in the folders of their packages, as cargo does.
    fn run_tests(
        &self,
        programs: &[&Program],
        arguments: &[&str],
        progress: &mut Progress,
        outcome: &mut Outcome,
    ) -> anyhow::Result<()> {
        for program in programs {
            if progress.left().is_zero() {
                outcome.not_run(&program.title());
                continue;
            }
            let mut command = Command::new(&program.file);
            command
                .args(arguments)
                .arg("--show-output")
                .current_dir(&program.folder)
                .env("CARGO_MANIFEST_DIR", &program.folder)
                .env("CARGO_PKG_NAME", &program.package)
                .env("TMPDIR", self.leftovers.temporary());
            outcome.tested(&program.title(), &process::run(&mut command, progress)?);
        }
        Ok(())
    }
}

fn command(line: &str) -> Command {
    let mut words = line.split(' ');
    let mut command = Command::new(words.next().unwrap_or_default());
    command.args(words).env("CARGO_TERM_COLOR", "never");
    command
}
