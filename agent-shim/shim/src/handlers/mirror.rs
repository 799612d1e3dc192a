//! `vr_mirror_req` (control.md 4.8).

use sandesh::SandeshOp;
use sandesh::messages::MirrorReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::snapshot::Mirror;
use vr_types::MirrorId;

use super::{Context, is_this_router, respond, respond_dump, respond_object, unsupported};
use crate::convert;

/// What dumps of the original have in `h_op`.
const DUMPED: SandeshOp = SandeshOp(17);

pub(super) fn handle(request: &MirrorReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.mirr_rid, replies) {
        return;
    }
    let id = convert::mirror(request.mirr_index);
    match request.h_op {
        SandeshOp::ADD => {
            let mirror = Mirror {
                nexthop: convert::nexthop(request.mirr_nhid),
                flags: request.mirr_flags as u32,
                vni: request.mirr_vni,
                vlan: request.mirr_vlan,
            };
            respond(&context.tables.mirror_add(id, mirror), replies);
        }
        SandeshOp::DEL => respond(&context.tables.mirror_delete(id), replies),
        SandeshOp::GET => {
            let found = context.tables.mirror(id);
            respond_object(found.map(|mirror| object(SandeshOp::GET, id, mirror)), replies);
        }
        SandeshOp::DUMP => {
            let mirrors = context.tables.mirrors_from(convert::behind(request.mirr_marker));
            respond_dump(mirrors.map(|(id, mirror)| object(DUMPED, id, mirror)), replies);
        }
        _ => unsupported(replies),
    }
}

fn object(operation: SandeshOp, id: MirrorId, mirror: Mirror) -> MirrorReq {
    MirrorReq {
        h_op: operation,
        mirr_index: i16::from(id.0),
        mirr_nhid: mirror.nexthop.0 as i32,
        mirr_users: 1,
        mirr_flags: mirror.flags as i32,
        mirr_vni: mirror.vni,
        mirr_vlan: mirror.vlan,
        ..MirrorReq::default()
    }
}
