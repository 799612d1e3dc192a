//! How fast flows are set up: from the first packet by way of the agent to the installed pair.
//!
//! A pod sends the first packets of flows to a pod of another node. The node under test is what `vrouterd` runs: the
//! control socket, the tables, pkt0 and one worker. An agent answers each trap with two requests; then the held packet
//! leaves through the tunnel. Which packets they are is compared with what was sent, and the flow table is read as an
//! agent reads it.

mod bulk;
mod clocks;
mod node;
mod pods;
mod report;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use agent_sim::topology::Topology;
use agent_sim::{Agent, table};
use anyhow::{Context, ensure};

pub use report::print;

use crate::thread_clock::ThreadClock;
use crate::tsc;
use bulk::BulkAgent;
use clocks::Reading;
use node::UnderTest;

/// How long an agent may take to start.
const START: Duration = Duration::from_secs(10);
/// `FORWARD` in the flow table.
const FORWARD: u16 = 2;

/// How the agent answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Answers {
    /// `agent-sim`: two requests for each trap, each of which waits for its answer.
    OneByOne,
    /// Traps that have come meanwhile are answered together, up to seven with one message, whose answer it waits for.
    InBulks,
    /// All traps that have come meanwhile are answered by such messages, one behind the other.
    Ahead,
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// How the agent answers.
    pub answers: Answers,
    /// Pairs of flows in a round.
    pub pairs: u32,
    /// Rounds, behind one that is not measured; each sets up other flows.
    pub rounds: u32,
    /// First packets that wait for their flows at a time.
    pub window: u32,
}

/// The figures of one round. Cycles are those of the time stamp counter.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Round {
    seconds: f64,
    pairs_per_second: f64,
    /// What the worker needed at the most: the time of the passes in which it had something to do (miss, trap, release),
    /// or the processor time of its thread if that is less, because others had the processor during passes.
    worker_cycles_per_pair: f64,
    /// The time of these passes.
    worker_pass_cycles_per_pair: f64,
    /// Processor time of the worker's thread; it has looking for packets, sleeping and waking up besides.
    worker_thread_cycles_per_pair: f64,
    /// Processor time of the control thread: two requests.
    control_cycles_per_pair: f64,
    /// System calls of the control thread: waiting, reading, writing.
    control_calls_per_pair: f64,
    /// System calls by which the worker sends traps to the agent, and looks for what came from there.
    worker_calls_per_pair: f64,
    /// Passes of the worker in which it had something to do; in each it asks the kernel once which ports have something.
    worker_passes_per_pair: f64,
}

/// What was measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Outcome {
    /// How the agent answered.
    pub answers: Answers,
    /// Pairs in each round.
    pub pairs: u32,
    /// The rounds but for the first, in their order.
    pub rounds: Vec<Round>,
    /// First packets sent in all rounds.
    pub sent: u64,
    /// Of these, packets that left through the tunnel.
    pub arrived: u64,
    /// Dropped packets by the reasons that the vrouter counts.
    pub drops: Vec<(&'static str, u64)>,
}

impl Plan {
    /// Sets up all flows.
    ///
    /// # Errors
    /// When the system refuses something, the agent fails, a packet that nobody sent arrives, or both flows of a packet
    /// that arrived are not in the table.
    pub fn run(&self) -> anyhow::Result<Outcome> {
        let directory = directory()?;
        let flows = 2 * self.pairs.saturating_mul(self.rounds + 1);
        let (node, mut pods) = UnderTest::start(directory.path(), flows)?;
        let agent = RunningAgent::start(self.answers, directory.path(), &node.topology)?;
        let worker = ThreadClock::find("worker0")?;
        let scale = tsc::per_nanosecond();
        let (mut rounds, mut sent, mut arrived) = (Vec::new(), 0, 0);
        for round in 0..=self.rounds {
            let first = round * self.pairs;
            let before = Reading::take(&node, &worker)?;
            let start = Instant::now();
            arrived += pods.open(first..first + self.pairs, self.window as usize)?;
            let seconds = start.elapsed().as_secs_f64();
            let spent = Reading::take(&node, &worker)?.since(before);
            sent += u64::from(self.pairs);
            if round == 0 {
                // Memory that is used for the first time.
                continue;
            }
            let per_pair = |time: Duration| time.as_nanos() as f64 * scale / f64::from(self.pairs);
            rounds.push(Round {
                seconds,
                pairs_per_second: f64::from(self.pairs) / seconds,
                worker_cycles_per_pair: per_pair(spent.busy.min(spent.worker)),
                worker_pass_cycles_per_pair: per_pair(spent.busy),
                worker_thread_cycles_per_pair: per_pair(spent.worker),
                control_cycles_per_pair: per_pair(spent.control),
                control_calls_per_pair: spent.control_calls as f64 / f64::from(self.pairs),
                worker_calls_per_pair: spent.worker_calls as f64 / f64::from(self.pairs),
                worker_passes_per_pair: spent.passes as f64 / f64::from(self.pairs),
            });
        }
        agent.stop()?;
        let live = table::entries(directory.path()).context("reading the flow table")?;
        let live = live.iter().filter(|entry| entry.is_live() && entry.action == FORWARD).count() as u64;
        let drops = node.stop()?;
        ensure!(live >= 2 * arrived, "{arrived} packets have arrived, but only {live} flows are there");
        Ok(Outcome { answers: self.answers, pairs: self.pairs, rounds, sent, arrived, drops })
    }
}

/// Where the daemon has its tables, too: in memory.
fn directory() -> std::io::Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let mut name = tempfile::Builder::new();
    let name = name.prefix("vrx-setup-");
    if memory.is_dir() { name.tempdir_in(memory) } else { name.tempdir() }
}

enum RunningAgent {
    Simulated(Agent),
    Bulk(BulkAgent),
}

impl RunningAgent {
    fn start(answers: Answers, directory: &Path, topology: &Arc<Topology>) -> anyhow::Result<Self> {
        Ok(match answers {
            Answers::OneByOne => Self::Simulated(Agent::start(directory, topology, 0, START)?),
            Answers::InBulks => Self::Bulk(BulkAgent::start(directory, topology, START, false)?),
            Answers::Ahead => Self::Bulk(BulkAgent::start(directory, topology, START, true)?),
        })
    }

    fn stop(self) -> anyhow::Result<()> {
        match self {
            Self::Simulated(agent) => {
                let errors = agent.errors();
                ensure!(
                    errors.is_empty(),
                    "the agent has failed {} times, first: {}",
                    errors.len(),
                    errors[0]
                );
                Ok(())
            }
            Self::Bulk(agent) => agent.stop(),
        }
    }
}
