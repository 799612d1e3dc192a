//! What the agent does with flows (forwarding.md 6.10).

use vr_tables::control::{FlowSpec, Reverse};
use vr_tables::flow::{FlowFlags, TcpFlags};
use vr_types::{FlowIndex, VifId};

use super::{Entry, Model};
use crate::world::VRFS;

/// Answer to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Linux error number, 0 for success.
    pub(crate) errno: i32,
    pub(crate) index: Option<u32>,
    pub(crate) generation: u8,
    pub(crate) deleted: bool,
    /// Packets and bytes that an evicted flow has left in the slot of a new one.
    pub(crate) left: (u64, u64),
}

const EINVAL: i32 = 22;
const ENOENT: i32 = 2;
const EBUSY: i32 = 16;
const EBADF: i32 = 9;
const EFAULT: i32 = 14;
const EEXIST: i32 = 17;
const ENOSPC: i32 = 28;
const HOLD: u16 = 1;

impl Model {
    /// Executes a request and lets go on what waited for its entry.
    pub(crate) fn set(&mut self, spec: &FlowSpec) -> (Reply, Vec<(VifId, Vec<u8>)>) {
        let named = spec.index.map(|index| index.0).filter(|index| self.table.contains_key(index));
        let mut reply = Reply {
            errno: 0,
            index: spec.index.map(|index| index.0),
            generation: named.map_or(0, |index| self.generations[index as usize]),
            deleted: false,
            left: (0, 0),
        };
        let result = if spec.force_evict { self.evict(named) } else { self.change(spec, named, &mut reply) };
        match result {
            Ok(()) => named.into_iter().for_each(|index| self.release(index)),
            Err(errno) => reply.errno = errno,
        }
        (reply, self.settle())
    }

    fn change(&mut self, spec: &FlowSpec, named: Option<u32>, reply: &mut Reply) -> Result<(), i32> {
        let is_active = spec.flags.contains(FlowFlags::ACTIVE);
        if let Some(index) = named {
            let entry = &self.table[&index];
            if entry.flags.intersects(FlowFlags::MODIFIED | FlowFlags::EVICTED | FlowFlags::NEW_FLOW) {
                return Err(EBUSY);
            }
            if self.generations[index as usize] != spec.generation {
                return Err(EBADF);
            }
            if Some(entry.key) != spec.key {
                return Err(EFAULT);
            }
        } else if spec.index.is_some() && is_active {
            return Err(ENOENT);
        }
        if spec.flags.contains(FlowFlags::VRFT) && spec.dvrf.0 >= VRFS {
            return Err(EINVAL);
        }
        if spec.flags.contains(FlowFlags::MIRROR) && spec.mirrors.iter().all(|mirror| *mirror >= 255) {
            return Err(EINVAL);
        }
        let reverse = self.reverse_named(spec)?;
        if !is_active {
            self.delete(named.ok_or(ENOENT)?);
            reply.deleted = true;
            return Ok(());
        }
        let action = spec.action.ok_or(EINVAL)? as u16;
        if let Some(index) = named {
            let before = self.table[&index].action;
            self.write(spec, index, reverse, action);
            self.count_transition(before, action);
            return Ok(());
        }
        let key = spec.key.ok_or(EINVAL)?;
        if let Some(index) = self.find(&key) {
            (reply.index, reply.generation) = (Some(index), self.generations[index as usize]);
            return Err(EEXIST);
        }
        let (index, left) = self.place(Entry::new(key)).ok_or(ENOSPC)?;
        (reply.index, reply.generation, reply.left) = (Some(index), self.generations[index as usize], left);
        self.write(spec, index, reverse, action);
        self.inherit(index);
        self.totals.added += 1;
        self.totals.holding += u64::from(action == HOLD);
        Ok(())
    }

    fn reverse_named(&self, spec: &FlowSpec) -> Result<Option<u32>, i32> {
        if !spec.flags.contains(FlowFlags::RFLOW_VALID) {
            return Ok(None);
        }
        let found = match spec.reverse {
            Reverse::Index(FlowIndex(index)) => Some(index).filter(|index| self.table.contains_key(index)),
            Reverse::Key(key) => key.and_then(|key| self.find(&key)),
        };
        found.map(Some).ok_or(EINVAL)
    }

    fn write(&mut self, spec: &FlowSpec, index: u32, reverse: Option<u32>, action: u16) {
        let entry = self.table.get_mut(&index).unwrap();
        let is_mirrored = spec.flags.contains(FlowFlags::MIRROR);
        entry.mirrors =
            spec.mirrors.map(|mirror| if is_mirrored { u8::try_from(mirror).unwrap_or(255) } else { 255 });
        entry.reverse = reverse;
        entry.vrf = spec.vrf.0;
        if spec.flags.contains(FlowFlags::VRFT) {
            entry.dvrf = spec.dvrf.0;
        }
        if entry.member == -1 {
            entry.member = spec.ecmp_index;
        }
        entry.source_nexthop = spec.source_nexthop;
        entry.ttl = spec.ttl;
        entry.action = action;
        let kept = entry.flags & (FlowFlags::OWNED - FlowFlags::NEW_FLOW);
        entry.flags = kept | (spec.flags - FlowFlags::OWNED);
    }

    /// A new flow knows what its reverse flow has seen.
    fn inherit(&mut self, index: u32) {
        let entry = &self.table[&index];
        let Some(seen) = self.reverse(entry).map(|reverse| reverse.tcp).filter(|_| entry.key.protocol() == 6)
        else {
            return;
        };
        let both = TcpFlags::ESTABLISHED | TcpFlags::ESTABLISHED_R;
        for (theirs, ours) in [
            (TcpFlags::SYN, TcpFlags::SYN_R),
            (TcpFlags::FIN, TcpFlags::FIN_R),
            (TcpFlags::RST, TcpFlags::RST),
            (TcpFlags::DEAD, TcpFlags::DEAD),
            (TcpFlags::ESTABLISHED, both),
        ] {
            if seen.contains(theirs) {
                self.table.get_mut(&index).unwrap().tcp |= ours;
            }
        }
    }

    fn count_transition(&mut self, before: u16, after: u16) {
        match (before == HOLD, after == HOLD) {
            (true, false) => {
                self.totals.resolved += 1;
                self.totals.holding -= 1;
            }
            (false, true) => self.totals.holding += 1,
            _ => self.totals.changed += 1,
        }
    }

    fn delete(&mut self, index: u32) {
        let entry = self.table.get_mut(&index).unwrap();
        let before = entry.action;
        entry.action = 0;
        entry.is_leaving = true;
        entry.flags |= FlowFlags::DELETE_MARKED;
        self.count_transition(before, 0);
        self.totals.deleted += 1;
        self.leaving.push(index);
    }

    /// Only a TCP flow that is over.
    fn evict(&mut self, named: Option<u32>) -> Result<(), i32> {
        let index = named.ok_or(EINVAL)?;
        let entry = &self.table[&index];
        if entry.key.protocol() != 6 || !entry.tcp.contains(TcpFlags::DEAD) {
            return Err(EINVAL);
        }
        if entry.flags.contains(FlowFlags::NEW_FLOW) {
            return Err(EBUSY);
        }
        self.force_evict(index);
        Ok(())
    }
}
