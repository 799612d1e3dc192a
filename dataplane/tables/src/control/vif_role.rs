//! What follows from an interface's type: special interfaces, cross-connect, sub-interfaces.

use std::sync::Arc;

use vr_types::{Mac, VifId};

use super::restart::Held;
use super::{CommandError, DeviceChange, Tables, VifSpec};
use crate::snapshot::Snapshot;
use crate::vif::{Vif, VifFlags, VifKind};

impl Tables {
    /// Whether an interface of this type can be added now.
    pub(super) fn check_role(&self, spec: &VifSpec, kind: VifKind) -> Result<(), CommandError> {
        let roles = &self.work.roles;
        match kind {
            VifKind::Host if roles.fabric[0] == VifId::NONE => {
                Err(CommandError::NoDevice("physical interface"))
            }
            VifKind::Agent if roles.agent != VifId::NONE && !self.mock => {
                Err(CommandError::Exists("the agent's interface"))
            }
            VifKind::Monitoring if self.monitored(spec.os_index).is_none() => {
                Err(CommandError::Invalid("the interface to be monitored does not exist"))
            }
            _ => Ok(()),
        }
    }

    fn monitored(&self, os_index: u32) -> Option<VifId> {
        let id = u16::try_from(os_index).ok().map(VifId)?;
        self.work.vif(id).map(|vif| vif.id)
    }

    /// Whether a sub-interface fits below its parent.
    pub(super) fn check_sub_interface(
        &self,
        parent: VifId,
        vlan: u16,
        source_macs: &[Mac],
    ) -> Result<(), CommandError> {
        let parent = self
            .work
            .vif(parent)
            .filter(|parent| matches!(parent.kind, VifKind::Physical | VifKind::Virtual))
            .ok_or(CommandError::Invalid("the parent of the sub-interface does not exist"))?;
        let taken = |mac: Mac| parent.details.sub_interfaces.iter().any(|(v, m, _)| *v == vlan && *m == mac);
        let exists = if source_macs.is_empty() {
            parent.details.sub_interfaces.iter().any(|(v, ..)| *v == vlan)
        } else {
            source_macs.iter().any(|mac| taken(*mac))
        };
        if exists { Err(CommandError::Exists("a sub-interface for this VLAN")) } else { Ok(()) }
    }

    /// Takes note of a new interface of the table.
    pub(super) fn enter_role(&mut self, id: VifId, kind: VifKind) {
        match kind {
            VifKind::Agent if self.work.roles.agent == VifId::NONE => {
                self.work.roles.agent = id;
                self.agent_lost &= self.is_restarting();
            }
            VifKind::Host => self.work.roles.host = id,
            VifKind::Physical => {
                let fabric = &mut self.work.roles.fabric;
                if let Some(free) = fabric.iter_mut().find(|uplink| **uplink == VifId::NONE) {
                    *free = id;
                }
            }
            VifKind::VirtualVlan => {
                if let Some(sub) = self.work.vif(id).cloned() {
                    self.join_parent(&sub);
                }
            }
            VifKind::Monitoring => {
                let os_index = self.work.vif(id).map_or(u32::MAX, |vif| vif.details.os_index);
                self.set_monitor(os_index, Some(id));
            }
            _ => {}
        }
        if kind.is_host_side() {
            self.note_inet6_underlay(id);
        }
        if matches!(kind, VifKind::Host | VifKind::Agent | VifKind::Physical) {
            self.update_cross_connect();
        }
    }

    /// Takes note that an interface has left the table.
    pub(super) fn leave_role(&mut self, vif: &Vif) {
        let roles = &mut self.work.roles;
        match vif.kind {
            VifKind::Agent if roles.agent == vif.id => roles.agent = VifId::NONE,
            VifKind::Host if roles.host == vif.id => roles.host = VifId::NONE,
            VifKind::Physical => {
                let left = roles.fabric.into_iter().filter(|uplink| ![vif.id, VifId::NONE].contains(uplink));
                let mut fabric = [VifId::NONE; 3];
                for (to, uplink) in fabric.iter_mut().zip(left) {
                    *to = uplink;
                }
                roles.fabric = fabric;
            }
            VifKind::Gateway => {
                if let Some(companion) = roles.companions.iter_mut().find(|companion| **companion == vif.id) {
                    *companion = VifId::NONE;
                }
            }
            VifKind::VirtualVlan => self.leave_parent(vif),
            VifKind::Monitoring => {
                let monitored = self.monitored(vif.details.os_index).and_then(|id| self.work.vif(id));
                if monitored.is_some_and(|monitored| monitored.details.monitor == Some(vif.id)) {
                    self.set_monitor(vif.details.os_index, None);
                }
            }
            _ => {}
        }
        // The original leaves the flags alone when the agent's interface goes, and in test mode its
        // recordings are the measure; otherwise the host must stay reachable.
        if vif.kind == VifKind::Agent && !self.mock {
            self.update_cross_connect();
        }
    }

    /// The program of the agent has gone and left its interface behind, or it is there again. Says whether that is
    /// news; it is to be published then. Everything else stays, so that pods go on (forwarding.md 1.7). Nothing
    /// happens in test mode, as in the original.
    pub fn set_agent_lost(&mut self, lost: bool) -> bool {
        let news = self.agent_lost != lost && !self.mock;
        if news {
            self.agent_lost = lost;
            self.update_cross_connect();
            self.changed();
            if let Some(held) = &mut self.held {
                connect_host(held.change(), !lost);
            }
        }
        news
    }

    /// Host and fabric are connected as long as there is no agent (forwarding.md 1.7).
    fn update_cross_connect(&mut self) {
        connect_host(&mut self.work, !self.agent_lost);
    }

    /// The device of an interface has changed. An MTU that the agent has named stays. Says whether that is news; it is to
    /// be published then.
    pub fn device_changed(&mut self, change: DeviceChange) -> bool {
        let Some(held) = &mut self.held else { return self.follow_device(change) };
        // Ports have the numbers that are in force.
        let Some(old) = held.snapshot.vif(change.vif).cloned() else { return false };
        let news = apply_device(held.change(), change).is_some();
        if news {
            held.change().advance_epoch();
            // So that epochs of before stay below those that come.
            self.work.advance_epoch();
        }
        let again = self
            .work
            .vifs
            .iter()
            .find(|(_, vif)| vif.kind == old.kind && vif.details.name == old.details.name);
        if let Some(vif) = again.map(|(_, vif)| vif.id) {
            self.follow_device(DeviceChange { vif, ..change });
        }
        news
    }

    fn follow_device(&mut self, change: DeviceChange) -> bool {
        let kind = apply_device(&mut self.work, change);
        if let Some(kind) = kind {
            self.vif_changed(change.vif, kind);
        }
        kind.is_some()
    }

    /// What the device or the guest of an interface can do, of [`VifFlags::OWNED`]. Says whether that is news; it is to
    /// be published then.
    pub fn set_owned_flags(&mut self, id: VifId, flags: VifFlags) -> bool {
        let flags = flags & VifFlags::OWNED;
        // Ports have the numbers that are in force.
        let in_force = self.held.as_ref().map_or(&self.work, |held| &held.snapshot);
        let news = in_force.vif(id).is_some_and(|vif| vif.flags & VifFlags::OWNED != flags);
        if news {
            self.changed();
            let in_force = self.held.as_mut().map_or(&mut self.work, Held::change);
            set_owned(in_force, id, flags);
        }
        news
    }

    /// The interface of this device number is copied to `monitor` from now on, which takes the place of another one.
    fn set_monitor(&mut self, os_index: u32, monitor: Option<VifId>) {
        let monitored = self.monitored(os_index);
        if let Some(vif) = monitored.and_then(|id| self.work.vifs.get_mut(id.index())) {
            vif.flags.set(VifFlags::MONITORED, monitor.is_some());
            Arc::make_mut(&mut vif.details).monitor = monitor;
        }
    }

    /// The underlay carries IPv6 once a host side interface has an IPv6 address.
    pub(super) fn note_inet6_underlay(&mut self, id: VifId) {
        if self.work.vif(id).is_some_and(|vif| !vif.ip6.is_unspecified()) {
            self.work.roles.inet6_underlay = true;
        }
    }

    /// Enters a sub-interface below its parent.
    pub(super) fn join_parent(&mut self, sub: &Vif) {
        if let Some(parent) = self.work.vifs.get_mut(sub.parent.index()) {
            let subs = &mut Arc::make_mut(&mut parent.details).sub_interfaces;
            if sub.details.source_macs.is_empty() {
                subs.push((sub.vlan, Mac::ZERO, sub.id));
            }
            subs.extend(sub.details.source_macs.iter().map(|mac| (sub.vlan, *mac, sub.id)));
        }
        self.renew_vif(sub.parent);
    }

    /// Takes a sub-interface from its parent.
    pub(super) fn leave_parent(&mut self, sub: &Vif) {
        if let Some(parent) = self.work.vifs.get_mut(sub.parent.index()) {
            Arc::make_mut(&mut parent.details).sub_interfaces.retain(|(.., id)| *id != sub.id);
        }
        self.renew_vif(sub.parent);
    }
}

/// Brings an interface in line with its device; gives its type if that is news.
fn apply_device(snapshot: &mut Snapshot, change: DeviceChange) -> Option<VifKind> {
    let vif = snapshot.vifs.get_mut(change.vif.index())?;
    let mtu = if vif.mtu == change.mtu_before { change.mtu } else { vif.mtu };
    if (vif.mtu, vif.details.is_down) == (mtu, !change.up) {
        return None;
    }
    vif.mtu = mtu;
    Arc::make_mut(&mut vif.details).is_down = !change.up;
    Some(vif.kind)
}

/// Sets what the device or the guest of an interface can do.
pub(super) fn set_owned(snapshot: &mut Snapshot, id: VifId, flags: VifFlags) {
    if let Some(vif) = snapshot.vifs.get_mut(id.index()) {
        vif.flags = vif.flags.difference(VifFlags::OWNED) | flags & VifFlags::OWNED;
    }
}

/// Connects host and fabric, or ends that: they are connected as long as there is no agent.
fn connect_host(snapshot: &mut Snapshot, agent_answers: bool) {
    let roles = snapshot.roles;
    let agent = roles.agent != VifId::NONE && agent_answers;
    let connect = roles.host != VifId::NONE && !agent;
    for id in roles.fabric.into_iter().chain([roles.host]) {
        if let Some(vif) = snapshot.vifs.get_mut(id.index()) {
            vif.flags.set(VifFlags::XCONNECT, connect);
        }
    }
}
