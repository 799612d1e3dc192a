//! Options and the soft reset (control.md 4.2, 3.5).

use std::sync::Arc;

use hashbrown::HashMap;
use vr_types::{NexthopId, VifId};

use super::nexthop_store::NexthopStore;
use super::qos::Qos;
use super::{Datapath, Tables};
use crate::drop_log::DropLogging;
use crate::options::Options;
use crate::snapshot::Snapshot;

/// New values of options; `None` leaves one as it is.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs, reason = "named as in Options")]
pub struct OptionsChange {
    pub perfr: Option<i32>,
    pub perfs: Option<i32>,
    pub from_vm_mss_adj: Option<i32>,
    pub to_vm_mss_adj: Option<i32>,
    pub perfr1: Option<i32>,
    pub perfr2: Option<i32>,
    pub perfr3: Option<i32>,
    pub perfp: Option<i32>,
    pub perfq1: Option<i32>,
    pub perfq2: Option<i32>,
    pub perfq3: Option<i32>,
    pub udp_coff: Option<i32>,
    pub flow_hold_limit: Option<i32>,
    pub mudp: Option<i32>,
    pub burst_tokens: Option<i32>,
    pub burst_interval: Option<i32>,
    pub burst_step: Option<i32>,
    pub priority_tagging: Option<u32>,
    pub packet_dump: Option<i32>,
    pub drop_log: Option<DropLogging>,
    pub log_level: Option<u32>,
    /// Log types to switch on.
    pub log_types_on: Vec<i32>,
    /// Log types to switch off.
    pub log_types_off: Vec<i32>,
}

impl OptionsChange {
    fn apply(&self, to: &mut Options) {
        let set = |to: &mut i32, value: Option<i32>| *to = value.unwrap_or(*to);
        set(&mut to.perfr, self.perfr);
        set(&mut to.perfs, self.perfs);
        set(&mut to.from_vm_mss_adj, self.from_vm_mss_adj);
        set(&mut to.to_vm_mss_adj, self.to_vm_mss_adj);
        set(&mut to.perfr1, self.perfr1);
        set(&mut to.perfr2, self.perfr2);
        set(&mut to.perfr3, self.perfr3);
        set(&mut to.perfp, self.perfp);
        set(&mut to.perfq1, self.perfq1);
        set(&mut to.perfq2, self.perfq2);
        set(&mut to.perfq3, self.perfq3);
        set(&mut to.udp_coff, self.udp_coff);
        set(&mut to.flow_hold_limit, self.flow_hold_limit);
        set(&mut to.mudp, self.mudp);
        set(&mut to.burst_tokens, self.burst_tokens);
        set(&mut to.burst_interval, self.burst_interval);
        set(&mut to.burst_step, self.burst_step);
        set(&mut to.packet_dump, self.packet_dump);
        to.priority_tagging = self.priority_tagging.unwrap_or(to.priority_tagging);
        to.drop_log = self.drop_log.unwrap_or(to.drop_log);
        to.log_level = self.log_level.unwrap_or(to.log_level);
        for (kinds, is_on) in [(&self.log_types_on, true), (&self.log_types_off, false)] {
            for kind in kinds {
                to.set_log_type(*kind, is_on);
            }
        }
    }
}

impl Tables {
    /// Changes options.
    pub fn set_options(&mut self, change: &OptionsChange) {
        self.begin();
        change.apply(&mut self.work.options);
        self.changed();
    }

    /// The options.
    #[must_use]
    pub const fn options(&self) -> &Options {
        &self.work.options
    }

    /// The soft reset: all tables empty but for the discard nexthop, all ports closed. Drop counters and
    /// options stay, and so do the files that clients map. When this returns no worker uses anything of what
    /// was.
    ///
    /// With a graceful restart all of that is so for commands only: workers and flows go on until the agent has
    /// programmed everything again.
    pub fn reset(&mut self, datapath: &mut dyn Datapath) {
        if self.restarts_gracefully() {
            match self.bridge.successor() {
                Ok(bridge) => return self.hold(bridge, datapath),
                Err(error) => tracing::warn!(%error, "the agent restarts without its predecessor's tables"),
            }
        }
        self.flow_clear(datapath);
        let held = self.held.take();
        let ports = &held.as_ref().map_or(&self.work, |held| &held.snapshot).vifs;
        let vifs: Vec<VifId> = ports.iter().map(|(_, vif)| vif.id).collect();
        self.bridge.clear();
        self.empty();
        self.publish();
        datapath.settle();
        if held.is_some() {
            self.bridge.show(|_| NexthopId::DISCARD);
        }
        // No worker knows an old slot any more, so all of them are free.
        self.nexthops = NexthopStore::new(&mut self.work);
        self.forget_metadata();
        for vif in vifs {
            datapath.detach(vif);
        }
        self.stats.clear_vrfs();
        self.recycle();
        self.flow_clear_evicted();
    }

    /// Makes the working copy empty.
    pub(super) fn empty(&mut self) {
        self.work = self.empty_snapshot();
        self.routes = HashMap::new();
        self.vnis.clear();
        self.vrf_entries.clear();
        self.qos = Qos::default();
        self.changed();
    }

    fn empty_snapshot(&self) -> Snapshot {
        let old = &self.work;
        // The epoch of a VRF starts anew, the sum of both must not come back to an earlier value.
        let vrf_epochs = old.vrfs.iter().map(|(_, vrf)| vrf.epoch).max().unwrap_or(0);
        let mut empty = Snapshot {
            incarnation: old.incarnation.wrapping_add(1),
            epoch: old.epoch.wrapping_add(vrf_epochs).wrapping_add(1),
            nexthop_epochs: old.nexthop_epochs.clone(),
            peers: Arc::clone(&old.peers),
            options: old.options.clone(),
            label_limit: old.label_limit,
            // Entries that survive name it by number.
            flow_metadata: old.flow_metadata.clone(),
            ..Snapshot::new(Arc::clone(self.bridge.table()))
        };
        // The built-in nexthop is part of every snapshot.
        NexthopStore::new(&mut empty);
        empty
    }
}
