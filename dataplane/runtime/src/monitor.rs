//! Reading what workers and ports count.

use std::sync::{Arc, Mutex, PoisonError};

use vr_io::{PortCounters, PortKind};
use vr_observe::Worker;
use vr_tables::control::PortTotals;
use vr_tables::stats::Cores;
use vr_types::{VifId, WorkerId};

use crate::mailbox::Mailbox;
use crate::moves::Moves;

/// A queue that a worker polls.
#[derive(Clone)]
pub struct PortEntry {
    /// The interface that it belongs to.
    pub vif: VifId,
    /// The interface's name.
    pub name: String,
    /// What it is.
    pub kind: PortKind,
    /// Who polls it.
    pub worker: WorkerId,
    /// How the device is used and why so, if there is more than one way.
    pub detail: String,
    /// Its counters.
    pub counters: Arc<PortCounters>,
    /// What they were when a client cleared them last.
    pub(crate) cleared: PortTotals,
}

impl PortEntry {
    fn totals(&self) -> PortTotals {
        let figures = self.counters.figures();
        PortTotals {
            in_packets: figures.rx_packets,
            in_errors: figures.rx_dropped(),
            in_no_buffers: figures.rx_no_buffer,
            in_syscalls: figures.rx_syscalls,
            out_packets: figures.tx_packets,
            out_errors: figures.tx_dropped(),
            out_syscalls: figures.tx_syscalls,
        }
    }

    fn is_of(&self, vif: VifId, cores: Cores) -> bool {
        self.vif == vif && cores.include(self.worker.index())
    }
}

/// The queues that there are now.
#[derive(Clone, Default)]
pub(crate) struct PortList(Arc<Mutex<Vec<PortEntry>>>);

impl PortList {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<PortEntry>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }

    /// What the queues of an interface have counted since they were opened or cleared.
    pub(crate) fn totals(&self, vif: VifId, cores: Cores) -> PortTotals {
        let ports = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let queues = ports.iter().filter(|port| port.is_of(vif, cores));
        queues.fold(PortTotals::default(), |sum, port| sum.plus(port.totals().since(port.cleared)))
    }

    /// Interfaces have other numbers.
    pub(crate) fn renumber(&self, moves: &Moves) {
        self.change(|ports| ports.iter_mut().for_each(|port| port.vif = moves.of(port.vif)));
    }

    /// Starts the counters of an interface at zero again, for readers of [`PortList::totals`].
    pub(crate) fn clear_totals(&self, vif: VifId, cores: Cores) {
        self.change(|ports| {
            for port in ports.iter_mut().filter(|port| port.is_of(vif, cores)) {
                port.cleared = port.totals();
            }
        });
    }
}

/// Reads the figures of all workers and ports; for any thread. Workers do not notice.
#[derive(Clone)]
pub struct Monitor {
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) ports: PortList,
}

impl Monitor {
    /// Each worker's figures at this moment.
    #[must_use]
    pub fn workers(&self) -> Vec<Worker> {
        self.mailboxes.iter().map(|mailbox| mailbox.status.figures()).collect()
    }

    /// The queues that there are, in the order in which they were opened.
    #[must_use]
    pub fn ports(&self) -> Vec<PortEntry> {
        self.ports.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The latest sign of life of any worker, nanoseconds of `CLOCK_MONOTONIC`; 0 before the first.
    #[must_use]
    pub fn heartbeat(&self) -> u64 {
        self.heartbeats().max().unwrap_or(0)
    }

    /// The latest sign of life of each worker.
    pub fn heartbeats(&self) -> impl Iterator<Item = u64> {
        self.mailboxes.iter().map(|mailbox| mailbox.status.heartbeat())
    }
}
