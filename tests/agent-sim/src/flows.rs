//! Decides flows: policy, the pair of entries and their source checks (control.md 4.15).

use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

use crate::control::{Answer, Control};
use crate::message::Message;
use crate::packet::{FiveTuple, Trap, parse};
use crate::topology::{FABRIC_VIF, Topology, Tunnel, nexthop, pod_vif};

const FORWARD: i16 = 2;
const DROP: i16 = 0;
const ACTIVE: i16 = 0x1;
const REVERSE_VALID: i16 = 0x1000;
/// `VR_FLOW_DR_POLICY`.
const REASON_POLICY: u16 = 0x15;
const EEXIST: i32 = -17;
/// Errors that mean that the entry has changed since its trap.
const OUTDATED: [i32; 4] = [-2, -9, -14, -16];
/// Source check off: the discard nexthop accepts every source (forwarding.md 6.6).
const ANY_SOURCE: i32 = 0;

/// What the agent decided for one trapped packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The flow of the trapped packet.
    pub tuple: FiveTuple,
    /// Whether both directions may pass.
    pub forward: bool,
}

/// The two directions of one flow as they have to be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Direction {
    tuple: FiveTuple,
    key_nexthop: i32,
    source_nexthop: i32,
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
    let Some((forward, reverse)) = directions(topology, own, trap) else {
        return Ok(None);
    };
    let allowed = topology.allows(forward.tuple.source, forward.tuple.destination);
    let setting = Setting { vrf: trap.vrf as u16, allowed };
    let mut reverse_answer = control.one_flow(&setting, &reverse, -1, 0, trap.flow)?;
    if reverse_answer.code == EEXIST {
        let (index, generation) = (reverse_answer.index, reverse_answer.generation);
        reverse_answer = control.one_flow(&setting, &reverse, index, generation, trap.flow)?;
    }
    if OUTDATED.contains(&reverse_answer.code) {
        return Ok(None);
    }
    reverse_answer.check("reverse")?;
    let answer = control.one_flow(&setting, &forward, trap.flow, trap.generation, reverse_answer.index)?;
    if OUTDATED.contains(&answer.code) {
        return Ok(None);
    }
    answer.check("forward")?;
    Ok(Some(Decision { tuple: forward.tuple, forward: allowed }))
}

/// Works out both directions from the vif of the trap and the nexthop in its key.
fn directions(topology: &Topology, own: usize, trap: &Trap<'_>) -> Option<(Direction, Direction)> {
    let from_fabric = trap.vif == FABRIC_VIF;
    let parsed = parse(trap.frame, from_fabric)?;
    let tuple = parsed.tuple;
    let pods = &topology.nodes[own].pods;
    let network = (trap.vrf - 1) as usize;
    let forward = Direction {
        tuple,
        key_nexthop: trap.key_nexthop,
        source_nexthop: if from_fabric {
            parsed.outer_source.map_or(ANY_SOURCE, |source| tunnel_to(topology, source))
        } else {
            let pod = (0..pods.len()).find(|pod| pod_vif(*pod) == trap.vif)?;
            nexthop::routed(pod)
        },
    };
    let target = topology.find_pod(network, tuple.destination);
    let (key_nexthop, source_nexthop) = match target {
        Some((node, pod)) if node == own => (nexthop::routed(pod), nexthop::routed(pod)),
        Some((node, _)) => (trap.key_nexthop, nexthop::tunnel(node, Tunnel::MplsOverUdp)),
        None => {
            let way_out = topology.gateway_of(network);
            (trap.key_nexthop, way_out.map_or(ANY_SOURCE, |node| nexthop::tunnel(node, Tunnel::MplsOverUdp)))
        }
    };
    Some((forward, Direction { tuple: tuple.reversed(), key_nexthop, source_nexthop }))
}

/// A tunnel nexthop that accepts what a node sends; the kinds differ in nothing that the check looks at.
fn tunnel_to(topology: &Topology, outer_source: Ipv4Addr) -> i32 {
    let node = topology.nodes.iter().position(|node| node.address == outer_source);
    node.map_or(ANY_SOURCE, |node| nexthop::tunnel(node, Tunnel::MplsOverUdp))
}

struct Setting {
    vrf: u16,
    allowed: bool,
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

impl Control {
    fn one_flow(
        &mut self,
        setting: &Setting,
        direction: &Direction,
        index: i32,
        generation: u8,
        other: i32,
    ) -> Result<FlowAnswer> {
        let message = flow_set(setting, direction, index, generation, other);
        let answers = self.ask(&[message])?;
        FlowAnswer::read(answers.first().context("no answer")?)
    }
}

fn flow_set(setting: &Setting, direction: &Direction, index: i32, generation: u8, other: i32) -> Vec<u8> {
    let (action, reason) = if setting.allowed { (FORWARD, 0) } else { (DROP, REASON_POLICY) };
    let address = |address: Ipv4Addr| u64::from(u32::from_le_bytes(address.octets()));
    let (tuple, none) = (&direction.tuple, u16::MAX);
    Message::new("vr_flow_req")
        .i32(1, 0)
        .i32(3, index)
        .i16(4, action)
        .i16(5, ACTIVE | REVERSE_VALID)
        .i32(6, other)
        .i32(7, 2)
        .u64(9, address(tuple.source))
        .u64(11, address(tuple.destination))
        .u16(12, u16::from_le_bytes(tuple.source_port))
        .u16(13, u16::from_le_bytes(tuple.destination_port))
        .byte(14, tuple.protocol)
        .u16(15, setting.vrf)
        .u16(17, none)
        .u16(18, none)
        .u32(23, u32::MAX)
        .u32(24, direction.source_nexthop as u32)
        .u32(25, direction.key_nexthop as u32)
        .u16(26, reason)
        .byte(27, generation)
        .u16(35, none)
        .byte(39, u8::MAX)
        .stop()
}
