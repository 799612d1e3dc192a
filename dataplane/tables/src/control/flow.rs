//! What the agent does with flows (control.md 4.15, forwarding.md 6.10).

use std::sync::Arc;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use vr_types::{FlowIndex, VrfId};
use vr_wire::encap::entropy_port;

use super::{CommandError, Datapath, Tables};
use crate::flow::{FlowAction, FlowFlags, FlowKey, InsertError, SharedFlow, TcpFlags};

const TCP: u8 = 6;
const ICMP: u8 = 1;
/// How often the control thread lets others run before it says that the bucket of a new flow is busy.
const BUSY_TURNS: u32 = 100;

/// How a request names the reverse flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reverse {
    /// By its position.
    Index(FlowIndex),
    /// By its key; `None` for one that is of no family.
    Key(Option<FlowKey>),
}

/// A flow as the agent describes it.
#[derive(Clone, Copy, Debug)]
pub struct FlowSpec {
    /// Position; `None` to add by key.
    pub index: Option<FlowIndex>,
    /// Key; `None` for one that is of no family.
    pub key: Option<FlowKey>,
    /// Generation of the entry at the position.
    pub generation: u8,
    /// Action; `None` for a number that is none.
    pub action: Option<FlowAction>,
    /// Flags; without [`FlowFlags::ACTIVE`] the flow is removed.
    pub flags: FlowFlags,
    /// Flags of host based services.
    pub flags1: u16,
    /// Evict a TCP flow that is over; nothing else counts then.
    pub force_evict: bool,
    /// The reverse flow; counts with [`FlowFlags::RFLOW_VALID`].
    pub reverse: Reverse,
    /// VRF.
    pub vrf: VrfId,
    /// VRF to go on in; counts with [`FlowFlags::VRFT`].
    pub dvrf: VrfId,
    /// Mirrors, 255 and more for none; count with [`FlowFlags::MIRROR`].
    pub mirrors: [u16; 2],
    /// Member of a composite, negative for none.
    pub ecmp_index: i8,
    /// Nexthop of the source check.
    pub source_nexthop: u32,
    /// QoS map, negative for none.
    pub qos_map: i16,
    /// TTL to write, 0 for none.
    pub ttl: u8,
    /// Underlay link, negative for none.
    pub underlay_index: i8,
    /// Why it drops; counts with [`FlowAction::Drop`].
    pub drop_reason: u8,
}

/// What a request about a flow gives; index and generation count for errors as well.
#[derive(Debug)]
pub struct FlowReply {
    /// Success, or why not.
    pub result: Result<(), CommandError>,
    /// Position of the entry that was found or made, else that of the request.
    pub index: Option<FlowIndex>,
    /// Its generation, 0 if there is no entry.
    pub generation: u8,
    /// The entry was removed.
    pub deleted: bool,
}

/// Flow counters of the router.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct FlowTotals {
    /// Entries in use, overflow included.
    pub used: u32,
    /// Of these in the overflow area.
    pub used_overflow: u32,
    /// Entries that the agent took out of HOLD.
    pub processed: u64,
    /// Entries that the agent added.
    pub added: u64,
    /// Entries that the agent changed.
    pub changed: u64,
    /// Entries that the agent removed.
    pub deleted: u64,
    /// Entries that packets made.
    pub created: u64,
    /// Packets refused because too many flows wait.
    pub hold_overflows: u64,
    /// Entries that wait for the agent.
    pub holding: u64,
}

/// Counts of what the agent did.
#[derive(Default)]
pub(super) struct FlowCounts {
    added: u64,
    changed: u64,
    deleted: u64,
    /// Entries that the agent put back to HOLD.
    held: u64,
}

const fn invalid(what: &'static str) -> CommandError {
    CommandError::Invalid(what)
}

impl Tables {
    /// Adds, changes or removes one direction of a flow.
    pub fn flow_set(&mut self, spec: &FlowSpec, datapath: &mut dyn Datapath) -> FlowReply {
        self.begin();
        let entry = spec.index.filter(|index| self.flows.in_use(*index));
        let mut reply = FlowReply {
            result: Ok(()),
            index: spec.index,
            generation: entry.map_or(0, |index| self.generation(index)),
            deleted: false,
        };
        reply.result = if spec.force_evict {
            self.flow_evict(entry)
        } else {
            self.flow_set_entry(spec, entry, &mut reply)
        };
        // Packets can only wait for an entry that was there before.
        if let (Ok(()), Some(index)) = (&reply.result, entry) {
            datapath.flow_changed(index);
        }
        reply
    }

    fn generation(&self, index: FlowIndex) -> u8 {
        self.flows.shared(index).map_or(0, |shared| shared.generation.load(Acquire))
    }

    fn flow_set_entry(
        &mut self,
        spec: &FlowSpec,
        entry: Option<FlowIndex>,
        reply: &mut FlowReply,
    ) -> Result<(), CommandError> {
        let active = spec.flags.contains(FlowFlags::ACTIVE);
        match entry {
            Some(index) => self.check_entry(spec, index)?,
            None if active && spec.index.is_some() => return Err(CommandError::NotFound("flow")),
            None => {}
        }
        if spec.flags.contains(FlowFlags::VRFT) && u32::from(spec.dvrf.0) >= self.limits.vrfs {
            return Err(invalid("the VRF to go on in is beyond the table"));
        }
        let mirrored = spec.mirrors.iter().any(|id| u32::from(*id) < self.limits.mirrors);
        if spec.flags.contains(FlowFlags::MIRROR) && !mirrored {
            return Err(invalid("a mirrored flow names no mirror"));
        }
        let reverse = self.reverse_of(spec)?;
        if !active {
            self.flow_delete(entry.ok_or(CommandError::NotFound("flow"))?);
            reply.deleted = true;
            return Ok(());
        }
        let action = spec.action.ok_or(invalid("a flow has no such action"))?;
        if let Some(index) = entry {
            self.flow_change(spec, index, reverse, action);
            Ok(())
        } else {
            let added = self.flow_add(spec, reverse, action);
            if let Ok(index) | Err(CommandError::Flow(InsertError::Exists(index))) = &added {
                reply.index = Some(*index);
                reply.generation = self.generation(*index);
            }
            added.map(|_| ())
        }
    }

    fn check_entry(&self, spec: &FlowSpec, index: FlowIndex) -> Result<(), CommandError> {
        let shared = self.flows.shared(index).ok_or(CommandError::NotFound("flow"))?;
        let flags = shared.flags();
        if flags.intersects(FlowFlags::MODIFIED | FlowFlags::EVICTED | FlowFlags::NEW_FLOW) {
            return Err(CommandError::Busy);
        }
        if flags.contains(FlowFlags::DELETE_MARKED) {
            return Err(invalid("the flow is being removed"));
        }
        if shared.generation.load(Acquire) != spec.generation {
            return Err(CommandError::StaleGeneration);
        }
        if shared.key() != spec.key {
            return Err(CommandError::OtherKey);
        }
        Ok(())
    }

    fn reverse_of(&self, spec: &FlowSpec) -> Result<Option<FlowIndex>, CommandError> {
        if !spec.flags.contains(FlowFlags::RFLOW_VALID) {
            return Ok(None);
        }
        let found = match spec.reverse {
            Reverse::Index(index) => Some(index).filter(|index| self.flows.in_use(*index)),
            Reverse::Key(key) => key.and_then(|key| self.flows.find(&key, key.hash())),
        };
        found.map(Some).ok_or(invalid("the reverse flow does not exist"))
    }

    fn flow_add(
        &mut self,
        spec: &FlowSpec,
        reverse: Option<FlowIndex>,
        action: FlowAction,
    ) -> Result<FlowIndex, CommandError> {
        let key = spec.key.ok_or(invalid("a flow is of family inet or inet6"))?;
        let inherited = match reverse.and_then(|index| self.flows.shared(index)) {
            Some(reverse) if key.protocol() == TCP => inherited(reverse.tcp_flags()),
            _ => TcpFlags::empty(),
        };
        let insert = || {
            self.flows.insert_as(&key, key.hash(), |shared| {
                write(shared, spec, &key, reverse, action);
                (action, is_simple(spec, spec.ecmp_index, action))
            })
        };
        let index = unless_busy(insert)?;
        if !inherited.is_empty() {
            self.flows.set_tcp_flags(index, inherited);
        }
        self.services.set(self.flows.ports(), index, service_port(spec.flags, &key));
        if action == FlowAction::Hold {
            self.flow_counts.held += 1;
            self.holds.created.fetch_add(1, Relaxed);
        }
        self.flow_counts.added += 1;
        Ok(index)
    }

    fn flow_change(
        &mut self,
        spec: &FlowSpec,
        index: FlowIndex,
        reverse: Option<FlowIndex>,
        action: FlowAction,
    ) {
        let Some(key) = spec.key else { return };
        let mut before = FlowAction::Drop;
        self.flows.modify(index, |shared| {
            before = FlowAction::from_number(shared.action.load(Relaxed)).unwrap_or(FlowAction::Drop);
            let ecmp_index = write(shared, spec, &key, reverse, action);
            (action, is_simple(spec, ecmp_index, action))
        });
        self.services.set(self.flows.ports(), index, service_port(spec.flags, &key));
        self.count_change(before, action);
    }

    fn count_change(&mut self, before: FlowAction, after: FlowAction) {
        let holds = [before, after].map(|action| action == FlowAction::Hold);
        match holds {
            [true, false] => {
                self.holds.resolved.fetch_add(1, Relaxed);
            }
            [false, true] => {
                self.flow_counts.held += 1;
                self.holds.created.fetch_add(1, Relaxed);
            }
            _ => self.flow_counts.changed += 1,
        }
    }

    /// Removes an entry: no packet finds it any more, its slot is free after a grace period.
    fn flow_delete(&mut self, index: FlowIndex) {
        let mut before = FlowAction::Drop;
        self.flows.modify(index, |shared| {
            before = FlowAction::from_number(shared.action.load(Relaxed)).unwrap_or(FlowAction::Drop);
            shared.flags.fetch_or(FlowFlags::DELETE_MARKED.bits(), AcqRel);
            shared.action.store(FlowAction::Drop as u16, Relaxed);
            shared.mirror.store(u8::MAX, Relaxed);
            shared.mirror2.store(u8::MAX, Relaxed);
            (FlowAction::Drop, false)
        });
        self.services.set(self.flows.ports(), index, None);
        self.count_change(before, FlowAction::Drop);
        self.flow_counts.deleted += 1;
        self.leaving.remove(&self.flows, index);
    }

    /// Removes every entry.
    pub(super) fn flow_clear(&mut self, datapath: &mut dyn Datapath) {
        let flows = Arc::clone(&self.flows);
        if flows.used() == (0, 0) {
            return;
        }
        for index in flows.indexes() {
            let Some(shared) = flows.shared(index) else { continue };
            if shared.flags().contains(FlowFlags::DELETE_MARKED) {
                continue;
            }
            let held = shared.action.load(Relaxed) == FlowAction::Hold as u16;
            self.flow_delete(index);
            if held {
                datapath.flow_changed(index);
            }
        }
    }

    fn flow_evict(&mut self, entry: Option<FlowIndex>) -> Result<(), CommandError> {
        let refused = invalid("only a TCP flow that is over can be evicted");
        let Some((index, shared)) = entry.and_then(|index| Some((index, self.flows.shared(index)?))) else {
            return Err(refused);
        };
        let is_tcp = shared.key().is_some_and(|key| key.protocol() == TCP);
        let active = shared.flags().contains(FlowFlags::ACTIVE);
        if !is_tcp || !active || !shared.tcp_flags().contains(TcpFlags::DEAD) {
            return Err(refused);
        }
        let linked = FlowIndex(shared.reverse.load(Relaxed));
        if let Some(reverse) = self.flows.shared(linked)
            && reverse.reverse.load(Relaxed) == index.0
        {
            reverse.reverse.store(u32::MAX, Relaxed);
            self.flows.void(linked);
            self.flows.show(linked);
        }
        self.flow_delete(index);
        Ok(())
    }

    /// Flow counters.
    #[must_use]
    pub fn flow_totals(&self) -> FlowTotals {
        let (main, used_overflow) = self.flows.used();
        let created = self.holds.created.load(Relaxed);
        FlowTotals {
            used: main + used_overflow,
            used_overflow,
            processed: self.holds.resolved.load(Relaxed),
            added: self.flow_counts.added,
            changed: self.flow_counts.changed,
            deleted: self.flow_counts.deleted,
            created: created.saturating_sub(self.flow_counts.held),
            hold_overflows: self.holds.refused.load(Relaxed),
            holding: self.holds.outstanding(),
        }
    }
}

/// Inserts as soon as the worker that holds the bucket has had its turn.
fn unless_busy(insert: impl Fn() -> Result<FlowIndex, InsertError>) -> Result<FlowIndex, InsertError> {
    for _ in 0..BUSY_TURNS {
        match insert() {
            Err(InsertError::Busy) => std::thread::yield_now(),
            result => return result,
        }
    }
    Err(InsertError::Busy)
}

/// Fills in the agent's part of an entry; returns the ECMP index that it has then.
fn write(
    shared: &SharedFlow,
    spec: &FlowSpec,
    key: &FlowKey,
    reverse: Option<FlowIndex>,
    action: FlowAction,
) -> i8 {
    let mirrored = spec.flags.contains(FlowFlags::MIRROR);
    let mirror = |id: u16| if mirrored { u8::try_from(id).unwrap_or(u8::MAX) } else { u8::MAX };
    shared.mirror.store(mirror(spec.mirrors[0]), Relaxed);
    shared.mirror2.store(mirror(spec.mirrors[1]), Relaxed);
    shared.reverse.store(reverse.map_or(u32::MAX, |index| index.0), Release);
    shared.vrf.store(spec.vrf.0, Relaxed);
    if spec.flags.contains(FlowFlags::VRFT) {
        shared.dvrf.store(spec.dvrf.0, Relaxed);
    }
    // A worker that balances may have chosen meanwhile; its choice stays.
    let _ = shared.ecmp_index.compare_exchange(-1, spec.ecmp_index, AcqRel, Acquire);
    shared.source_nexthop.store(spec.source_nexthop, Relaxed);
    shared.qos_id.store(spec.qos_map as u16, Relaxed);
    shared.ttl.store(spec.ttl, Relaxed);
    shared.underlay_ecmp.store(spec.underlay_index, Relaxed);
    if action == FlowAction::Drop {
        shared.drop_reason.store(spec.drop_reason, Relaxed);
    }
    shared.flags1.store(spec.flags1, Relaxed);
    if shared.udp_source_port.load(Relaxed) == 0 {
        shared.udp_source_port.store(entropy_port(key.hash().secondary), Relaxed);
    }
    shared.action.store(action as u16, Relaxed);
    let kept = FlowFlags::OWNED.difference(FlowFlags::NEW_FLOW);
    let flags = (shared.flags() & kept) | spec.flags.difference(FlowFlags::OWNED);
    shared.flags.store(flags.bits(), Release);
    shared.ecmp_index.load(Acquire)
}

/// Whether packets are forwarded or translated and nothing else is done to them or with them.
fn is_simple(spec: &FlowSpec, ecmp_index: i8, action: FlowAction) -> bool {
    let special = FlowFlags::MIRROR | FlowFlags::LINK_LOCAL | FlowFlags::BGP_SERVICE;
    matches!(action, FlowAction::Forward | FlowAction::Nat)
        && !spec.flags.intersects(special)
        && spec.flags1 == 0
        && spec.ttl == 0
        && spec.qos_map < 0
        && ecmp_index < 0
        && spec.underlay_index < 0
}

/// What a new TCP flow knows from its reverse flow (forwarding.md 6.8).
fn inherited(reverse: TcpFlags) -> TcpFlags {
    [
        (TcpFlags::SYN, TcpFlags::SYN_R),
        (TcpFlags::FIN, TcpFlags::FIN_R),
        (TcpFlags::RST, TcpFlags::RST),
        (TcpFlags::DEAD, TcpFlags::DEAD),
        (TcpFlags::ESTABLISHED, TcpFlags::ESTABLISHED.union(TcpFlags::ESTABLISHED_R)),
    ]
    .into_iter()
    .filter(|(seen, _)| reverse.contains(*seen))
    .fold(TcpFlags::empty(), |all, (_, learnt)| all | learnt)
}

/// The port of the host that a flow of a link-local service uses: protocol and port in host order.
fn service_port(flags: FlowFlags, key: &FlowKey) -> Option<(u8, u16)> {
    if !flags.intersects(FlowFlags::LINK_LOCAL | FlowFlags::BGP_SERVICE) {
        return None;
    }
    let port = if key.protocol() == ICMP { key.source_port() } else { key.destination_port() };
    Some((key.protocol(), u16::from_be_bytes(port)))
}
