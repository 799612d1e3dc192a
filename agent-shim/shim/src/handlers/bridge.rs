//! `vr_route_req` of family bridge (control.md 4.5).

use sandesh::SandeshOp;
use sandesh::messages::RouteReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::bridge::BridgeFlags;
use vr_tables::control::{BridgeSpec, BridgeView, GivenMac};

use super::{Context, respond, respond_dump, respond_object, unsupported};
use crate::convert;

pub(super) fn handle(request: &RouteReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    let vrf = convert::vrf(request.rtr_vrf_id);
    let mac = GivenMac::from_bytes(&request.rtr_mac);
    match request.h_op {
        SandeshOp::ADD => {
            let spec = BridgeSpec {
                vrf,
                mac,
                nexthop: convert::nexthop(request.rtr_nh_id),
                label: request.rtr_label as u32,
                flags: BridgeFlags::from_bits_truncate(request.rtr_label_flags as u8),
            };
            respond(&context.tables.bridge_add(&spec), replies);
        }
        SandeshOp::DEL => respond(&context.tables.bridge_delete(vrf, mac), replies),
        SandeshOp::GET => {
            let found = context.tables.bridge_entry(vrf, mac);
            let object = found.map(|view| RouteReq { h_op: SandeshOp::GET, ..object(request, &view) });
            respond_object(object, replies);
        }
        SandeshOp::DUMP if matches!(mac, GivenMac::Mac(_)) => {
            let entries = context.tables.bridge_entries(vrf, mac.non_zero());
            respond_dump(entries.map(|view| object(request, &view)), replies);
        }
        SandeshOp::DUMP => replies.response(-libc::EINVAL),
        _ => unsupported(replies),
    }
}

fn object(request: &RouteReq, view: &BridgeView) -> RouteReq {
    RouteReq {
        rtr_vrf_id: request.rtr_vrf_id,
        rtr_family: request.rtr_family,
        rtr_label_flags: i16::from(view.entry.flags.bits()),
        rtr_label: view.entry.label as i32,
        rtr_nh_id: view.nexthop.0 as i32,
        rtr_mac: view.mac.0.to_vec(),
        rtr_index: view.entry.index.0 as i32,
        ..RouteReq::default()
    }
}
