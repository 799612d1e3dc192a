use hashbrown::{HashMap, HashSet};
use vr_types::FlowIndex;

use super::flow_links::OneWayLinks;
use crate::deferred::Deferred;
use crate::flow::{FlowTable, ServicePorts};
use crate::grace::Grace;

/// Why an entry goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exit {
    /// The agent has removed it.
    Deleted,
    /// It makes room.
    Evicted,
}

/// Entries on their way out of the table.
#[derive(Default)]
pub(super) struct LeavingFlows {
    /// Entries whose bucket was busy.
    linked: Vec<(FlowIndex, Exit)>,
    unlinked: Deferred<(FlowIndex, Exit)>,
    evicting: HashSet<FlowIndex>,
}

impl LeavingFlows {
    /// Unlinks an entry that was removed, now or soon.
    pub(super) fn remove(&mut self, flows: &FlowTable, links: &mut OneWayLinks, index: FlowIndex) {
        self.unlink(flows, links, index, Exit::Deleted);
    }

    /// Unlinks an entry that is evicted, now or soon.
    pub(super) fn evict(&mut self, flows: &FlowTable, links: &mut OneWayLinks, index: FlowIndex) {
        self.evicting.insert(index);
        self.unlink(flows, links, index, Exit::Evicted);
    }

    fn unlink(&mut self, flows: &FlowTable, links: &mut OneWayLinks, index: FlowIndex, exit: Exit) {
        if flows.unlink(index) {
            links.unlinked(flows, index);
            self.unlinked.push((index, exit));
        } else {
            self.linked.push((index, exit));
        }
    }

    /// Whether an entry is on its way out because it makes room.
    pub(super) fn is_evicting(&self, index: FlowIndex) -> bool {
        self.evicting.contains(&index)
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.linked.is_empty() && self.unlinked.is_empty()
    }

    /// Goes on with what is due.
    pub(super) fn advance(&mut self, flows: &FlowTable, links: &mut OneWayLinks, grace: &Grace) {
        for (index, exit) in std::mem::take(&mut self.linked) {
            self.unlink(flows, links, index, exit);
        }
        self.unlinked.seal(grace);
        while let Some(entries) = self.unlinked.take(grace) {
            for (index, exit) in entries {
                match exit {
                    Exit::Deleted => flows.release(index),
                    Exit::Evicted => {
                        flows.release_evicted(index);
                        self.evicting.remove(&index);
                    }
                }
            }
        }
    }
}

/// Which flows use which port of the host; a port is in use as long as one of them is there.
#[derive(Default)]
pub(super) struct Services {
    flows: HashMap<FlowIndex, (u8, u16)>,
    users: HashMap<(u8, u16), u32>,
}

impl Services {
    /// The port of a flow is this one now, or none.
    pub(super) fn set(&mut self, ports: &ServicePorts, index: FlowIndex, port: Option<(u8, u16)>) {
        if port.is_none() && self.flows.is_empty() {
            return;
        }
        let before = match port {
            Some(port) => self.flows.insert(index, port),
            None => self.flows.remove(&index),
        };
        if let Some(port) = port {
            *self.users.entry(port).or_default() += 1;
            ports.set(port.0, port.1, true);
        }
        if let Some(before) = before {
            let left = self.users.get_mut(&before).map_or(0, |users| {
                *users -= 1;
                *users
            });
            if left == 0 {
                self.users.remove(&before);
                ports.set(before.0, before.1, false);
            }
        }
    }
}
