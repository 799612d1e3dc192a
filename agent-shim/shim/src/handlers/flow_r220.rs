//! `vr_flow_req` of R2.20 (control.md 4.15, last paragraph): it has no generations, its answer is the request with
//! the position filled in, and it also asks for the table.

use sandesh::FlowOp;
use sandesh::messages::{FlowReq, FlowTableData};
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{CommandError, FlowSpec};
use vr_tables::flow::FlowFlags;

use super::{Context, code, flow, shared_tables};

pub(super) fn handle(request: &FlowReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    match request.fr_op {
        _ if request.fr_rid != 0 => refuse(request, replies),
        FlowOp::FLOW_SET => set(request, context, replies),
        FlowOp::FLOW_TABLE_GET => {
            replies.response(0);
            replies.object(&table(request, shared_tables::flow_table(context.tables)));
        }
        _ => refuse(request, replies),
    }
}

fn refuse(request: &FlowReq, replies: &mut ReplyWriter<'_>) {
    replies.response(-libc::EINVAL);
    replies.object(request);
}

fn set(request: &FlowReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    let flows = context.tables.flow_table();
    let entry = flow::index(request.fr_index).filter(|index| flows.in_use(*index));
    let counted = entry.map(|index| flows.counters(index));
    let generation = entry.and_then(|index| Some(flows.hot(index)?.state().generation())).unwrap_or(0);
    let spec = FlowSpec { generation, ..flow::spec(request) };
    let deletes = !spec.flags.contains(FlowFlags::ACTIVE);
    let reply = flow::set(request, &spec, context);
    let (packets, bytes) = counted.unwrap_or(reply.left);
    replies.response(match &reply.result {
        Err(CommandError::OtherKey) => -libc::EBADF,
        Err(CommandError::NotFound(_)) if deletes => -libc::EINVAL,
        result => code(result),
    });
    replies.object(&FlowReq {
        fr_index: reply.index.map_or(request.fr_index, |index| index.0 as i32),
        fr_flow_bytes: bytes as u32,
        fr_flow_packets: packets as u32,
        fr_flow_stats_oflow: (bytes >> 32) as u32 & 0xffff | ((packets >> 32) as u32 & 0xff) << 16,
        ..request.clone()
    });
}

fn table(request: &FlowReq, table: FlowTableData) -> FlowReq {
    FlowReq {
        fr_op: request.fr_op,
        fr_ftable_size: table.ftable_size as i32,
        fr_file_path: table.ftable_file_path,
        fr_processed: table.ftable_processed as i64,
        fr_created: table.ftable_created as i64,
        fr_added: table.ftable_added as i64,
        fr_cpus: table.ftable_cpus as i32,
        fr_hold_oflows: table.ftable_hold_oflows as i32,
        fr_hold_stat: table.ftable_hold_stat.iter().map(|count| *count as i32).collect(),
        fr_oflow_entries: table.ftable_oflow_entries as i32,
        ..FlowReq::default()
    }
}
