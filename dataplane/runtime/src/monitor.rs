//! Reading what workers and ports count.

use std::sync::{Arc, Mutex, PoisonError};

use vr_io::{PortCounters, PortKind};
use vr_types::{VifId, WorkerId};

use crate::WorkerFigures;
use crate::mailbox::Mailbox;

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
}

/// The queues that there are now.
#[derive(Clone, Default)]
pub(crate) struct PortList(Arc<Mutex<Vec<PortEntry>>>);

impl PortList {
    pub(crate) fn change(&self, change: impl FnOnce(&mut Vec<PortEntry>)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
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
    pub fn workers(&self) -> Vec<WorkerFigures> {
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
        self.mailboxes.iter().map(|mailbox| mailbox.status.heartbeat()).max().unwrap_or(0)
    }
}
