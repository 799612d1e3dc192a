//! From bytes to what happens to a node.

use std::time::Instant;

use vr_frame::{BATCH, GsoKind, Offload};
use vr_tables::control::{FlowSpec, GivenMac, OptionsChange, Prefix, Reverse, Tables};
use vr_tables::flow::{FlowAction, FlowFlags, FlowKey, SharedFlow};
use vr_types::{FlowIndex, Label, Mac, NexthopId, VifId};

use super::node::{self, nh};
use super::{Changes, flows};

/// What happens next.
pub(super) enum Event {
    /// Frames arrive.
    Frames(Frames),
    /// The last frame that was sent arrives at an interface, perhaps with its outer addresses exchanged.
    Echo { to: VifId, turned: bool },
    /// The agent decides about one of the flows that wait.
    Decide { waiting: u8, decision: u8 },
    /// Time passes, and perhaps the worker looks at its timers then.
    Time { milliseconds: u64, tick: bool },
    /// The agent changes a table.
    Change(u8),
}

/// The same frame several times.
pub(super) struct Frames {
    pub(super) from: VifId,
    /// At most a batch.
    pub(super) count: usize,
    pub(super) offload: Offload,
    pub(super) bytes: Vec<u8>,
}

impl Frames {
    /// A frame without metadata.
    pub(super) fn plain(from: VifId, bytes: Vec<u8>) -> Self {
        Self { from, count: 1, offload: Offload::NONE, bytes }
    }
}

/// Reads events, each of a kind, two bytes, and for frames what follows them:
///
/// | kind | first byte | second byte | behind |
/// |---|---|---|---|
/// | 0, 1 | interface | frames less one | length (2 bytes), frame |
/// | 2, 3 | interface | frames less one | metadata (7 bytes), growth, length (2 bytes), frame |
/// | 4 | which flow | decision | |
/// | 5 | time in 50 ms | odd: timers | |
/// | 6 | which change | | |
/// | 7 | interface | odd: turned | |
pub(super) struct Events<'a>(&'a [u8]);

impl<'a> Events<'a> {
    pub(super) const fn new(data: &'a [u8]) -> Self {
        Self(data)
    }

    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*taken)
    }

    /// Length and bytes of a frame; one that is cut is as long as what there is.
    fn frame(&mut self) -> Option<Vec<u8>> {
        let len = usize::from(u16::from_be_bytes(self.take()?));
        let (frame, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        Some(frame.to_vec())
    }

    fn frames_with_metadata(&mut self, from: VifId, count: usize) -> Option<Frames> {
        let [flags, size, size_low, start, start_low, offset, offset_low, growth] = self.take()?;
        let gso = [GsoKind::None, GsoKind::TcpV4, GsoKind::TcpV6, GsoKind::UdpL4];
        let offload = Offload {
            needs_csum: flags & 1 != 0,
            csum_valid: flags & 2 != 0,
            gso: gso[usize::from(flags >> 2 & 3)],
            gso_size: u16::from_be_bytes([size, size_low]),
            csum_start: u16::from_be_bytes([start, start_low]),
            csum_offset: u16::from_be_bytes([offset, offset_low]),
        };
        let mut bytes = self.frame()?;
        bytes.extend((0..usize::from(growth) * 256).map(|i| i as u8));
        Some(Frames { from, count, offload, bytes })
    }
}

impl Iterator for Events<'_> {
    type Item = Event;

    fn next(&mut self) -> Option<Event> {
        let [kind, first, second] = self.take()?;
        let vif = VifId(u16::from(first % 8));
        let count = usize::from(second) % BATCH + 1;
        Some(match kind % 8 {
            0 | 1 => Event::Frames(Frames { count, ..Frames::plain(vif, self.frame()?) }),
            2 | 3 => Event::Frames(self.frames_with_metadata(vif, count)?),
            4 => Event::Decide { waiting: first, decision: second },
            5 => Event::Time { milliseconds: u64::from(first) * 50, tick: second & 1 != 0 },
            6 => Event::Change(first),
            _ => Event::Echo { to: vif, turned: second & 1 != 0 },
        })
    }
}

/// Exchanges sender and receiver, of the Ethernet header and of an IPv4 header without tags in front of it.
pub(super) fn turn(frame: &mut [u8]) {
    if let Some(macs) = frame.first_chunk_mut::<12>() {
        macs.rotate_left(6);
    }
    if let Some(addresses) = frame.get_mut(26..34) {
        addresses.rotate_left(4);
    }
}

/// The flow that a frame for the agent is about, with its generation.
pub(super) fn flow_of_trap(frame: &[u8]) -> Option<(FlowIndex, u8)> {
    const FLOW_MISS: u16 = 6;
    const FLOW_ACTION_HOLD: u16 = 15;

    let header =
        vr_wire::agent_header::AgentHeader::parse(frame.get(14..)?, vr_wire::agent_header::Form::Current)
            .ok()?;
    matches!(header.command, FLOW_MISS | FLOW_ACTION_HOLD)
        .then_some((FlowIndex(header.params[0]), header.param5))
}

/// Sets or removes a flow that waits. That the table refuses is no fault: the flow may be gone.
pub(super) fn decide(
    tables: &mut Tables,
    changes: &mut Changes,
    flow: FlowIndex,
    generation: u8,
    decision: u8,
) {
    let Some(key) = tables.flow_table().shared(flow).and_then(SharedFlow::key) else { return };
    let sources = [nh::ROUTED_A, nh::ROUTED_B, nh::UDP, nh::VXLAN, nh::ECMP, nh::ROUTED_SUB, nh::GATEWAY, 0];
    let source = sources[usize::from(decision >> 4) % sources.len()];
    let spec = FlowSpec {
        index: Some(flow),
        generation,
        ..flows::flow(key, FlowAction::Forward, FlowFlags::empty(), source)
    };
    let spec = match decision & 0xf {
        0..=4 => spec,
        5 => FlowSpec { action: Some(FlowAction::Drop), ..spec },
        6 => FlowSpec { action: Some(FlowAction::Hold), ..spec },
        7 => FlowSpec { flags: FlowFlags::empty(), ..spec },
        8 => FlowSpec { flags: FlowFlags::ACTIVE | FlowFlags::MIRROR, ..spec },
        9 => FlowSpec { flags: FlowFlags::ACTIVE | FlowFlags::VRFT, ..spec },
        10 => FlowSpec { ttl: 3, ..spec },
        11 => FlowSpec { ecmp_index: 1, ..spec },
        12 => FlowSpec { force_evict: true, ..spec },
        // Translated without a flow in reverse.
        13 => FlowSpec { action: Some(FlowAction::Nat), flags: FlowFlags::ACTIVE | FlowFlags::SNAT, ..spec },
        _ => return translate(tables, changes, spec, key),
    };
    tables.flow_set(&spec, changes);
}

/// Translates source address and port of a flow.
fn translate(tables: &mut Tables, changes: &mut Changes, spec: FlowSpec, key: FlowKey) {
    let ([_, _, c, d], mut words) = (key.words()[1].to_le_bytes(), *key.words());
    words[1] = u32::from_le_bytes([c, d, 0x17, 0x70]);
    if key.is_inet6() {
        let (source, destination) = (key.words()[3..7].to_vec(), key.words()[7..].to_vec());
        words[3..7].copy_from_slice(&destination);
        words[7..].copy_from_slice(&source);
    } else {
        words[3] = key.words()[4];
        words[4] = u32::from_le_bytes(node::FLOATING);
    }
    let Some(reverse) = FlowKey::from_words(words) else { return };
    let dnat = FlowFlags::DNAT | FlowFlags::DPAT;
    let back = flows::flow(reverse, FlowAction::Nat, dnat, nh::GATEWAY);
    tables.flow_set(&back, changes);
    let flags = FlowFlags::ACTIVE | FlowFlags::SNAT | FlowFlags::SPAT | FlowFlags::RFLOW_VALID;
    let there =
        FlowSpec { action: Some(FlowAction::Nat), flags, reverse: Reverse::Key(Some(reverse)), ..spec };
    tables.flow_set(&there, changes);
}

/// Changes a table, or sets what earlier changes removed. That the table refuses is no fault.
pub(super) fn change(tables: &mut Tables, changes: &mut Changes, change: u8) {
    let _ = match change % 16 {
        0 => tables.vif_delete(node::GUEST_B, "", changes),
        1 => tables.vif_delete(node::AGENT, "", changes),
        2 => tables.vif_delete(node::SUB, "", changes),
        3 => tables.nexthop_delete(NexthopId(nh::UDP)),
        4 => tables.nexthop_delete(NexthopId(nh::ROUTED_A)),
        5 => tables.nexthop_delete(NexthopId(nh::LOCAL_MEMBERS)),
        6 => tables.label_delete(Label(17)),
        7 => tables.bridge_delete(node::VRF, GivenMac::Mac(Mac::VIRTUAL_ROUTER)),
        8 => tables.bridge_delete(node::VRF, GivenMac::Mac(Mac::BROADCAST)),
        9 => tables.route_delete(&node::route(
            node::VRF,
            Prefix::Inet([10, 0, 1, 7], 32),
            nh::GATEWAY,
            None,
            None,
        )),
        10 => {
            tables.set_options(&OptionsChange { mudp: Some(1), ..OptionsChange::default() });
            Ok(())
        }
        11 => {
            tables.set_options(&OptionsChange {
                flow_hold_limit: Some(2),
                burst_tokens: Some(1),
                ..OptionsChange::default()
            });
            Ok(())
        }
        12 => {
            if tables.is_restarting() {
                tables.finish_restart(Instant::now(), changes);
            } else {
                tables.reset(changes);
            }
            Ok(())
        }
        13 => {
            let first = tables.flow_table().indexes().next();
            if let Some(flow) = first {
                let shared = tables.flow_table().shared(flow);
                let generation =
                    shared.map_or(0, |shared| shared.generation.load(std::sync::atomic::Ordering::Relaxed));
                decide(tables, changes, flow, generation, 7);
            }
            Ok(())
        }
        14 => tables.vif_delete(node::FABRIC, "", changes),
        _ => node::program(tables, changes),
    };
}
