//! `vr_interface_req` (control.md 4.3).

use sandesh::SandeshOp;
use sandesh::messages::InterfaceReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{GivenMac, VifSpec};
use vr_tables::stats::Cores;
use vr_tables::vif::{FatFlow, VifFlags, VifKind};
use vr_types::VifId;

use super::vif_object::{object, reset_object};
use super::{Context, drop_stats, is_this_router, respond, unsupported};
use crate::convert;

/// Bit of `vifr_flags` in requests: drop counters are wanted too.
const WITH_DROPS: i32 = 1;
/// `vifr_vlan_tag` of an interface without one.
const NO_VLAN_TAG: u32 = 0xffff;

pub(super) fn handle(request: &InterfaceReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vifr_rid, replies) {
        return;
    }
    match request.h_op {
        SandeshOp::ADD => respond(&context.tables.vif_add(&spec(request), context.datapath), replies),
        SandeshOp::DEL => {
            let (id, name) = (convert::vif(request.vifr_idx), &request.vifr_name);
            respond(&context.tables.vif_delete(id, name, context.datapath), replies);
        }
        SandeshOp::GET => get(request, context, replies),
        SandeshOp::DUMP => dump(request, context, replies),
        SandeshOp::RESET => reset(request, context, replies),
        _ => unsupported(replies),
    }
}

fn get(request: &InterfaceReq, context: &Context<'_>, replies: &mut ReplyWriter<'_>) {
    let beyond = u32::try_from(request.vifr_idx).map_or(true, |id| id >= context.tables.limits().interfaces);
    let found = if beyond {
        context.tables.vif_by_os_index(request.vifr_os_idx as u32)
    } else {
        context.tables.vif(convert::vif(request.vifr_idx))
    };
    let vif = match found {
        Ok(vif) => vif,
        Err(error) => return replies.response(-error.errno()),
    };
    let cores = drop_stats::cores(request.vifr_core as i32);
    let mut answer = object(vif, context.tables.stats(), context.datapath, cores);
    if vif.kind == VifKind::Physical {
        answer.vifr_vlan_tag = NO_VLAN_TAG;
    }
    replies.response(0);
    replies.object(&answer);
    if request.vifr_flags & WITH_DROPS != 0 {
        replies.object(&drop_stats::of_vif(vif.id, context.tables.stats(), cores));
    }
}

fn dump(request: &InterfaceReq, context: &Context<'_>, replies: &mut ReplyWriter<'_>) {
    let cores = drop_stats::cores(request.vifr_core as i32);
    let first = convert::behind(request.vifr_marker);
    let stats = context.tables.stats();
    let mut part = replies.dump();
    // The original fills in the field for a physical interface only, and what it has filled in once stays
    // there for the rest of the part.
    let mut vlan_tag = 0;
    for vif in context.tables.vifs_from(first) {
        if vif.kind == VifKind::Physical {
            vlan_tag = NO_VLAN_TAG;
        }
        let mut answer = object(vif, stats, context.datapath, cores);
        answer.vifr_vlan_tag = vlan_tag;
        let fits = if request.vifr_flags & WITH_DROPS != 0 {
            part.push(&[&answer, &drop_stats::of_vif(vif.id, stats, cores)])
        } else {
            part.push(&[&answer])
        };
        if !fits {
            break;
        }
    }
}

fn reset(request: &InterfaceReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    let cores = drop_stats::cores(request.vifr_core as i32);
    replies.response(0);
    if request.vifr_idx == -1 {
        let vifs: Vec<VifId> = context.tables.vifs_from(0).map(|vif| vif.id).collect();
        for vif in vifs {
            clear(vif, cores, context);
        }
        replies.object(&reset_object(request, ""));
        return;
    }
    let name = context.tables.vif(convert::vif(request.vifr_idx)).map(|vif| vif.details.name.clone());
    match name {
        Ok(name) => {
            clear(convert::vif(request.vifr_idx), cores, context);
            replies.object(&reset_object(request, &name));
        }
        Err(_) => {
            replies.object(&InterfaceReq::default());
        }
    }
}

fn clear(vif: VifId, cores: Cores, context: &mut Context<'_>) {
    context.tables.stats_mut().clear_vif(vif, cores);
    context.datapath.clear_port_totals(vif, cores);
}

fn spec(request: &InterfaceReq) -> VifSpec {
    VifSpec {
        id: convert::vif(request.vifr_idx),
        kind: VifKind::from_number(request.vifr_type),
        transport: request.vifr_transport,
        flags: VifFlags::from_bits_truncate(request.vifr_flags as u32),
        vrf: convert::changed_vrf(request.vifr_vrf),
        mcast_vrf: convert::changed_vrf(request.vifr_mcast_vrf),
        nexthop: convert::nexthop(request.vifr_nh_id),
        mtu: u32::try_from(request.vifr_mtu).unwrap_or(0),
        name: request.vifr_name.clone(),
        mac: GivenMac::from_bytes(&request.vifr_mac),
        ip: convert::inet(request.vifr_ip),
        ip6: convert::inet6(request.vifr_ip6_u, request.vifr_ip6_l),
        mirror: convert::mirror(request.vifr_mir_id),
        qos_map: request.vifr_qos_map_index,
        vlan: request.vifr_vlan_id as u16,
        outer_vlan: request.vifr_ovlan_id as u16,
        parent: convert::vif(request.vifr_parent_vif_idx),
        source_macs: request.vifr_src_mac.clone(),
        os_index: request.vifr_os_idx as u32,
        isid: request.vifr_isid,
        pbb_mac: GivenMac::from_bytes(&request.vifr_pbb_mac),
        mirror_in: request.vifr_in_mirror_md.clone(),
        mirror_out: request.vifr_out_mirror_md.clone(),
        fat_flow: fat_flow(request),
        loopback_ip: request.vifr_loopback_ip,
        hw_queues: request.vifr_hw_queues.clone(),
        vhostuser_mode: request.vifr_vhostuser_mode,
    }
}

/// The rules of flow aggregation; `None` if lists that belong together differ in length.
fn fat_flow(request: &InterfaceReq) -> Option<FatFlow> {
    let prefixes = |upper: &[u64], lower: &[u64], masks: &[u8], lengths: &[u8]| {
        let same = [lower.len(), masks.len(), lengths.len()].iter().all(|len| *len == upper.len());
        same.then(|| {
            let addresses = upper.iter().zip(lower);
            let lengths = masks.iter().zip(lengths);
            addresses.zip(lengths).map(|((u, l), (mask, length))| (*u, *l, *mask, *length)).collect()
        })
    };
    let (upper, lower) =
        (&request.vifr_fat_flow_exclude_ip6_u_list, &request.vifr_fat_flow_exclude_ip6_l_list);
    let lengths = &request.vifr_fat_flow_exclude_ip6_plen_list;
    if upper.len() != lower.len() || upper.len() != lengths.len() {
        return None;
    }
    Some(FatFlow {
        rules: request.vifr_fat_flow_protocol_port.iter().map(|rule| *rule as u32).collect(),
        exclude_ip: request.vifr_fat_flow_exclude_ip_list.clone(),
        exclude_ip6: upper.iter().zip(lower).zip(lengths).map(|((u, l), len)| (*u, *l, *len)).collect(),
        source: prefixes(
            &request.vifr_fat_flow_src_prefix_h,
            &request.vifr_fat_flow_src_prefix_l,
            &request.vifr_fat_flow_src_prefix_mask,
            &request.vifr_fat_flow_src_aggregate_plen,
        )?,
        destination: prefixes(
            &request.vifr_fat_flow_dst_prefix_h,
            &request.vifr_fat_flow_dst_prefix_l,
            &request.vifr_fat_flow_dst_prefix_mask,
            &request.vifr_fat_flow_dst_aggregate_plen,
        )?,
    })
}
