//! `vr_vrf_stats_req` (control.md 4.11).

use sandesh::SandeshOp;
use sandesh::messages::VrfStatsReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::stats::VrfCounter;
use vr_types::{VrfId, family};

use super::{Context, is_this_router, respond_dump, unsupported};
use crate::convert;

type Counters = [u64; VrfCounter::COUNT];

pub(super) fn handle(request: &VrfStatsReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.vsr_rid, replies) {
        return;
    }
    if request.vsr_family != i16::from(family::INET) || request.vsr_type != 0 {
        return replies.response(-libc::EINVAL);
    }
    match request.h_op {
        SandeshOp::GET => get(request, context, replies),
        SandeshOp::DUMP => dump(request, context, replies),
        _ => unsupported(replies),
    }
}

fn get(request: &VrfStatsReq, context: &Context<'_>, replies: &mut ReplyWriter<'_>) {
    let vrf = convert::vrf(request.vsr_vrf);
    if u32::from(vrf.0) >= context.tables.limits().vrfs {
        return replies.response(-libc::EINVAL);
    }
    let counters = context.tables.stats().vrf(vrf);
    replies.response(0);
    replies.object(&object(request.vsr_vrf, &counters));
}

/// VRFs that have seen packets, and last what belonged to none.
fn dump(request: &VrfStatsReq, context: &Context<'_>, replies: &mut ReplyWriter<'_>) {
    let limit = context.tables.limits().vrfs as usize;
    // The marker is narrower than a VRF: it wraps.
    let first = if request.vsr_marker == -1 { 0 } else { usize::from(request.vsr_marker as u16) + 1 };
    let stats = context.tables.stats();
    let vrfs = (first..limit).map(|vrf| (vrf as i32, VrfId(vrf as u16)));
    let counted = vrfs.chain([(-1, VrfId::NONE)]).filter_map(|(number, vrf)| {
        let counters = stats.vrf(vrf);
        counters.iter().any(|count| *count != 0).then(|| object(number, &counters))
    });
    respond_dump(counted, replies);
}

fn object(vrf: i32, counters: &Counters) -> VrfStatsReq {
    let count = |counter: VrfCounter| counters[counter as usize] as i64;
    VrfStatsReq {
        vsr_family: i16::from(family::INET),
        vsr_vrf: vrf,
        vsr_discards: count(VrfCounter::Discards),
        vsr_resolves: count(VrfCounter::Resolves),
        vsr_receives: count(VrfCounter::Receives),
        vsr_ecmp_composites: count(VrfCounter::EcmpComposites),
        vsr_l2_mcast_composites: count(VrfCounter::L2McastComposites),
        vsr_fabric_composites: count(VrfCounter::FabricComposites),
        vsr_udp_tunnels: count(VrfCounter::UdpTunnels),
        vsr_udp_mpls_tunnels: count(VrfCounter::UdpMplsTunnels),
        vsr_gre_mpls_tunnels: count(VrfCounter::GreMplsTunnels),
        vsr_l2_encaps: count(VrfCounter::L2Encaps),
        vsr_encaps: count(VrfCounter::Encaps),
        vsr_gros: count(VrfCounter::Gros),
        vsr_diags: count(VrfCounter::Diags),
        vsr_encap_composites: count(VrfCounter::EncapComposites),
        vsr_evpn_composites: count(VrfCounter::EvpnComposites),
        vsr_vrf_translates: count(VrfCounter::VrfTranslates),
        vsr_vxlan_tunnels: count(VrfCounter::VxlanTunnels),
        vsr_arp_virtual_proxy: count(VrfCounter::ArpVirtualProxy),
        vsr_arp_virtual_stitch: count(VrfCounter::ArpVirtualStitch),
        vsr_arp_virtual_flood: count(VrfCounter::ArpVirtualFlood),
        vsr_arp_physical_stitch: count(VrfCounter::ArpPhysicalStitch),
        vsr_arp_physical_flood: count(VrfCounter::ArpPhysicalFlood),
        vsr_l2_receives: count(VrfCounter::L2Receives),
        vsr_uuc_floods: count(VrfCounter::UucFloods),
        vsr_pbb_tunnels: count(VrfCounter::PbbTunnels),
        vsr_udp_mpls_over_mpls_tunnels: count(VrfCounter::UdpMplsOverMplsTunnels),
        ..VrfStatsReq::default()
    }
}
