//! `flow -f`, `-d`, `-i`, `-e`: an entry is set again, with one thing changed.

use anyhow::anyhow;
use sandesh::constants::flow_extflag::VR_FLOW_EXT_FLAG_FORCE_EVICT;
use sandesh::constants::flow_flag::{VR_FLOW_FLAG_ACTIVE, VR_FLOW_FLAG_MIRROR, VR_RFLOW_VALID};
use sandesh::constants::{flow_action, mirror_limit};
use sandesh::messages::FlowReq;
use sandesh::{FlowOp, r220};

use crate::failure::Failure;
use crate::flows::{Flow, FlowTable};
use crate::session::Session;
use crate::text;

/// Flags that the vrouter owns.
const OWNED: u16 = 0x0f00;

/// What is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Forward,
    Drop,
    Delete,
    Evict,
}

/// Changes the flow at `index`.
pub(super) fn apply(
    session: &mut Session,
    index: u32,
    change: Change,
    mirror: Option<u8>,
) -> Result<(), Failure> {
    let client = session.client()?;
    let flow = FlowTable::open(client)?.entry(index)?;
    let flow = flow.ok_or_else(|| anyhow!("there is no flow at index {index}"))?;
    if change == Change::Evict && client.is_r220() {
        return Err(anyhow!("a vrouter of R2.20 cannot be told to evict a flow").into());
    }
    let mut request = as_it_is(&flow);
    if client.is_r220() {
        request.fr_drop_reason = u16::from(r220::drop_reason_to_r220(flow.drop_reason));
    }
    match change {
        Change::Forward => request.fr_action = flow_action::VR_FLOW_ACTION_FORWARD,
        Change::Drop => request.fr_action = flow_action::VR_FLOW_ACTION_DROP,
        Change::Delete => request.fr_flags = 0,
        Change::Evict => request.fr_extflags = VR_FLOW_EXT_FLAG_FORCE_EVICT,
    }
    if let Some(mirror) = mirror {
        request.fr_mir_id = u16::from(mirror);
        request.fr_flags |= VR_FLOW_FLAG_MIRROR as i16;
    }
    client.request(&request).map(drop)
}

/// The request that sets the flow to what it is.
fn as_it_is(flow: &Flow) -> FlowReq {
    let (source_upper, source_lower) = text::to_raw_halves(flow.source);
    let (destination_upper, destination_lower) = text::to_raw_halves(flow.destination);
    let mut flags = flow.flags & !OWNED | VR_FLOW_FLAG_ACTIVE;
    if flow.reverse >= 0 {
        flags |= VR_RFLOW_VALID;
    }
    FlowReq {
        fr_op: FlowOp::FLOW_SET,
        fr_index: flow.index as i32,
        fr_rindex: flow.reverse,
        fr_gen_id: flow.gen_id,
        fr_action: flow.action as i16,
        fr_flags: flags as i16,
        fr_flags1: flow.flags1 as i16,
        fr_family: text::family(flow.source),
        fr_flow_sip_u: source_upper,
        fr_flow_sip_l: source_lower,
        fr_flow_dip_u: destination_upper,
        fr_flow_dip_l: destination_lower,
        fr_flow_sport: flow.source_port.to_be(),
        fr_flow_dport: flow.destination_port.to_be(),
        fr_flow_proto: flow.protocol,
        fr_flow_nh_id: flow.key_nexthop,
        fr_flow_vrf: flow.vrf,
        fr_flow_dvrf: flow.next_vrf,
        fr_mir_id: u16::from(flow.mirrors[0]).min(mirror_limit::VR_MAX_MIRROR_INDICES as u16),
        fr_sec_mir_id: u16::from(flow.mirrors[1]).min(mirror_limit::VR_MAX_MIRROR_INDICES as u16),
        fr_ecmp_nh_index: i32::from(flow.ecmp) as u32,
        fr_src_nh_index: flow.source_nexthop,
        fr_drop_reason: u16::from(flow.drop_reason),
        fr_qos_id: flow.qos_id as u16,
        fr_ttl: flow.ttl,
        fr_underlay_ecmp_index: flow.underlay_ecmp as u8,
        ..FlowReq::default()
    }
}
