//! `vr_flow_req` (control.md 4.15). The answer always has an object, because the agent reads position and
//! generation from it for errors too.

use sandesh::FlowOp;
use sandesh::constants::flow_extflag::VR_FLOW_EXT_FLAG_FORCE_EVICT;
use sandesh::constants::flow_response_flag::VR_FLOW_RESP_FLAG_DELETED;
use sandesh::messages::{FlowReq, FlowResponse};
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{FlowReply, FlowSpec, Reverse};
use vr_tables::flow::{Expected, FlowAction, FlowFlags, FlowKey};
use vr_types::{FlowIndex, NexthopId, VrfId, family};

use super::{Context, code};
use crate::convert;

const INET: i32 = family::INET as i32;
const INET6: i32 = family::INET6 as i32;

pub(super) fn handle(request: &FlowReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    let mut object = FlowResponse { fresp_index: request.fr_index as u32, ..FlowResponse::default() };
    if request.fr_op != FlowOp::FLOW_SET || request.fr_rid != 0 {
        replies.response(-libc::EINVAL);
        replies.object(&object);
        return;
    }
    let reply = set(request, &spec(request), context);
    object.fresp_index = reply.index.map_or(request.fr_index as u32, |index| index.0);
    object.fresp_gen_id = reply.generation;
    let (packets, bytes) = reply.left;
    (object.fresp_packets, object.fresp_bytes) = (packets as u32, bytes as u32);
    object.fresp_stats_oflow = (bytes >> 32) as u32 & 0xffff | ((packets >> 32) as u32 & 0xff) << 16;
    if reply.deleted {
        object.fresp_flags = VR_FLOW_RESP_FLAG_DELETED;
    }
    replies.response(code(&reply.result));
    replies.object(&object);
}

/// The flow that a request will change or make, if it can be told.
pub(super) fn expected(request: &FlowReq) -> Option<Expected> {
    match index(request.fr_index) {
        Some(index) => Some(Expected::Entry(index)),
        None => key(request, &Ends::forward(request)).map(|key| Expected::New(key.hash())),
    }
}

/// Sets a flow with what goes with its mirrored copies.
pub(super) fn set(request: &FlowReq, spec: &FlowSpec, context: &mut Context<'_>) -> FlowReply {
    if spec.flags.contains(FlowFlags::MIRROR) {
        context.tables.flow_set_mirrored(spec, &request.fr_pcap_meta_data, context.datapath)
    } else {
        context.tables.flow_set(spec, context.datapath)
    }
}

pub(super) fn index(number: i32) -> Option<FlowIndex> {
    u32::try_from(number).ok().map(FlowIndex)
}

pub(super) fn spec(request: &FlowReq) -> FlowSpec {
    FlowSpec {
        index: index(request.fr_index),
        key: key(request, &Ends::forward(request)),
        generation: request.fr_gen_id,
        action: FlowAction::from_number(request.fr_action as u16),
        flags: FlowFlags::from_bits_truncate(request.fr_flags as u16),
        flags1: request.fr_flags1 as u16,
        force_evict: request.fr_extflags & VR_FLOW_EXT_FLAG_FORCE_EVICT != 0,
        reverse: index(request.fr_rindex)
            .map_or_else(|| Reverse::Key(key(request, &Ends::reverse(request))), Reverse::Index),
        vrf: VrfId(request.fr_flow_vrf),
        dvrf: VrfId(request.fr_flow_dvrf),
        mirrors: [request.fr_mir_id, request.fr_sec_mir_id],
        ecmp_index: request.fr_ecmp_nh_index as i8,
        source_nexthop: request.fr_src_nh_index,
        qos_map: request.fr_qos_id as i16,
        ttl: request.fr_ttl,
        underlay_index: request.fr_underlay_ecmp_index as i8,
        drop_reason: request.fr_drop_reason as u8,
    }
}

/// Addresses and ports of one direction, as they lie in memory.
struct Ends {
    source: (u64, u64),
    destination: (u64, u64),
    source_port: u16,
    destination_port: u16,
    nexthop: u32,
}

impl Ends {
    fn forward(request: &FlowReq) -> Self {
        Self {
            source: (request.fr_flow_sip_u, request.fr_flow_sip_l),
            destination: (request.fr_flow_dip_u, request.fr_flow_dip_l),
            source_port: request.fr_flow_sport,
            destination_port: request.fr_flow_dport,
            nexthop: request.fr_flow_nh_id,
        }
    }

    fn reverse(request: &FlowReq) -> Self {
        Self {
            source: (request.fr_rflow_sip_u, request.fr_rflow_sip_l),
            destination: (request.fr_rflow_dip_u, request.fr_rflow_dip_l),
            source_port: request.fr_rflow_sport,
            destination_port: request.fr_rflow_dport,
            nexthop: request.fr_rflow_nh_id,
        }
    }
}

fn key(request: &FlowReq, ends: &Ends) -> Option<FlowKey> {
    let [a, b] = ends.source_port.to_le_bytes();
    let [c, d] = ends.destination_port.to_le_bytes();
    let (protocol, ports, nexthop) = (request.fr_flow_proto, [a, b, c, d], NexthopId(ends.nexthop));
    match request.fr_family {
        INET => {
            let address = |(_, lower): (u64, u64)| (lower as u32).to_le_bytes();
            Some(FlowKey::inet(protocol, ports, nexthop, address(ends.source), address(ends.destination)))
        }
        INET6 => {
            let address = |(upper, lower): (u64, u64)| convert::inet6(upper, lower).octets();
            Some(FlowKey::inet6(protocol, ports, nexthop, address(ends.source), address(ends.destination)))
        }
        _ => None,
    }
}
