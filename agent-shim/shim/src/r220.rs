//! Values of R2.20 in the numbering of the current release, and back (control.md 9.1).
//!
//! The tables know the current release only. The codec has both schemas; what is left are values that mean something
//! else, and fields of which R2.20 does not know that they have to be there.

use sandesh::SandeshOp;
use sandesh::constants::{flow_flag, mirror_flag, nh_flag, nh_type};
use sandesh::messages::{DropStatsReq, FlowReq, InterfaceReq, Message, MirrorReq, NexthopReq};
use vr_types::family;

/// Flags of interfaces that R2.20 has.
const VIF_FLAGS: i32 = 0x1_ffff;

/// Flags of nexthops with the same number in both releases.
const SAME_NH_FLAGS: u32 = nh_flag::NH_FLAG_VALID
    | nh_flag::NH_FLAG_POLICY_ENABLED
    | nh_flag::NH_FLAG_TUNNEL_GRE
    | nh_flag::NH_FLAG_TUNNEL_UDP
    | nh_flag::NH_FLAG_MCAST
    | nh_flag::NH_FLAG_TUNNEL_UDP_MPLS
    | nh_flag::NH_FLAG_TUNNEL_VXLAN
    | nh_flag::NH_FLAG_RELAXED_POLICY
    | nh_flag::NH_FLAG_COMPOSITE_FABRIC
    | nh_flag::NH_FLAG_COMPOSITE_ECMP
    | nh_flag::NH_FLAG_COMPOSITE_EVPN
    | nh_flag::NH_FLAG_COMPOSITE_ENCAP
    | nh_flag::NH_FLAG_COMPOSITE_TOR;

/// Flags of nexthops that have moved: in R2.20, and now.
const MOVED_NH_FLAGS: [(u32, u32); 3] = [
    (nh_flag::r220::NH_FLAG_ROUTE_LOOKUP, nh_flag::NH_FLAG_ROUTE_LOOKUP),
    (nh_flag::r220::NH_FLAG_UNKNOWN_UC_FLOOD, nh_flag::NH_FLAG_UNKNOWN_UC_FLOOD),
    (nh_flag::r220::NH_FLAG_TUNNEL_SIP_COPY, nh_flag::NH_FLAG_TUNNEL_SIP_COPY),
];

/// Composites that are members of others, or ECMP groups: no multicast trees by themselves.
const PARTS: u32 = nh_flag::NH_FLAG_COMPOSITE_FABRIC
    | nh_flag::NH_FLAG_COMPOSITE_ECMP
    | nh_flag::NH_FLAG_COMPOSITE_EVPN
    | nh_flag::NH_FLAG_COMPOSITE_ENCAP
    | nh_flag::NH_FLAG_COMPOSITE_TOR;

/// Turns a request of R2.20 into one of the current release.
///
/// # Errors
/// The code of the response to an operation that R2.20 does not have.
pub(crate) fn request(message: &mut Message) -> Result<(), i32> {
    match message {
        Message::InterfaceReq(request) if request.h_op == SandeshOp::RESET => return Err(-libc::EOPNOTSUPP),
        Message::VrouterOps(request) if request.h_op == SandeshOp::ADD => return Err(-libc::EOPNOTSUPP),
        Message::InterfaceReq(request) => interface(request),
        Message::NexthopReq(request) => nexthop(request),
        Message::MirrorReq(request) => mirror(request),
        Message::FlowReq(request) => flow(request),
        _ => {}
    }
    Ok(())
}

/// Turns an object of the current release into one of R2.20.
pub(crate) fn reply(message: &mut Message) {
    match message {
        Message::InterfaceReq(object) => {
            object.vifr_ip = object.vifr_ip.swap_bytes();
            object.vifr_flags &= VIF_FLAGS;
        }
        Message::NexthopReq(object) => object.nhr_flags = old_flags(object),
        Message::MirrorReq(object) => {
            let marked = object.mirr_flags & mirror_flag::VR_MIRROR_FLAG_MARKED_DELETE != 0;
            object.mirr_flags = if marked { mirror_flag::r220::VR_MIRROR_FLAG_MARKED_DELETE } else { 0 };
        }
        Message::DropStatsReq(object) => drops(object),
        _ => {}
    }
}

fn interface(request: &mut InterfaceReq) {
    // Flags of other requests ask for what R2.20 does not have.
    let adds = request.h_op == SandeshOp::ADD;
    request.vifr_flags = if adds { request.vifr_flags & VIF_FLAGS } else { 0 };
    if request.h_op == SandeshOp::DEL {
        request.vifr_name.clear();
    }
    // Read as a signed number of 16 bits.
    request.vifr_nh_id = i32::from(request.vifr_nh_id as u16);
    // As it lies in memory, not as a number.
    request.vifr_ip = request.vifr_ip.swap_bytes();
    request.vifr_qos_map_index = -1;
    request.vifr_mcast_vrf = -1;
}

fn nexthop(request: &mut NexthopReq) {
    let old = request.nhr_flags;
    let moved = MOVED_NH_FLAGS.iter().filter(|(before, _)| old & before != 0);
    request.nhr_flags = moved.fold(old & SAME_NH_FLAGS, |flags, (_, now)| flags | now);
    match request.nhr_type {
        nh_type::NH_ENCAP if old & nh_flag::r220::NH_FLAG_ENCAP_L2 != 0 => {
            request.nhr_family = family::BRIDGE;
        }
        nh_type::NH_COMPOSITE if old & nh_flag::r220::NH_FLAG_COMPOSITE_L2 != 0 => {
            request.nhr_family = family::BRIDGE;
            if old & PARTS == 0 {
                request.nhr_flags |= nh_flag::NH_FLAG_MCAST;
            }
        }
        _ => {}
    }
}

fn old_flags(object: &NexthopReq) -> u32 {
    let moved = MOVED_NH_FLAGS.iter().filter(|(_, now)| object.nhr_flags & now != 0);
    let flags = moved.fold(object.nhr_flags & SAME_NH_FLAGS, |flags, (before, _)| flags | before);
    match (object.nhr_type, object.nhr_family) {
        (nh_type::NH_ENCAP, family::BRIDGE) => flags | nh_flag::r220::NH_FLAG_ENCAP_L2,
        (nh_type::NH_COMPOSITE, family::BRIDGE) => flags | nh_flag::r220::NH_FLAG_COMPOSITE_L2,
        _ => flags,
    }
}

fn mirror(request: &mut MirrorReq) {
    let marked = request.mirr_flags & mirror_flag::r220::VR_MIRROR_FLAG_MARKED_DELETE != 0;
    request.mirr_flags = if marked { mirror_flag::VR_MIRROR_FLAG_MARKED_DELETE } else { 0 };
    request.mirr_vni = -1;
}

/// The drop reason stays as it is: the agent sends it into the table that its own release reads.
fn flow(request: &mut FlowReq) {
    request.fr_family = i32::from(family::INET);
    request.fr_flow_sip_l = u64::from(request.fr_flow_sip);
    request.fr_flow_dip_l = u64::from(request.fr_flow_dip);
    request.fr_flags &= !(flow_flag::VR_FLOW_BGP_SERVICE as i16);
    request.fr_qos_id = u16::MAX;
    request.fr_underlay_ecmp_index = u8::MAX;
}

/// Reasons that R2.20 has no name for are its miscellaneous ones.
fn drops(object: &mut DropStatsReq) {
    object.vds_misc += [
        object.vds_vlan_fwd_tx,
        object.vds_vlan_fwd_enq,
        object.vds_drop_new_flow,
        object.vds_flow_evict,
        object.vds_trap_original,
        object.vds_leaf_to_leaf,
        object.vds_bmac_isid_mismatch,
        object.vds_pkt_loop,
        object.vds_no_crypt_path,
        object.vds_invalid_hbs_pkt,
        object.vds_no_frag_entry,
        object.vds_icmp_error,
        object.vds_invalid_underlay_ecmp,
    ]
    .iter()
    .sum::<i64>();
}
