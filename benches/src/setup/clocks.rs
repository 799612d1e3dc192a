//! What the dataplane's threads have spent.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};
use vr_runtime::PortEntry;

use super::node::UnderTest;

/// The clock of the processor time of another thread of this process.
pub(super) struct ThreadClock(ClockId);

impl ThreadClock {
    /// The clock of the thread with a name.
    pub(super) fn find(name: &str) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for thread in std::fs::read_dir("/proc/self/task").context("reading the list of threads")? {
            let thread = thread?;
            if std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
                found.extend(thread.file_name().to_str().and_then(|number| number.parse::<i32>().ok()));
            }
        }
        ensure!(found.len() == 1, "there are {} threads named {name}", found.len());
        // How Linux makes the number of such a clock of that of the thread: `CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED`.
        Ok(Self(ClockId::from_raw(!found[0] << 3 | 6)))
    }

    fn read(&self) -> anyhow::Result<Duration> {
        Ok(clock_gettime(self.0).context("reading the clock of a thread")?.into())
    }
}

/// Time spent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading {
    /// By the worker in passes in which it did something.
    pub(super) busy: Duration,
    /// By the worker's thread on a processor.
    pub(super) worker: Duration,
    /// By the control thread on a processor.
    pub(super) control: Duration,
    /// System calls of the control thread.
    pub(super) control_calls: u64,
    /// System calls of the worker on its ports.
    pub(super) worker_calls: u64,
    /// Passes of the worker in which it did something.
    pub(super) passes: u64,
}

impl Reading {
    /// Until now. The clocks are those of the worker and of the control thread.
    pub(super) fn take(node: &UnderTest, [worker, control]: &[ThreadClock; 2]) -> anyhow::Result<Self> {
        let workers = node.monitor.workers();
        let calls = |port: PortEntry| {
            let figures = port.counters.figures();
            figures.rx_syscalls + figures.tx_syscalls
        };
        Ok(Self {
            busy: Duration::from_nanos(workers.iter().map(|worker| worker.busy_ns).sum()),
            worker: worker.read()?,
            control: control.read()?,
            control_calls: node.control_calls(),
            worker_calls: node.monitor.ports().into_iter().map(calls).sum(),
            passes: workers.iter().map(|worker| worker.busy_passes).sum(),
        })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            worker: self.worker.saturating_sub(before.worker),
            control: self.control.saturating_sub(before.control),
            control_calls: self.control_calls - before.control_calls,
            worker_calls: self.worker_calls - before.worker_calls,
            passes: self.passes - before.passes,
        }
    }
}
