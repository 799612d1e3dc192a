//! What the dataplane's threads have spent.

use std::time::Duration;

use vr_runtime::PortEntry;

use super::node::UnderTest;
use crate::thread_clock::ThreadClock;

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
    /// Until now. The clock is that of the worker's thread.
    pub(super) fn take(node: &UnderTest, worker: &ThreadClock) -> anyhow::Result<Self> {
        let workers = node.monitor.workers();
        let calls = |port: PortEntry| {
            let figures = port.counters.figures();
            figures.rx_syscalls + figures.tx_syscalls
        };
        Ok(Self {
            busy: Duration::from_nanos(workers.iter().map(|worker| worker.busy_ns).sum()),
            worker: worker.read()?,
            control: node.control_time()?,
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
