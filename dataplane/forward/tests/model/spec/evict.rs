//! TCP connections that are over make room (forwarding.md 6.9).

use vr_tables::flow::{FlowFlags, TcpFlags};

use super::{Entry, Model};

/// Whether nobody else is changing an entry, and it is not about to go.
fn is_free(entry: &Entry) -> bool {
    let others = FlowFlags::OWNED | FlowFlags::DELETE_MARKED;
    !entry.flags.intersects(others) && !entry.is_leaving
}

impl Model {
    /// Behind the action of a packet.
    pub(super) fn evict_if_over(&mut self, index: u32) {
        let entry = &self.table[&index];
        if !entry.tcp.contains(TcpFlags::DEAD) || !is_free(entry) {
            return;
        }
        let reverse = entry.reverse.filter(|reverse| *reverse != index && self.table.contains_key(reverse));
        let fits = reverse.is_none_or(|reverse| {
            let reverse = &self.table[&reverse];
            let points_back = reverse.reverse.is_none_or(|back| back == index);
            reverse.tcp.contains(TcpFlags::DEAD) && reverse.action != 1 && points_back && is_free(reverse)
        });
        if fits {
            reverse.into_iter().chain([index]).for_each(|index| self.start_eviction(index));
        }
    }

    pub(super) fn start_eviction(&mut self, index: u32) {
        self.table.get_mut(&index).unwrap().flags |= FlowFlags::EVICT_CANDIDATE;
        self.leaving.push(index);
    }

    /// The agent wants a connection evicted that is over.
    pub(super) fn force_evict(&mut self, index: u32) {
        self.start_eviction(index);
        let entry = self.table.get_mut(&index).unwrap();
        entry.is_leaving = true;
        if let Some(reverse) = entry.reverse.and_then(|reverse| self.table.get_mut(&reverse))
            && reverse.reverse == Some(index)
        {
            reverse.reverse = None;
        }
    }
}
