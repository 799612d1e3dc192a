//! Values of R2.20 in the numbering of the current release, and back (control.md 9.1).
//!
//! Both sides of a connection work with messages of the current release. The codec has both schemas; what is left are
//! values that mean something else, and fields of which R2.20 does not know that they have to be there.

use crate::SandeshOp;
use crate::constants::{family, flow_drop_reason, flow_flag, mirror_flag, nh_flag, nh_type};
use crate::messages::{DropStatsReq, FlowReq, InterfaceReq, Message, MirrorReq, NexthopReq};

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

/// Family of frames, as nexthops name it.
const BRIDGE: u8 = family::AF_BRIDGE as u8;

/// Turns a message as R2.20 sends it into one of the current release.
pub fn to_current(message: &mut Message) {
    match message {
        Message::InterfaceReq(request) => interface(request),
        Message::NexthopReq(request) => nexthop(request),
        Message::MirrorReq(request) => mirror(request),
        Message::FlowReq(request) => flow(request),
        _ => {}
    }
}

/// Turns a message of the current release into one that R2.20 understands.
pub fn to_r220(message: &mut Message) {
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
        Message::FlowReq(object) => {
            object.fr_flow_sip = object.fr_flow_sip_l as u32;
            object.fr_flow_dip = object.fr_flow_dip_l as u32;
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
            request.nhr_family = BRIDGE;
        }
        nh_type::NH_COMPOSITE if old & nh_flag::r220::NH_FLAG_COMPOSITE_L2 != 0 => {
            request.nhr_family = BRIDGE;
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
        (nh_type::NH_ENCAP, BRIDGE) => flags | nh_flag::r220::NH_FLAG_ENCAP_L2,
        (nh_type::NH_COMPOSITE, BRIDGE) => flags | nh_flag::r220::NH_FLAG_COMPOSITE_L2,
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
    request.fr_family = family::AF_INET;
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

/// Reasons of dropped flows behind the first twelve have moved by so much.
const MOVED_REASONS: u8 =
    (flow_drop_reason::VR_FLOW_DR_POLICY - flow_drop_reason::r220::VR_FLOW_DR_POLICY) as u8;

/// The current number of the reason that a flow entry of R2.20 names.
#[must_use]
pub fn drop_reason_to_current(reason: u8) -> u8 {
    if u16::from(reason) < flow_drop_reason::r220::VR_FLOW_DR_POLICY {
        reason
    } else {
        reason.saturating_add(MOVED_REASONS)
    }
}

/// The number that R2.20 has for a reason; unknown, if it has none.
#[must_use]
pub fn drop_reason_to_r220(reason: u8) -> u8 {
    match u16::from(reason) {
        flow_drop_reason::VR_FLOW_DR_POLICY.. => reason - MOVED_REASONS,
        flow_drop_reason::r220::VR_FLOW_DR_POLICY.. => flow_drop_reason::VR_FLOW_DR_UNKNOWN as u8,
        _ => reason,
    }
}

#[cfg(test)]
mod tests {
    use super::{drop_reason_to_current, drop_reason_to_r220, to_current, to_r220};
    use crate::constants::flow_drop_reason;
    use crate::messages::{InterfaceReq, Message, NexthopReq};

    #[test]
    fn what_both_releases_have_comes_back() {
        let vif = InterfaceReq { vifr_flags: 0x1c1, vifr_ip: 0x0300_0008, ..InterfaceReq::default() };
        let vif = InterfaceReq { vifr_mcast_vrf: -1, vifr_qos_map_index: -1, ..vif };
        // A bridged ENCAP, and a multicast tree with its source copied into tunnels.
        let bridged = NexthopReq { nhr_type: 2, nhr_family: 7, nhr_flags: 3, ..NexthopReq::default() };
        let tree = NexthopReq { nhr_type: 6, nhr_family: 7, nhr_flags: 0x2_0021, ..NexthopReq::default() };
        for message in [Message::from(vif), bridged.into(), tree.into()] {
            let mut other = message.clone();
            to_r220(&mut other);
            assert_ne!(other, message);
            to_current(&mut other);
            assert_eq!(other, message);
        }
    }

    #[test]
    fn reasons_have_the_numbers_of_their_release() {
        for (old, new) in [(0, 0), (0xc, 0xc), (0xd, 0x15), (0x12, 0x1a)] {
            assert_eq!((drop_reason_to_current(old), drop_reason_to_r220(new)), (new, old));
        }
        assert_eq!(drop_reason_to_r220(flow_drop_reason::VR_FLOW_DR_NO_MIRROR_ENTRY as u8), 0);
        assert_eq!(drop_reason_to_current(255), 255);
    }
}
