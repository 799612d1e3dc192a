//! `vrouter_ops` (control.md 4.2).

use sandesh::SandeshOp;
use sandesh::messages::VrouterOps;
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{OptionsChange, Tables};

use super::{Context, is_this_router, unsupported};
use crate::About;

/// Sizes of the MAC tables of single interfaces, which clients expect.
const VIF_BRIDGE_ENTRIES: i32 = 1024;
const VIF_BRIDGE_OVERFLOW: i32 = 512;

pub(super) fn handle(request: &VrouterOps, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vo_rid, replies) {
        return;
    }
    match request.h_op {
        SandeshOp::RESET => {
            context.tables.reset(context.datapath);
            replies.response(0);
        }
        SandeshOp::GET => {
            replies.response(0);
            replies.object(&object(context.tables, context.about));
        }
        SandeshOp::ADD => {
            context.tables.set_options(&change(request));
            replies.response(0);
        }
        _ => unsupported(replies),
    }
}

fn change(request: &VrouterOps) -> OptionsChange {
    let set = |value: i32| (value != -1).then_some(value);
    OptionsChange {
        perfr: set(request.vo_perfr),
        perfs: set(request.vo_perfs),
        from_vm_mss_adj: set(request.vo_from_vm_mss_adj),
        to_vm_mss_adj: set(request.vo_to_vm_mss_adj),
        perfr1: set(request.vo_perfr1),
        perfr2: set(request.vo_perfr2),
        perfr3: set(request.vo_perfr3),
        perfp: set(request.vo_perfp),
        perfq1: set(request.vo_perfq1),
        perfq2: set(request.vo_perfq2),
        perfq3: set(request.vo_perfq3),
        udp_coff: set(request.vo_udp_coff),
        flow_hold_limit: set(request.vo_flow_hold_limit),
        mudp: set(request.vo_mudp),
        burst_tokens: set(request.vo_burst_tokens),
        burst_interval: set(request.vo_burst_interval),
        burst_step: set(request.vo_burst_step),
        priority_tagging: Some(request.vo_priority_tagging),
        packet_dump: set(request.vo_packet_dump),
        drop_log: None,
        log_level: Some(request.vo_log_level).filter(|level| *level != 0),
        log_types_on: request.vo_log_type_enable.clone(),
        log_types_off: request.vo_log_type_disable.clone(),
    }
}

fn object(tables: &Tables, about: &About) -> VrouterOps {
    let (limits, options) = (tables.limits(), tables.options());
    let (flows, flow_overflow) = tables.flow_table().used();
    let (bridge, bridge_overflow) = tables.bridge_used();
    VrouterOps {
        vo_mpls_labels: limits.labels as i32,
        vo_nexthops: limits.nexthops as i32,
        vo_bridge_entries: limits.bridge.entries as i32,
        vo_oflow_bridge_entries: limits.bridge.overflow as i32,
        vo_flow_entries: limits.flows.entries as i32,
        vo_oflow_entries: limits.flows.overflow as i32,
        vo_interfaces: limits.interfaces as i32,
        vo_mirror_entries: limits.mirrors as i32,
        vo_vrfs: limits.vrfs as i32,
        vo_build_info: about.build_info(),
        vo_log_level: options.log_level,
        vo_log_type_enable: options.log_types.clone(),
        vo_perfr: options.perfr,
        vo_perfs: options.perfs,
        vo_from_vm_mss_adj: options.from_vm_mss_adj,
        vo_to_vm_mss_adj: options.to_vm_mss_adj,
        vo_perfr1: options.perfr1,
        vo_perfr2: options.perfr2,
        vo_perfr3: options.perfr3,
        vo_perfp: options.perfp,
        vo_perfq1: options.perfq1,
        vo_perfq2: options.perfq2,
        vo_perfq3: options.perfq3,
        vo_udp_coff: options.udp_coff,
        vo_flow_hold_limit: options.flow_hold_limit,
        vo_mudp: options.mudp,
        vo_flow_used_entries: flows,
        vo_flow_used_oentries: flow_overflow,
        vo_bridge_used_entries: bridge,
        vo_bridge_used_oentries: bridge_overflow,
        vo_burst_tokens: options.burst_tokens,
        vo_burst_interval: options.burst_interval,
        vo_burst_step: options.burst_step,
        vo_priority_tagging: options.priority_tagging,
        vo_vif_bridge_entries: VIF_BRIDGE_ENTRIES,
        vo_vif_oflow_bridge_entries: VIF_BRIDGE_OVERFLOW,
        vo_packet_dump: options.packet_dump,
        vo_pkt_droplog_bufsz: limits.drop_log as i32,
        vo_pkt_droplog_buf_en: u8::from(limits.drop_log > 0),
        vo_pkt_droplog_en: u8::from(limits.drop_log > 0),
        vo_pkt_droplog_min_en: u8::from(options.drop_log.minimal),
        vo_uncond_close_flow_on_tcp_rst: u8::from(options.close_flow_on_rst),
        ..VrouterOps::default()
    }
}
