//! What a request of the agent makes of an entry.

use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use vr_types::FlowIndex;
use vr_wire::encap::entropy_port;

use super::FlowSpec;
use crate::flow::{FlowAction, FlowFlags, FlowKey, SharedFlow, TcpFlags};

const ICMP: u8 = 1;

/// Fills in the agent's part of an entry.
pub(super) fn write(
    shared: &SharedFlow,
    spec: &FlowSpec,
    key: &FlowKey,
    reverse: Option<FlowIndex>,
    action: FlowAction,
) {
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
    let set = spec.flags.difference(FlowFlags::OWNED);
    // A worker may take back a mark for eviction at this moment. Never refused.
    let _ = shared.flags.fetch_update(Release, Relaxed, |flags| Some(flags & kept.bits() | set.bits()));
}

/// Whether packets are forwarded or translated and nothing else is done to them or with them.
pub(super) fn is_simple(spec: &FlowSpec, action: FlowAction) -> bool {
    let special = FlowFlags::MIRROR | FlowFlags::LINK_LOCAL | FlowFlags::BGP_SERVICE;
    matches!(action, FlowAction::Forward | FlowAction::Nat)
        && !spec.flags.intersects(special)
        && spec.flags1 == 0
        && spec.ttl == 0
        && spec.qos_map < 0
        && spec.underlay_index < 0
}

/// What a new TCP flow knows from its reverse flow (forwarding.md 6.8).
pub(super) fn inherited(reverse: TcpFlags) -> TcpFlags {
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
pub(super) fn service_port(flags: FlowFlags, key: &FlowKey) -> Option<(u8, u16)> {
    if !flags.intersects(FlowFlags::LINK_LOCAL | FlowFlags::BGP_SERVICE) {
        return None;
    }
    let port = if key.protocol() == ICMP { key.source_port() } else { key.destination_port() };
    Some((key.protocol(), u16::from_be_bytes(port)))
}
