//! Two workers on one flow table against two processes that have a table of half the size each.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Barrier};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sched::{CpuSet, sched_setaffinity};
use nix::unistd::Pid;
use vr_types::WorkerId;

use super::tables::Tables;
use super::{Bench, Row};

const WORKERS: usize = 2;
/// How long packets are forwarded at a time.
const SPELL: Duration = Duration::from_millis(250);
/// How often both are measured, in turns.
const TURNS: usize = 7;

fn pin(cpu: usize) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    sched_setaffinity(Pid::from_raw(0), &set).context("pinning to a processor")
}

/// Nanoseconds per packet in the better half of the rounds of a spell.
fn spell(bench: &mut Bench, cycles_per_ns: f64) -> anyhow::Result<f64> {
    let (start, mut rounds) = (Instant::now(), Vec::new());
    while start.elapsed() < SPELL {
        rounds.push(bench.timed_round()?.0);
    }
    rounds.sort_by(f64::total_cmp);
    Ok(rounds[rounds.len() / 2] / cycles_per_ns)
}

/// One of the processes: a row of its own on a processor, measured whenever a line comes in.
///
/// # Errors
/// When something came out wrong.
pub fn member(flows: u32, cpu: usize, cycles_per_ns: f64) -> anyhow::Result<()> {
    pin(cpu)?;
    let mut bench = Bench::new(&Row::scaling(flows))?;
    println!("ready");
    for line in std::io::stdin().lines() {
        line?;
        println!("{}", spell(&mut bench, cycles_per_ns)?);
    }
    Ok(())
}

struct Member(Child, BufReader<std::process::ChildStdout>);

impl Member {
    fn start(flows: u32, cpu: usize) -> anyhow::Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["--member", &format!("{flows},{cpu}")])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let output = BufReader::new(child.stdout.take().context("no output")?);
        Ok(Self(child, output))
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        ensure!(self.1.read_line(&mut line)? > 0, "the process has ended");
        Ok(line.trim().to_owned())
    }

    fn begin(&mut self) -> anyhow::Result<()> {
        self.0.stdin.as_mut().context("no input")?.write_all(b"\n").context("the process has ended")
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Packets per nanosecond of both processes together.
fn processes(members: &mut [Member]) -> anyhow::Result<f64> {
    members.iter_mut().try_for_each(Member::begin)?;
    members.iter_mut().map(|member| Ok(member.line()?.parse::<f64>()?.recip())).sum()
}

/// The same of both workers.
fn workers(benches: &mut [Bench], cycles_per_ns: f64) -> anyhow::Result<f64> {
    let barrier = Barrier::new(benches.len());
    std::thread::scope(|scope| {
        let threads: Vec<_> = benches
            .iter_mut()
            .enumerate()
            .map(|(cpu, bench)| {
                let barrier = &barrier;
                scope.spawn(move || {
                    pin(cpu)?;
                    barrier.wait();
                    spell(bench, cycles_per_ns)
                })
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| Ok(thread.join().ok().context("a worker has failed")??.recip()))
            .sum()
    })
}

/// Prints what two workers forward, compared with two processes, in the same run.
///
/// # Errors
/// When there are no two processors, or something came out wrong.
pub fn print_scaling(flows: u32, cycles_per_ns: f64) -> anyhow::Result<()> {
    let row = Row::scaling(flows);
    let tables = Arc::new(Tables::new(&row, WORKERS as u8)?);
    let mut benches = (0..WORKERS)
        .map(|worker| Bench::of_worker(&row, &tables, (WorkerId(worker as u8), WORKERS as u32)))
        .collect::<anyhow::Result<Vec<_>>>()?;
    let mut members = (0..WORKERS)
        .map(|cpu| Member::start(flows / WORKERS as u32, cpu))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for member in &mut members {
        member.line()?;
    }
    let mut rates: Vec<[f64; 2]> = Vec::new();
    for _ in 0..TURNS {
        rates.push([workers(&mut benches, cycles_per_ns)?, processes(&mut members)?]);
    }
    for bench in &benches {
        bench.check_counters()?;
    }
    rates.sort_by(|[a, b], [c, d]| (a / b).total_cmp(&(c / d)));
    let best = |which: usize| rates.iter().map(|rate| rate[which]).fold(0.0, f64::max);
    let [shared, private] = rates[rates.len() / 2];
    println!(
        "two workers, {flows} flows in one table: {:.1} Mpps, two processes with half of them each: {:.1} Mpps; \
         ratio {:.2} (median of {TURNS}), {:.2} (best of each)",
        shared * 1e3,
        private * 1e3,
        shared / private,
        best(0) / best(1)
    );
    Ok(())
}
