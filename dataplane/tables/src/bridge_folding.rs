//! Folding of what packets count on bridge entries.

use std::sync::Arc;

use crate::grace::Grace;
use crate::publish::Reader;
use crate::snapshot::Snapshot;

/// Brings packet counters of bridge entries into the file that clients map. Runs beside the workers, in one thread.
///
/// It takes part in grace periods: whoever has published another table and waits for one may rewrite the file.
pub struct BridgeFolding {
    tables: Reader<Snapshot>,
    grace: Arc<Grace>,
}

impl BridgeFolding {
    pub(crate) const fn new(tables: Reader<Snapshot>, grace: Arc<Grace>) -> Self {
        Self { tables, grace }
    }

    /// Folds what was touched since the last call; returns how many entries it looked at.
    pub fn run(&mut self) -> usize {
        let housekeeping = self.grace.housekeeping();
        self.grace.enter(housekeeping);
        let scanned = self.tables.latest().bridge.fold();
        self.grace.leave(housekeeping);
        scanned
    }
}
