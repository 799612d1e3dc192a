//! Messages about what this forwarder does not have (control.md 4.13): allocation counters by object, and
//! the drop log of the original.

use sandesh::SandeshOp;
use sandesh::messages::{MemStatsReq, PktDropLogReq};
use sandesh::netlink::ReplyWriter;

use super::{Context, is_this_router, unsupported};

/// Tables are allocated once, so that there is nothing to count.
pub(super) fn handle_memory(request: &MemStatsReq, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vms_rid, replies) {
        return;
    }
    if request.h_op != SandeshOp::GET {
        return unsupported(replies);
    }
    replies.response(0);
    replies.object(&MemStatsReq::default());
}

/// Tells clients that logging is off; it cannot be switched on.
pub(super) fn handle_drop_log(
    request: &PktDropLogReq,
    context: &mut Context<'_>,
    replies: &mut ReplyWriter<'_>,
) {
    if !is_this_router(request.vdl_rid, replies) {
        return;
    }
    if !matches!(request.h_op, SandeshOp::GET | SandeshOp::RESET) {
        return unsupported(replies);
    }
    replies.response(0);
    replies.object(&PktDropLogReq {
        h_op: request.h_op,
        vdl_core: request.vdl_core,
        vdl_log_idx: request.vdl_log_idx,
        vdl_max_num_cores: context.tables.worker_stats().len() as i16,
        ..PktDropLogReq::default()
    });
}
