//! Sets flows: the two entries of a decision, linked with each other (control.md 4.15).

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

use crate::control::{Answer, Control};
use crate::message::Message;
use crate::packet::{FiveTuple, Trap};
use crate::requests::{INET, INET6};
use crate::rules::{self, Direction, flag};
use crate::table::Entry;
use crate::topology::{Topology, inet6};

const DROP: i16 = 0;
const FORWARD: i16 = 2;
const NAT: i16 = 3;
const ACTIVE: u16 = 0x1;
const REVERSE_VALID: u16 = 0x1000;
const VRF_TRANSLATE: u16 = 0x4000;
/// `VR_FLOW_DR_POLICY`.
const REASON_POLICY: u16 = 0x15;
const EEXIST: i32 = -17;
/// `EINVAL` for a reverse flow: the trapped packet's own entry, which it names, is gone.
const NO_FORWARD: i32 = -22;
/// `ENOSPC`: the table is full.
const NO_ROOM: i32 = -28;
/// Errors that mean that the entry has changed since its trap.
const OUTDATED: [i32; 4] = [-2, -9, -14, -16];

/// What the agent decided for one trapped packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The flow of the trapped packet.
    pub tuple: FiveTuple,
    /// Whether both directions may pass.
    pub forward: bool,
}

/// Answers one trap; `None` when it asks for no flow.
pub fn answer(
    topology: &Topology,
    own: usize,
    control: &mut Control,
    trap: &Trap<'_>,
) -> Result<Option<Decision>> {
    if !matches!(trap.reason, Trap::FLOW_MISS | Trap::FLOW_HOLD) {
        return Ok(None);
    }
    let Some(pair) = rules::decide(topology, own, trap) else {
        return Ok(None);
    };
    let (allowed, forward, reverse) = (pair.allowed, &pair.forward, &pair.reverse);
    let mut reverse_answer = control.one_flow(allowed, reverse, -1, 0, trap.flow)?;
    if reverse_answer.code == EEXIST {
        let (index, generation) = (reverse_answer.index, reverse_answer.generation);
        reverse_answer = control.one_flow(allowed, reverse, index, generation, trap.flow)?;
    }
    if reverse_answer.code == NO_FORWARD || OUTDATED.contains(&reverse_answer.code) {
        return Ok(None);
    }
    if reverse_answer.code == NO_ROOM {
        // A short flow: it drops.
        control.one_flow(false, forward, trap.flow, trap.generation, -1)?;
        return Ok(Some(Decision { tuple: forward.tuple, forward: false }));
    }
    reverse_answer.check("reverse")?;
    let answer = control.one_flow(allowed, forward, trap.flow, trap.generation, reverse_answer.index)?;
    if OUTDATED.contains(&answer.code) {
        return Ok(None);
    }
    answer.check("forward")?;
    Ok(Some(Decision { tuple: forward.tuple, forward: allowed }))
}

struct FlowAnswer {
    code: i32,
    index: i32,
    generation: u8,
}

impl FlowAnswer {
    fn read(answer: &Answer) -> Result<Self> {
        let object = answer.objects.first().context("vr_flow_req without vr_flow_response")?;
        Ok(Self {
            code: answer.code,
            index: object.number(4) as u32 as i32,
            generation: object.number(8) as u8,
        })
    }

    fn check(&self, direction: &str) -> Result<()> {
        if self.code < 0 {
            bail!("setting the {direction} flow: {}", std::io::Error::from_raw_os_error(-self.code));
        }
        Ok(())
    }
}

/// Deletes flows, as an agent does with those that have been idle for long; returns how many there were still.
pub fn delete<'a>(control: &mut Control, entries: impl Iterator<Item = &'a Entry>) -> Result<usize> {
    let mut deleted = 0;
    for entry in entries {
        let key = keyed(&entry.tuple, entry.key_nexthop, 0);
        let message = key.i32(3, entry.index as i32).i32(6, -1).byte(27, entry.generation).stop();
        let answer = control.ask(&[message])?.pop().context("no answer")?;
        if !OUTDATED.contains(&answer.code) {
            FlowAnswer::read(&answer)?.check("idle")?;
            deleted += 1;
        }
    }
    Ok(deleted)
}

impl Control {
    fn one_flow(
        &mut self,
        allowed: bool,
        direction: &Direction,
        index: i32,
        generation: u8,
        other: i32,
    ) -> Result<FlowAnswer> {
        let message = flow_set(allowed, direction, index, generation, other);
        let answers = self.ask(&[message])?;
        FlowAnswer::read(answers.first().context("no answer")?)
    }
}

fn flow_set(allowed: bool, direction: &Direction, index: i32, generation: u8, other: i32) -> Vec<u8> {
    let (action, reason) = match (allowed, direction.flags & flag::TRANSLATION) {
        (false, _) => (DROP, REASON_POLICY),
        (true, 0) => (FORWARD, 0),
        (true, _) => (NAT, 0),
    };
    let translate = if direction.other_vrf.is_some() { VRF_TRANSLATE } else { 0 };
    let linked = if other < 0 { 0 } else { REVERSE_VALID };
    let flags = ACTIVE | linked | direction.flags | translate;
    let none = u16::MAX;
    keyed(&direction.tuple, direction.key_nexthop, flags)
        .i32(3, index)
        .i16(4, action)
        .i32(6, other)
        .u16(15, direction.vrf as u16)
        .u16(16, direction.other_vrf.unwrap_or(0) as u16)
        .u16(17, none)
        .u16(18, none)
        .u32(23, direction.member.map_or(u32::MAX, |member| member as u32))
        .u32(24, direction.source_nexthop as u32)
        .u16(26, reason)
        .byte(27, generation)
        .u16(35, none)
        .byte(39, u8::MAX)
        .stop()
}

/// A request about the flow with a key; without `ACTIVE` among the flags it deletes.
fn keyed(tuple: &FiveTuple, key_nexthop: i32, flags: u16) -> Message {
    let (source, destination) = (address(tuple, tuple.source), address(tuple, tuple.destination));
    Message::new("vr_flow_req")
        .i32(1, 0)
        .i16(5, flags as i16)
        .i32(7, if tuple.inet6 { INET6 } else { INET }.into())
        .u64(8, source[0])
        .u64(9, source[1])
        .u64(10, destination[0])
        .u64(11, destination[1])
        .u16(12, u16::from_le_bytes(tuple.source_port))
        .u16(13, u16::from_le_bytes(tuple.destination_port))
        .byte(14, tuple.protocol)
        .u32(25, key_nexthop as u32)
}

/// An address as the two halves of it lie in memory (control.md 1.3).
fn address(tuple: &FiveTuple, address: Ipv4Addr) -> [u64; 2] {
    if tuple.inet6 {
        let bits = u128::from_le_bytes(inet6(address).octets());
        [bits as u64, (bits >> 64) as u64]
    } else {
        [0, u32::from_le_bytes(address.octets()).into()]
    }
}
