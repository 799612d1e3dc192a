use hashbrown::HashMap;
use vr_types::FlowIndex;

use crate::deferred::Deferred;
use crate::flow::{FlowTable, ServicePorts};
use crate::grace::Grace;

/// Entries on their way out of the table.
#[derive(Default)]
pub(super) struct LeavingFlows {
    /// Entries whose bucket was busy.
    linked: Vec<FlowIndex>,
    unlinked: Deferred<FlowIndex>,
}

impl LeavingFlows {
    /// Unlinks an entry now or soon.
    pub(super) fn remove(&mut self, flows: &FlowTable, index: FlowIndex) {
        if flows.unlink(index) {
            self.unlinked.push(index);
        } else {
            self.linked.push(index);
        }
    }

    /// Goes on with what is due.
    pub(super) fn advance(&mut self, flows: &FlowTable, grace: &Grace) {
        for index in std::mem::take(&mut self.linked) {
            self.remove(flows, index);
        }
        self.unlinked.seal(grace);
        while let Some(indexes) = self.unlinked.take(grace) {
            for index in indexes {
                flows.release(index);
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
