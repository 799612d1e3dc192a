//! Flows in the report.

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use vr_observe::{Flows, Memory, Quota};
use vr_tables::control::Tables;
use vr_tables::flow::{FlowTable, HoldCounters, QuotaUse};
use vr_tables::stats::WorkerStats;

/// Where the figures come from.
pub(crate) struct FlowFigures {
    table: Arc<FlowTable>,
    holds: Arc<HoldCounters>,
    workers: Vec<Arc<WorkerStats>>,
}

impl FlowFigures {
    pub(crate) fn new(tables: &Tables) -> Self {
        Self {
            table: Arc::clone(tables.flow_table()),
            holds: Arc::clone(tables.holds()),
            workers: tables.worker_stats().to_vec(),
        }
    }

    pub(crate) fn report(&self) -> Flows {
        let (used, used_overflow) = self.table.used();
        let geometry = self.table.geometry();
        let quotas = self.table.quotas();
        let of = |uses: Vec<QuotaUse>| uses.into_iter().map(quota).collect();
        Flows {
            used,
            entries: geometry.entries,
            used_overflow,
            overflow: geometry.overflow,
            holding: self.holds.outstanding(),
            refused_holds: self.holds.refused.load(Relaxed),
            evicted: self.table.evictions(),
            evicted_holds: self.holds.evicted.load(Relaxed),
            recompiled: self.workers.iter().map(|stats| stats.recompilations()).collect(),
            vrf_quotas: quotas.map_or_else(Vec::new, |quotas| of(quotas.vrfs())),
            vif_quotas: quotas.map_or_else(Vec::new, |quotas| of(quotas.vifs())),
            memory: self.table.memory().into_iter().map(memory).collect(),
        }
    }
}

fn quota(one: QuotaUse) -> Quota {
    Quota { number: one.number, used: one.used, refused: one.refused }
}

fn memory((what, bytes): (&'static str, usize)) -> Memory {
    Memory { what: what.to_owned(), bytes: bytes as u64 }
}
