//! `vr_nexthop_req` (control.md 4.4).

use std::net::IpAddr;

use sandesh::SandeshOp;
use sandesh::messages::NexthopReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{CommandError, GivenMac, NexthopKind, NexthopSpec, NexthopView};
use vr_tables::nexthop::{NexthopFamily, NexthopFlags};
use vr_types::{NexthopId, VifId, VrfId, family};

use super::{Context, is_this_router, respond, respond_dump, respond_object, unsupported};
use crate::convert;

/// Members that a part of a dump shows (control.md 4.4).
const DUMPED_MEMBERS: usize = 16;
/// Members that fit into one message beside the other fields.
const SHOWN_MEMBERS: usize = 400;
/// What the original shows as family of a tunnel's rewrite.
const TUNNEL_ENCAP_FAMILY: i32 = 256;

pub(super) fn handle(request: &NexthopReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.nhr_rid, replies) {
        return;
    }
    let id = convert::nexthop(request.nhr_id);
    match request.h_op {
        SandeshOp::ADD => {
            respond(&spec(request).and_then(|spec| context.tables.nexthop_add(&spec)), replies);
        }
        SandeshOp::DEL => respond(&context.tables.nexthop_delete(id), replies),
        SandeshOp::GET => {
            let found = context.tables.nexthop(id);
            respond_object(found.map(|view| object(view, SandeshOp::GET, SHOWN_MEMBERS)), replies);
        }
        SandeshOp::DUMP => {
            let first = NexthopId(convert::behind(request.nhr_marker) as u32);
            let views = context.tables.nexthops_from(first);
            respond_dump(views.map(|view| object(view, SandeshOp::DUMP, DUMPED_MEMBERS)), replies);
        }
        _ => unsupported(replies),
    }
}

fn spec(request: &NexthopReq) -> Result<NexthopSpec, CommandError> {
    let kind = NexthopKind::from_number(request.nhr_type)
        .ok_or(CommandError::Invalid("there is no nexthop of this type"))?;
    let (source, destination) = if request.nhr_family == family::INET6 {
        (convert::end_inet6(&request.nhr_tun_sip6), convert::end_inet6(&request.nhr_tun_dip6))
    } else {
        (convert::end_inet(request.nhr_tun_sip), convert::end_inet(request.nhr_tun_dip))
    };
    Ok(NexthopSpec {
        interfaces: request.nhr_encap_oif_id.iter().map(|vif| convert::vif(*vif)).collect(),
        rewrite: request.nhr_encap.clone(),
        link_valid: request.nhr_encap_valid.iter().map(|valid| *valid != 0).collect(),
        encap_family: request.nhr_encap_family,
        source,
        destination,
        source_port: convert::port(request.nhr_tun_sport),
        destination_port: convert::port(request.nhr_tun_dport),
        transport_label: request.nhr_transport_label,
        inner_mac: GivenMac::from_bytes(&request.nhr_rw_dst_mac),
        pbb_mac: GivenMac::from_bytes(&request.nhr_pbb_mac),
        members: request.nhr_nh_list.iter().map(|id| u32::try_from(*id).ok().map(NexthopId)).collect(),
        labels: request.nhr_label_list.clone(),
        hash_fields: request.nhr_ecmp_config_hash,
        crypt_interface: convert::vif(request.nhr_encap_crypt_oif_id),
        ..NexthopSpec::new(
            convert::nexthop(request.nhr_id),
            kind,
            NexthopFamily::from_number(request.nhr_family),
            NexthopFlags::from_bits_truncate(request.nhr_flags),
            convert::vrf(request.nhr_vrf),
        )
    })
}

fn object(view: NexthopView<'_>, operation: SandeshOp, members: usize) -> NexthopReq {
    let spec = view.spec;
    let mac = |mac: GivenMac| mac.non_zero().map_or_else(Vec::new, |mac| mac.0.to_vec());
    let shown = |count: usize| count.min(members);
    let mut object = NexthopReq {
        h_op: operation,
        nhr_type: spec.kind as u8,
        nhr_family: match spec.family {
            NexthopFamily::Inet => family::INET,
            NexthopFamily::Bridge => family::BRIDGE,
            NexthopFamily::Other(number) => number,
        },
        nhr_id: spec.id.0 as i32,
        nhr_encap_oif_id: interfaces(&spec.interfaces),
        nhr_encap_len: spec.rewrite.len() as i32,
        nhr_encap_family: match spec.kind {
            NexthopKind::Tunnel => TUNNEL_ENCAP_FAMILY,
            _ => spec.encap_family,
        },
        nhr_vrf: if spec.vrf == VrfId::NONE { -1 } else { i32::from(spec.vrf.0) },
        nhr_tun_sport: convert::raw_port(spec.source_port),
        nhr_tun_dport: convert::raw_port(spec.destination_port),
        nhr_ref_cnt: view.references as i32,
        nhr_flags: spec.flags.bits(),
        nhr_encap: spec.rewrite.clone(),
        nhr_nh_list: spec.members[..shown(spec.members.len())]
            .iter()
            .map(|id| id.map_or(-1, |id| id.0 as i32))
            .collect(),
        nhr_label_list: spec.labels[..shown(spec.labels.len())].to_vec(),
        nhr_nh_count: i16::try_from(spec.members.len()).unwrap_or(i16::MAX),
        nhr_ecmp_config_hash: spec.hash_fields,
        nhr_pbb_mac: mac(spec.pbb_mac),
        nhr_encap_crypt_oif_id: match spec.crypt_interface {
            VifId::NONE => 0,
            vif => i32::from(vif.0),
        },
        nhr_rw_dst_mac: mac(spec.inner_mac),
        nhr_transport_label: spec.transport_label,
        nhr_encap_valid: spec.link_valid.iter().map(|valid| i32::from(*valid)).collect(),
        ..NexthopReq::default()
    };
    if spec.link_valid.len() > 1 {
        object.nhr_encap_len /= spec.link_valid.len() as i32;
    }
    match (spec.source, spec.destination) {
        (Some(IpAddr::V4(source)), Some(IpAddr::V4(destination))) => {
            object.nhr_tun_sip = convert::raw_inet(source);
            object.nhr_tun_dip = convert::raw_inet(destination);
        }
        (Some(IpAddr::V6(source)), Some(IpAddr::V6(destination))) => {
            object.nhr_tun_sip6 = source.octets().to_vec();
            object.nhr_tun_dip6 = destination.octets().to_vec();
        }
        _ => {}
    }
    object
}

/// Interfaces of a nexthop; 0 stands for none.
fn interfaces(vifs: &[VifId]) -> Vec<i32> {
    if vifs.is_empty() { vec![0] } else { vifs.iter().map(|vif| convert::vif_number(*vif)).collect() }
}
