//! What the dataplane's threads have spent.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};
use vr_runtime::Monitor;

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
}

impl Reading {
    /// Until now. The clocks are those of the worker and of the control thread.
    pub(super) fn take(monitor: &Monitor, [worker, control]: &[ThreadClock; 2]) -> anyhow::Result<Self> {
        let busy = monitor.workers().iter().map(|worker| worker.busy_ns).sum();
        Ok(Self { busy: Duration::from_nanos(busy), worker: worker.read()?, control: control.read()? })
    }

    pub(super) fn since(self, before: Self) -> Self {
        Self {
            busy: self.busy.saturating_sub(before.busy),
            worker: self.worker.saturating_sub(before.worker),
            control: self.control.saturating_sub(before.control),
        }
    }
}
