//! `vr_mpls_req` and `vr_vxlan_req` (control.md 4.6, 4.7).

use sandesh::SandeshOp;
use sandesh::messages::{MplsReq, VxlanReq};
use sandesh::netlink::ReplyWriter;
use vr_types::{Label, NexthopId, Vni};

use super::{Context, is_this_router, respond, respond_dump, respond_object, unsupported};
use crate::convert;

/// A label or VNI; a negative one is beyond every table.
fn number(number: i32) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

pub(super) fn handle_mpls(request: &MplsReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if request.mr_rid != 0 && request.h_op == SandeshOp::GET {
        return replies.response(-libc::ENODEV);
    }
    if !is_this_router(request.mr_rid, replies) {
        return;
    }
    let label = Label(number(request.mr_label));
    let object = |operation: SandeshOp, label: Label, nexthop: NexthopId| MplsReq {
        h_op: operation,
        mr_label: label.0 as i32,
        mr_nhid: nexthop.0 as i32,
        ..MplsReq::default()
    };
    match request.h_op {
        SandeshOp::ADD => {
            respond(&context.tables.label_add(label, convert::nexthop(request.mr_nhid)), replies);
        }
        SandeshOp::DEL => respond(&context.tables.label_delete(label), replies),
        SandeshOp::GET => {
            let found = context.tables.label(label);
            respond_object(found.map(|nexthop| object(SandeshOp::GET, label, nexthop)), replies);
        }
        SandeshOp::DUMP => {
            let labels = context.tables.labels_from(convert::behind(request.mr_marker));
            respond_dump(labels.map(|(label, nexthop)| object(SandeshOp::DUMP, label, nexthop)), replies);
        }
        _ => unsupported(replies),
    }
}

pub(super) fn handle_vxlan(request: &VxlanReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vxlanr_rid, replies) {
        return;
    }
    let vni = Vni(number(request.vxlanr_vnid));
    let object = |operation: SandeshOp, vni: Vni, nexthop: NexthopId| VxlanReq {
        h_op: operation,
        vxlanr_vnid: vni.0 as i32,
        vxlanr_nhid: nexthop.0 as i32,
        ..VxlanReq::default()
    };
    match request.h_op {
        SandeshOp::ADD => {
            respond(&context.tables.vni_add(vni, convert::nexthop(request.vxlanr_nhid)), replies);
        }
        SandeshOp::DEL => {
            context.tables.vni_delete(vni);
            replies.response(0);
        }
        SandeshOp::GET => {
            let found = context.tables.vni(vni);
            respond_object(found.map(|nexthop| object(SandeshOp::GET, vni, nexthop)), replies);
        }
        SandeshOp::DUMP => {
            // The key itself is the marker, and 0 starts.
            let first = if vni.0 == 0 { vni } else { Vni(vni.0.saturating_add(1)) };
            let vnis = context.tables.vnis_from(first);
            respond_dump(vnis.map(|(vni, nexthop)| object(SandeshOp::DUMP, vni, nexthop)), replies);
        }
        _ => unsupported(replies),
    }
}
