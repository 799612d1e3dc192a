//! A restarted agent programs anew while workers go on with what its predecessor programmed (docs/agent-restart.md).
//!
//! From the soft reset on, publication is held: commands change an empty working copy, and nobody sees it. The switch
//! puts it into force at once, with ports and flows that mean the same in both.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vr_types::{Mac, VifId};

use super::nexthop_store::NexthopStore;
use super::qos::Qos;
use super::restart_plan::Plan;
use super::vif_role::set_owned;
use super::{AttachError, Attached, Datapath, Tables};
use crate::bridge::BridgeWriter;
use crate::publish::Publisher;
use crate::snapshot::Snapshot;
use crate::stats::Cores;
use crate::vif::Vif;

/// How a restarted agent takes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GracefulRestart {
    /// How long it may take from its first interface on, twice as long while it is never silent; and how long flows may
    /// go without its confirmation then.
    pub grace: Duration,
    /// How long it is silent when it has programmed everything.
    pub quiet: Duration,
}

/// What a switch did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestartReport {
    /// Interfaces that kept their ports.
    pub kept: usize,
    /// Of these, those that have another number now.
    pub renumbered: usize,
    /// Interfaces that are gone.
    pub gone: usize,
    /// Interfaces that are new.
    pub added: usize,
    /// New interfaces whose ports could not be opened; they are there, without.
    pub without_port: Vec<VifId>,
    /// Flows that were kept.
    pub flows_kept: usize,
    /// Flows that were removed.
    pub flows_removed: usize,
}

/// What workers go on with.
pub(super) struct Held {
    pub(super) snapshot: Snapshot,
    /// What the QoS maps of flows mean.
    pub(super) qos: Qos,
    /// Whether it differs from what was published last.
    dirty: bool,
    /// How many commands there had been when somebody looked last, and since when that is so.
    seen: u64,
    quiet_since: Option<Instant>,
    /// When the first interface was seen.
    since: Option<Instant>,
}

impl Held {
    const fn new(snapshot: Snapshot, qos: Qos) -> Self {
        Self { snapshot, qos, dirty: false, seen: 0, quiet_since: None, since: None }
    }

    /// The snapshot, to be changed and published.
    pub(super) const fn change(&mut self) -> &mut Snapshot {
        self.dirty = true;
        &mut self.snapshot
    }

    pub(super) fn publish(&mut self, publisher: &mut Publisher<Snapshot>) {
        if std::mem::take(&mut self.dirty) {
            publisher.publish(self.snapshot.clone());
        }
    }

    /// The working copy is empty.
    const fn begin(&mut self, commands: u64) {
        self.seen = commands;
        (self.quiet_since, self.since) = (None, None);
    }

    /// Takes note of the time, and whether there are interfaces.
    fn look(&mut self, now: Instant, commands: u64, is_programmed: bool) {
        if self.seen != commands {
            self.seen = commands;
            self.quiet_since = Some(now);
            self.since = is_programmed.then(|| self.since.unwrap_or(now));
        }
    }
}

/// An interface has the port of another one, and what is known of its device.
fn inherit_device(snapshot: &mut Snapshot, id: VifId, old: &Vif) {
    set_owned(snapshot, id, old.flags);
    if let Some(vif) =
        snapshot.vifs.get_mut(id.index()).filter(|vif| vif.details.is_down != old.details.is_down)
    {
        Arc::make_mut(&mut vif.details).is_down = old.details.is_down;
    }
}

fn has_passed(since: Option<Instant>, time: Duration, now: Instant) -> bool {
    since.is_some_and(|since| now.saturating_duration_since(since) >= time)
}

impl Tables {
    /// Whether an agent restarts, and what it programs is not in force yet.
    #[must_use]
    pub const fn is_restarting(&self) -> bool {
        self.held.is_some()
    }

    /// Whether a reset leaves workers what they have: it is configured so, and there are guests.
    pub(super) fn restarts_gracefully(&self) -> bool {
        let has_guests = || self.work.vifs.iter().any(|(_, vif)| vif.kind.is_guest());
        self.graceful_restart.is_some() && (self.held.is_some() || has_guests())
    }

    /// The soft reset for commands only; `bridge` is for the bridge entries of the new agent.
    pub(super) fn hold(&mut self, bridge: BridgeWriter, datapath: &mut dyn Datapath) {
        if self.held.is_none() {
            let snapshot = Snapshot { restarting: true, ..self.work.clone() };
            self.publisher.publish(snapshot.clone());
            self.held = Some(Held::new(snapshot, std::mem::take(&mut self.qos)));
            // Nobody makes flows for the former agent from here on.
            datapath.settle();
            self.remove_waiting_flows(datapath);
        }
        self.bridge = bridge;
        self.empty();
        self.nexthops = NexthopStore::new(&mut self.work);
        let commands = self.commands;
        if let Some(held) = &mut self.held {
            held.begin(commands);
        }
    }

    /// Opens the port of a new interface, now or at the switch.
    pub(super) fn attach(&self, vif: &Vif, datapath: &mut dyn Datapath) -> Result<Attached, AttachError> {
        if self.held.is_some() { datapath.probe(vif) } else { datapath.attach(vif) }
    }

    /// Goes on with a restart as far as time has come, and removes flows that the agent has not confirmed in time. To
    /// be called now and then.
    pub fn advance_restart(&mut self, now: Instant, datapath: &mut dyn Datapath) -> Option<RestartReport> {
        self.advance_kept_flows(now, datapath);
        let (commands, policy) = (self.commands, self.graceful_restart?);
        let is_programmed = self.is_programmed();
        let held = self.held.as_mut()?;
        held.look(now, commands, is_programmed);
        let (since, quiet_since) = (held.since, held.quiet_since);
        // An agent that died in between leaves its successor an unfinished copy.
        if self.agent_lost {
            return None;
        }
        // Where routes change all the time there is never silence, and new flows cannot wait for it for ever.
        let overdue = has_passed(since, policy.grace.saturating_mul(2), now);
        if !overdue && !has_passed(quiet_since, policy.quiet, now) {
            return None;
        }
        let complete = has_passed(since, policy.grace, now) || self.has_all_guests(datapath);
        if complete { self.finish_restart(now, datapath) } else { None }
    }

    /// Whether there are interfaces: every agent adds some. Commands alone tell nothing, as tools give some as well and
    /// many are refused.
    fn is_programmed(&self) -> bool {
        self.work.vifs.iter().next().is_some()
    }

    /// Puts into force what the restarted agent has programmed, if it has programmed an interface.
    pub fn finish_restart(&mut self, now: Instant, datapath: &mut dyn Datapath) -> Option<RestartReport> {
        if !self.is_programmed() {
            return None;
        }
        let held = self.held.take()?;
        let plan = Plan::new(&held.snapshot, &self.work, |vif| datapath.has_lost_device(vif));
        let flows = self.choose_flows(&held, datapath);
        for vif in &plan.gone {
            datapath.detach(*vif);
        }
        let moves = plan.moves();
        for (old, new) in &plan.kept {
            if let Some(old) = held.snapshot.vif(*old) {
                inherit_device(&mut self.work, *new, old);
            }
        }
        self.changed();
        datapath.renumber(&moves, &mut || self.publish());
        datapath.settle();
        // Nobody counts on the former bridge table any more.
        let Self { bridge, nexthops, .. } = self;
        bridge.show(|slot| nexthops.id(slot));
        let without_port = self.open_ports(&plan, datapath);
        self.clear_counters(datapath);
        let report = RestartReport {
            kept: plan.kept.len(),
            renumbered: moves.len(),
            gone: plan.gone.len(),
            added: plan.added.len(),
            without_port,
            flows_kept: flows.kept.len(),
            flows_removed: flows.removed,
        };
        self.keep_flows(flows.kept, &plan.renumbered(), now);
        Some(report)
    }

    /// Opens the ports of new interfaces; returns those that have none. Who kept its port hears of its interface.
    fn open_ports(&mut self, plan: &Plan, datapath: &mut dyn Datapath) -> Vec<VifId> {
        for (_, vif) in plan.kept.iter().filter_map(|(_, id)| Some((id, self.work.vif(*id)?))) {
            datapath.changed(vif);
        }
        let mut without_port = Vec::new();
        for vif in plan.added.iter().filter_map(|id| self.work.vif(*id).cloned()).collect::<Vec<_>>() {
            match datapath.attach(&vif) {
                // The device is made just now.
                Ok(Attached { mac: Some(mac), .. }) if vif.mac.is_zero() => self.set_mac(&vif, mac),
                Ok(_) => {}
                Err(_) => without_port.push(vif.id),
            }
        }
        self.publish();
        without_port
    }

    fn set_mac(&mut self, vif: &Vif, mac: Mac) {
        self.work.vifs.set(vif.id.index(), Some(Vif { mac, ..vif.clone() }));
        self.vif_changed(vif.id, vif.kind);
    }

    fn clear_counters(&mut self, datapath: &mut dyn Datapath) {
        for (_, vif) in self.work.vifs.iter() {
            self.stats.clear_vif(vif.id, Cores::All);
            datapath.clear_port_totals(vif.id, Cores::All);
        }
        self.stats.clear_vrfs();
    }

    /// Whether every guest that was there is there again, or its device is gone.
    fn has_all_guests(&self, datapath: &mut dyn Datapath) -> bool {
        let Some(held) = &self.held else { return false };
        let mut guests = held.snapshot.vifs.iter().map(|(_, vif)| vif).filter(|vif| vif.kind.is_guest());
        let again = |old: &Vif| {
            self.work.vifs.iter().any(|(_, vif)| vif.kind == old.kind && vif.details.name == old.details.name)
        };
        guests.all(|old| {
            again(old)
                || datapath.has_lost_device(old.id)
                || matches!(datapath.probe(old), Err(AttachError::NoDevice(_)))
        })
    }
}
