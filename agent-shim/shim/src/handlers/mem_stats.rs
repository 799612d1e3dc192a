//! `vr_mem_stats_req` (control.md 4.13): allocation counters by object, which this forwarder does not have.

use sandesh::SandeshOp;
use sandesh::messages::MemStatsReq;
use sandesh::netlink::ReplyWriter;

use super::{is_this_router, unsupported};

/// Tables are allocated once, so that there is nothing to count.
pub(super) fn handle(request: &MemStatsReq, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vms_rid, replies) {
        return;
    }
    if request.h_op != SandeshOp::GET {
        return unsupported(replies);
    }
    replies.response(0);
    replies.object(&MemStatsReq::default());
}
