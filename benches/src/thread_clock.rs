//! How long other threads have had a processor.

use std::time::Duration;

use anyhow::{Context, ensure};
use nix::time::{ClockId, clock_gettime};
use nix::unistd::Pid;

/// The clock of the processor time of another thread of this process.
pub(crate) struct ThreadClock(ClockId);

impl ThreadClock {
    /// The clock of the thread with a number.
    pub(crate) fn of(thread: Pid) -> Self {
        // How Linux makes the number of such a clock of that of the thread: `CPUCLOCK_PERTHREAD | CPUCLOCK_SCHED`.
        Self(ClockId::from_raw(!thread.as_raw() << 3 | 6))
    }

    /// The clock of the thread with a name.
    pub(crate) fn find(name: &str) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for thread in std::fs::read_dir("/proc/self/task").context("reading the list of threads")? {
            let thread = thread?;
            if std::fs::read_to_string(thread.path().join("comm")).is_ok_and(|comm| comm.trim_end() == name) {
                found.extend(thread.file_name().to_str().and_then(|number| number.parse::<i32>().ok()));
            }
        }
        ensure!(found.len() == 1, "there are {} threads named {name}", found.len());
        Ok(Self::of(Pid::from_raw(found[0])))
    }

    pub(crate) fn read(&self) -> anyhow::Result<Duration> {
        Ok(clock_gettime(self.0).context("reading the clock of a thread")?.into())
    }
}
