//! `vr_vrf_req` and `vr_vrf_assign_req` (control.md 4.9, 4.10).

use sandesh::SandeshOp;
use sandesh::constants::vrf_flag::{VRF_FLAG_HBF_L_VALID, VRF_FLAG_HBF_R_VALID, VRF_FLAG_VALID};
use sandesh::messages::{VrfAssignReq, VrfReq};
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{SideChange, VrfEntry};
use vr_tables::vif::ServiceVlan;
use vr_types::{VifId, VrfId};

use super::{Context, is_this_router, respond, respond_dump, respond_object, unsupported};
use crate::convert;

pub(super) fn handle(request: &VrfReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vrf_rid, replies) {
        return;
    }
    let vrf = convert::vrf(request.vrf_idx);
    match request.h_op {
        SandeshOp::ADD => {
            let side = |flag, vif| match (request.vrf_flags & flag != 0, vif) {
                (false, _) => SideChange::Keep,
                (true, -1) => SideChange::Clear,
                (true, vif) => SideChange::Set(convert::vif(vif)),
            };
            let left = side(VRF_FLAG_HBF_L_VALID, request.vrf_hbfl_vif_idx);
            let right = side(VRF_FLAG_HBF_R_VALID, request.vrf_hbfr_vif_idx);
            respond(&context.tables.vrf_add(vrf, left, right), replies);
        }
        SandeshOp::DEL => respond(&context.tables.vrf_delete(vrf), replies),
        SandeshOp::GET => {
            let found = context.tables.vrf_entry(vrf);
            respond_object(found.map(|entry| vrf_object(SandeshOp::GET, vrf, entry)), replies);
        }
        SandeshOp::DUMP => {
            let first = VrfId(u16::try_from(convert::behind(request.vrf_marker)).unwrap_or(u16::MAX));
            let entries = context.tables.vrf_entries_from(first);
            respond_dump(entries.map(|(vrf, entry)| vrf_object(SandeshOp::DUMP, vrf, entry)), replies);
        }
        _ => unsupported(replies),
    }
}

fn vrf_object(operation: SandeshOp, vrf: VrfId, entry: VrfEntry) -> VrfReq {
    // The flag says whether an index counts; without it the index is 0.
    let flag = |vif: Option<VifId>, flag| if vif.is_some() { flag } else { 0 };
    let number = |vif: Option<VifId>| vif.map_or(0, |vif| i32::from(vif.0));
    VrfReq {
        h_op: operation,
        vrf_idx: i32::from(vrf.0),
        vrf_flags: VRF_FLAG_VALID
            | flag(entry.left, VRF_FLAG_HBF_L_VALID)
            | flag(entry.right, VRF_FLAG_HBF_R_VALID),
        vrf_hbfl_vif_idx: number(entry.left),
        vrf_hbfr_vif_idx: number(entry.right),
        ..VrfReq::default()
    }
}

pub(super) fn handle_assign(
    request: &VrfAssignReq,
    context: &mut Context<'_>,
    replies: &mut ReplyWriter<'_>,
) {
    if !is_this_router(request.var_rid, replies) {
        return;
    }
    let vif = convert::vif(i32::from(request.var_vif_index));
    let vlan = u16::try_from(request.var_vlan_id).unwrap_or(u16::MAX);
    match request.h_op {
        SandeshOp::ADD => {
            let entry = ServiceVlan {
                vrf: convert::vrf(request.var_vif_vrf),
                nexthop: convert::nexthop(request.var_nh_id),
            };
            respond(&context.tables.vrf_assign(vif, vlan, Some(entry)), replies);
        }
        SandeshOp::DEL => respond(&context.tables.vrf_assign(vif, vlan, None), replies),
        SandeshOp::GET => {
            let found = context.tables.vrf_assigned(vif, vlan);
            let object = found.map(|entry| assign_object(request, request.var_vlan_id, entry));
            respond_object(object, replies);
        }
        SandeshOp::DUMP => {
            let first = u16::try_from(convert::behind(i32::from(request.var_marker))).unwrap_or(u16::MAX);
            match context.tables.vrf_assigned_from(vif, first) {
                Ok(entries) => respond_dump(
                    entries.map(|(vlan, entry)| VrfAssignReq {
                        var_marker: request.var_marker,
                        ..assign_object(request, vlan as i16, Some(entry))
                    }),
                    replies,
                ),
                Err(error) => replies.response(-error.errno()),
            }
        }
        _ => replies.response(-libc::EINVAL),
    }
}

fn assign_object(request: &VrfAssignReq, vlan: i16, entry: Option<ServiceVlan>) -> VrfAssignReq {
    VrfAssignReq {
        h_op: request.h_op,
        var_vif_index: request.var_vif_index,
        var_vif_vrf: entry.map_or(-1, |entry| i32::from(entry.vrf.0)),
        var_vlan_id: vlan,
        var_nh_id: entry.map_or(0, |entry| entry.nexthop.0 as i32),
        ..VrfAssignReq::default()
    }
}
