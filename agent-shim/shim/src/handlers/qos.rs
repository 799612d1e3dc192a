//! `vr_qos_map_req` and `vr_fc_map_req` (control.md 4.14).

use sandesh::SandeshOp;
use sandesh::messages::{FcMapReq, QosMapReq};
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{CommandError, ForwardingClass, QosChange, QosMap};

use super::{Context, is_this_router, respond, respond_dump, respond_object, unsupported};
use crate::convert;

const LISTS: CommandError = CommandError::Invalid("the lists differ in length");

fn marker(marker: i16) -> u16 {
    u16::try_from(convert::behind(i32::from(marker))).unwrap_or(u16::MAX)
}

pub(super) fn handle_map(request: &QosMapReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.qmr_rid, replies) {
        return;
    }
    let id = request.qmr_id;
    match request.h_op {
        SandeshOp::ADD => {
            respond(&change(request).and_then(|change| context.tables.qos_map_add(id, &change)), replies);
        }
        SandeshOp::DEL => {
            context.tables.qos_map_delete(id);
            replies.response(0);
        }
        SandeshOp::GET => {
            respond_object(
                context.tables.qos_map(id).map(|map| map_object(SandeshOp::GET, id, map)),
                replies,
            );
        }
        SandeshOp::DUMP => {
            let maps = context.tables.qos_maps_from(marker(request.qmr_marker));
            respond_dump(maps.map(|(id, map)| map_object(SandeshOp::DUMP, id, map)), replies);
        }
        _ => unsupported(replies),
    }
}

fn change(request: &QosMapReq) -> Result<QosChange, CommandError> {
    let pairs = |values: &[u8], classes: &[u8]| {
        if values.len() == classes.len() {
            Ok(values.iter().copied().zip(classes.iter().copied()).collect())
        } else {
            Err(LISTS)
        }
    };
    Ok(QosChange {
        dscp: pairs(&request.qmr_dscp, &request.qmr_dscp_fc_id)?,
        mpls: pairs(&request.qmr_mpls_qos, &request.qmr_mpls_qos_fc_id)?,
        dot1p: pairs(&request.qmr_dotonep, &request.qmr_dotonep_fc_id)?,
    })
}

fn map_object(operation: SandeshOp, id: u16, map: &QosMap) -> QosMapReq {
    QosMapReq {
        h_op: operation,
        qmr_id: id,
        qmr_dscp: (0..64).collect(),
        qmr_dscp_fc_id: map.dscp.to_vec(),
        qmr_mpls_qos: (0..8).collect(),
        qmr_mpls_qos_fc_id: map.mpls.to_vec(),
        qmr_dotonep: (0..8).collect(),
        qmr_dotonep_fc_id: map.dot1p.to_vec(),
        ..QosMapReq::default()
    }
}

pub(super) fn handle_class(request: &FcMapReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.fmr_rid, replies) {
        return;
    }
    let first = request.fmr_id.first().map(|id| *id as u16).ok_or(LISTS);
    match request.h_op {
        SandeshOp::ADD => respond(&add_classes(request, context), replies),
        SandeshOp::DEL => {
            respond(&first.and_then(|id| context.tables.forwarding_class_delete(id)), replies);
        }
        SandeshOp::GET => {
            let found = first.and_then(|id| Ok((id, context.tables.forwarding_class(id)?)));
            respond_object(found.map(|(id, class)| class_object(id, class)), replies);
        }
        SandeshOp::DUMP => {
            let classes = context.tables.forwarding_classes_from(marker(request.fmr_marker));
            respond_dump(classes.map(|(id, class)| class_object(id, class)), replies);
        }
        _ => unsupported(replies),
    }
}

fn add_classes(request: &FcMapReq, context: &mut Context<'_>) -> Result<(), CommandError> {
    let count = request.fmr_id.len();
    let lists = [&request.fmr_dscp, &request.fmr_mpls_qos, &request.fmr_dotonep, &request.fmr_queue_id];
    if count == 0 || lists.iter().any(|list| list.len() != count) {
        return Err(LISTS);
    }
    let limit = context.tables.limits().forwarding_classes;
    if request.fmr_id.iter().any(|id| u32::from(*id as u16) >= limit) {
        return Err(CommandError::Invalid("a forwarding class is beyond the table"));
    }
    for (i, id) in request.fmr_id.iter().enumerate() {
        let [dscp, mpls, dot1p, queue] = lists.map(|list| list[i]);
        context.tables.forwarding_class_add(*id as u16, ForwardingClass { dscp, mpls, dot1p, queue })?;
    }
    Ok(())
}

fn class_object(id: u16, class: ForwardingClass) -> FcMapReq {
    FcMapReq {
        fmr_id: vec![id as i16],
        fmr_dscp: vec![class.dscp],
        fmr_mpls_qos: vec![class.mpls],
        fmr_dotonep: vec![class.dot1p],
        fmr_queue_id: vec![class.queue],
        ..FcMapReq::default()
    }
}
