//! `vr_flow_table_data`, `vr_bridge_table_data`, `vr_hugepage_config` (control.md 4.16, 4.17).

use std::path::PathBuf;

use sandesh::SandeshOp;
use sandesh::constants::hugepage_resp::VR_HPAGE_CFG_RESP_MEM_ALREADY_INITED;
use sandesh::messages::{BridgeTableData, FlowTableData, HugepageConfig};
use sandesh::netlink::ReplyWriter;
use vr_tables::bridge::BridgeTable;
use vr_tables::control::Tables;

use super::Context;

fn path(file: Option<PathBuf>) -> String {
    file.map_or_else(String::new, |file| file.to_string_lossy().into_owned())
}

pub(super) fn handle_flow(request: &FlowTableData, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    replies.response(0);
    replies.object(&FlowTableData { ftable_op: request.ftable_op, ..flow_table(context.tables) });
}

/// The flow table and what is counted about it.
pub(super) fn flow_table(tables: &Tables) -> FlowTableData {
    let totals = tables.flow_totals();
    let workers = tables.worker_stats().len();
    let mut hold_stat = vec![0; workers];
    if let Some(first) = hold_stat.first_mut() {
        // Holds are counted over all workers together.
        *first = totals.holding as u32;
    }
    FlowTableData {
        ftable_size: (tables.limits().flows.total() * tables.flow_table().entry_size()) as u32,
        ftable_file_path: path(tables.flow_file()),
        ftable_used_entries: u64::from(totals.used),
        ftable_processed: totals.processed,
        ftable_deleted: totals.deleted,
        ftable_added: totals.added,
        ftable_created: totals.created,
        ftable_changed: totals.changed,
        ftable_hold_oflows: totals.hold_overflows as u32,
        ftable_cpus: workers as u32,
        ftable_oflow_entries: totals.used_overflow,
        ftable_hold_stat: hold_stat,
        ftable_burst_free_tokens: totals.burst_free,
        ftable_hold_entries: totals.holding as u32,
        ..FlowTableData::default()
    }
}

pub(super) fn handle_bridge(
    request: &BridgeTableData,
    context: &mut Context<'_>,
    replies: &mut ReplyWriter<'_>,
) {
    if request.btable_op != SandeshOp::GET {
        replies.response(-libc::EINVAL);
        replies.object(&BridgeTableData::default());
        return;
    }
    replies.response(0);
    replies.object(&BridgeTableData {
        btable_op: SandeshOp::GET,
        btable_size: (context.tables.limits().bridge.total() * BridgeTable::ENTRY_SIZE) as u32,
        btable_file_path: path(context.tables.bridge_file()),
        ..BridgeTableData::default()
    });
}

/// Memory is there from the start; clients are told so.
pub(super) fn handle_hugepages(request: &HugepageConfig, replies: &mut ReplyWriter<'_>) {
    replies.response(-libc::EEXIST);
    replies.object(&HugepageConfig {
        vhp_op: request.vhp_op,
        vhp_resp: VR_HPAGE_CFG_RESP_MEM_ALREADY_INITED as u32,
        ..HugepageConfig::default()
    });
}
