//! The specification of flows as a plain map (forwarding.md 6), with just as much of the rest of forwarding as the
//! world of the test needs. Nothing here comes from the code under test but types and the hash of a key.

mod action;
mod evict;
mod forward;
mod fragments;
mod key;
mod lookup;
mod mirror;
mod nat;
mod packet;
mod set;
mod tcp;

use std::collections::{BTreeMap, VecDeque};

use vr_tables::flow::{FlowFlags, FlowKey, TcpFlags};
use vr_types::{DropReason, Trap, VifId};

use crate::world::{AGENT, FABRIC, FLOWS, VIFS};
use fragments::{Datagram, Known, Waiting};
pub(crate) use packet::Packet;
pub(crate) use set::Reply;

/// Where a packet goes on after its flow.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Resume {
    Bridge,
    /// Output of this nexthop.
    Nexthop(u32),
}

/// How a packet ends.
#[derive(Debug)]
pub(crate) enum End {
    Drop(DropReason),
    Send(VifId, Vec<u8>),
    Trap(Trap),
    Hold(u32, Resume),
    Wait(Datagram, Resume),
}

impl From<DropReason> for End {
    fn from(reason: DropReason) -> Self {
        Self::Drop(reason)
    }
}

/// An entry of the table.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: FlowKey,
    pub(crate) action: u16,
    pub(crate) flags: FlowFlags,
    pub(crate) tcp: TcpFlags,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) reverse: Option<u32>,
    pub(crate) vrf: u16,
    pub(crate) dvrf: u16,
    pub(crate) mirrors: [u8; 2],
    pub(crate) ttl: u8,
    pub(crate) source_nexthop: u32,
    pub(crate) member: i8,
    pub(crate) source: u32,
    pub(crate) packets: u64,
    pub(crate) bytes: u64,
    /// On its way out: no lookup finds it.
    pub(crate) is_leaving: bool,
    /// What an evicted flow has left here, for the agent's question.
    left: (u64, u64),
}

impl Entry {
    fn new(key: FlowKey) -> Self {
        Self {
            key,
            action: 1,
            flags: FlowFlags::ACTIVE,
            tcp: TcpFlags::empty(),
            seq: 0,
            ack: 0,
            reverse: None,
            vrf: 0,
            dvrf: 0,
            mirrors: [255; 2],
            ttl: 0,
            source_nexthop: 0,
            member: -1,
            source: 0,
            packets: 0,
            bytes: 0,
            is_leaving: false,
            left: (0, 0),
        }
    }

    fn linked(&self) -> Option<u32> {
        self.reverse.filter(|_| self.flags.contains(FlowFlags::RFLOW_VALID))
    }
}

/// Flows that may be made beyond the hold limit: how many, and how many of these count no more after so many
/// milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Burst {
    pub(crate) tokens: u64,
    pub(crate) interval: u64,
    pub(crate) step: u64,
}

/// Packets that wait for the agent.
struct Queue {
    since: u64,
    asked: u64,
    packets: Vec<(Packet, Resume)>,
}

/// What the flow counters of the router are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) created: u64,
    pub(crate) resolved: u64,
    pub(crate) refused: u64,
    pub(crate) added: u64,
    pub(crate) changed: u64,
    pub(crate) deleted: u64,
    pub(crate) evicted: u64,
    /// Entries that wait for the agent.
    pub(crate) holding: u64,
}

/// Packets and bytes of an interface, in and out.
pub(crate) type Traffic = [u64; 4];

/// The node.
pub(crate) struct Model {
    pub(crate) has_policy: [bool; 3],
    pub(crate) refuses_flows: [bool; 3],
    pub(crate) hold_limit: u64,
    pub(crate) burst: Burst,
    /// Flows made beyond the limit that still count, and since when.
    burst_used: (u64, u64),
    pub(crate) closes_on_rst: bool,
    /// Milliseconds.
    now: u64,
    pub(crate) table: BTreeMap<u32, Entry>,
    pub(crate) generations: Vec<u8>,
    /// Packets and bytes that an evicted flow has left in its slot, by slot.
    left: BTreeMap<u32, (u64, u64)>,
    /// Entries that leave, in order.
    leaving: Vec<u32>,
    /// Free overflow slots, the next one first.
    free: VecDeque<u32>,
    pub(crate) totals: Totals,
    queues: BTreeMap<u32, Queue>,
    known: BTreeMap<Datagram, Known>,
    waiting: Vec<Waiting>,
    /// The datagram whose first fragment is passing.
    opened: Option<Datagram>,
    /// Packets that were translated.
    pub(crate) translated: u64,
    pub(crate) drops: BTreeMap<(u16, u8), u64>,
    pub(crate) traffic: [Traffic; VIFS as usize],
    out: Vec<(VifId, Vec<u8>)>,
    ip_id: u16,
}

impl Model {
    pub(crate) fn new(has_policy: [bool; 3], closes_on_rst: bool) -> Self {
        Self {
            has_policy,
            refuses_flows: [false; 3],
            hold_limit: 8192,
            burst: Burst::default(),
            burst_used: (0, 0),
            closes_on_rst,
            now: 0,
            table: BTreeMap::new(),
            generations: vec![0; FLOWS.total()],
            left: BTreeMap::new(),
            leaving: Vec::new(),
            free: (FLOWS.entries..FLOWS.total() as u32).collect(),
            totals: Totals::default(),
            queues: BTreeMap::new(),
            known: BTreeMap::new(),
            waiting: Vec::new(),
            opened: None,
            translated: 0,
            drops: BTreeMap::new(),
            traffic: [[0; 4]; VIFS as usize],
            out: Vec::new(),
            ip_id: 0,
        }
    }

    /// Frames come in together.
    pub(crate) fn receive(&mut self, frames: &[(VifId, Vec<u8>)]) -> Vec<(VifId, Vec<u8>)> {
        self.now += 1;
        for (vif, bytes) in frames {
            let [packets, size, ..] = &mut self.traffic[vif.index()];
            (*packets, *size) = (*packets + 1, *size + bytes.len() as u64);
            let mut packet = Packet::new(*vif, bytes.clone());
            let end =
                if *vif == FABRIC { self.from_fabric(&mut packet) } else { self.from_guest(&mut packet) };
            self.finish(packet, end);
        }
        self.settle()
    }

    /// Time goes by, and what has waited too long is given up.
    pub(crate) fn pass(&mut self, milliseconds: u64) -> Vec<(VifId, Vec<u8>)> {
        self.now += milliseconds;
        self.refill();
        let late: Vec<_> = self
            .queues
            .iter()
            .filter(|(_, queue)| self.now - queue.since > 5000)
            .map(|(flow, _)| *flow)
            .collect();
        for flow in late {
            for (packet, _) in self.queues.remove(&flow).unwrap().packets {
                self.drop(&packet, DropReason::FlowUnusable);
            }
        }
        self.forget_fragments();
        self.settle()
    }

    fn finish(&mut self, packet: Packet, end: End) {
        match end {
            End::Drop(reason) => self.drop(&packet, reason),
            End::Send(vif, bytes) => self.send(vif, bytes),
            End::Trap(trap) => self.trap(&packet, &trap),
            End::Hold(flow, resume) => self.hold(packet, flow, resume),
            End::Wait(datagram, resume) => self.wait(packet, datagram, resume),
        }
        self.release_fragments();
    }

    fn drop(&mut self, packet: &Packet, reason: DropReason) {
        *self.drops.entry((packet.vif.0, reason as u8)).or_default() += 1;
    }

    fn send(&mut self, vif: VifId, bytes: Vec<u8>) {
        let [.., packets, size] = &mut self.traffic[vif.index()];
        (*packets, *size) = (*packets + 1, *size + bytes.len() as u64);
        self.out.push((vif, bytes));
    }

    /// The agent gets the frame from its start, as it is by now (forwarding.md 1.4).
    fn trap(&mut self, packet: &Packet, trap: &Trap) {
        let mac = vr_types::Mac::VIRTUAL_ROUTER.0;
        let mut bytes = [&mac[..], &mac, &[8, 0]].concat();
        bytes.extend(packet.vif.0.to_be_bytes());
        bytes.extend(packet.vrf.to_be_bytes());
        bytes.extend((trap.reason as u16).to_be_bytes());
        bytes.extend(trap.params.iter().flat_map(|param| param.to_be_bytes()));
        bytes.extend([trap.param5, 0, 0, 0]);
        let cut = if trap.reason == vr_types::TrapReason::ZeroTtl { Trap::CUT_LENGTH } else { usize::MAX };
        bytes.extend(packet.frame.iter().take(cut));
        self.send(AGENT, bytes);
    }

    /// After a step, all grace periods are over: entries that were leaving have left.
    fn settle(&mut self) -> Vec<(VifId, Vec<u8>)> {
        for index in std::mem::take(&mut self.leaving) {
            let entry = self.table.remove(&index).unwrap();
            // Its slot may get another user: whoever has it for a reverse flow has none.
            for other in self.table.values_mut().filter(|other| other.reverse == Some(index)) {
                other.reverse = None;
            }
            if entry.flags.contains(FlowFlags::EVICT_CANDIDATE) {
                self.left.insert(index, (entry.packets, entry.bytes));
                self.totals.evicted += 1;
                self.totals.holding -= u64::from(entry.action == 1);
            }
            if index >= FLOWS.entries {
                self.free.push_front(index);
            }
        }
        std::mem::take(&mut self.out)
    }

    pub(crate) fn find(&self, key: &FlowKey) -> Option<u32> {
        self.table.iter().find(|(_, entry)| !entry.is_leaving && entry.key == *key).map(|(index, _)| *index)
    }

    /// Places an entry (forwarding.md 6.3): the first free slot of its bucket, else one of the overflow area. Gives
    /// what an evicted predecessor has left there as well.
    fn place(&mut self, entry: Entry) -> Option<(u32, (u64, u64))> {
        let bucket = (entry.key.hash().primary % FLOWS.entries) & !3;
        let index = (bucket..bucket + 4)
            .find(|index| !self.table.contains_key(index))
            .or_else(|| self.free.pop_front())?;
        let generation = &mut self.generations[index as usize];
        *generation = generation.wrapping_add(1);
        self.table.insert(index, entry);
        Some((index, self.left.remove(&index).unwrap_or_default()))
    }
}
