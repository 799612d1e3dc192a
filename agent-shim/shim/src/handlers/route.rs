//! `vr_route_req` (control.md 4.5): IPv4 and IPv6; layer 2 is in [`super::bridge`].

use sandesh::SandeshOp;
use sandesh::messages::RouteReq;
use sandesh::netlink::ReplyWriter;
use vr_tables::control::{CommandError, GivenMac, Prefix, RouteSpec, RouteView};
use vr_tables::fib::RouteFlags;
use vr_types::{BridgeIndex, family};

use super::{Context, bridge, code, is_this_router, respond, unsupported};
use crate::convert;

const INET: i32 = family::INET as i32;
const INET6: i32 = family::INET6 as i32;
const BRIDGE: i32 = family::BRIDGE as i32;

pub(super) fn handle(request: &RouteReq, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    if !is_this_router(request.rtr_rid, replies) {
        return;
    }
    match (request.rtr_family, request.h_op) {
        (BRIDGE, _) => bridge::handle(request, context, replies),
        (INET | INET6, SandeshOp::ADD) => {
            respond(&spec(request).and_then(|spec| context.tables.route_add(&spec)), replies);
        }
        (INET | INET6, SandeshOp::DEL) => {
            respond(&spec(request).and_then(|spec| context.tables.route_delete(&spec)), replies);
        }
        (INET | INET6, SandeshOp::GET) => get(request, context, replies),
        (INET, SandeshOp::DUMP) => {
            let after = marker(request);
            let routes = context.tables.inet_routes(convert::vrf(request.rtr_vrf_id), after);
            dump(request, routes, replies);
        }
        (INET6, SandeshOp::DUMP) => {
            let after = marker(request);
            let routes = context.tables.inet6_routes(convert::vrf(request.rtr_vrf_id), after);
            dump(request, routes, replies);
        }
        (_, SandeshOp::ADD | SandeshOp::DEL) => replies.response(-libc::ENOENT),
        (_, SandeshOp::GET | SandeshOp::DUMP) => replies.response(-libc::EINVAL),
        _ => unsupported(replies),
    }
}

fn prefix(request: &RouteReq) -> Result<Prefix, CommandError> {
    Prefix::new(request.rtr_family == INET6, &request.rtr_prefix, request.rtr_prefix_len)
}

fn spec(request: &RouteReq) -> Result<RouteSpec, CommandError> {
    Ok(RouteSpec {
        vrf: convert::vrf(request.rtr_vrf_id),
        prefix: prefix(request)?,
        nexthop: convert::nexthop(request.rtr_nh_id),
        label: request.rtr_label as u32,
        flags: RouteFlags::from_bits_truncate(request.rtr_label_flags as u8),
        mac: GivenMac::from_bytes(&request.rtr_mac),
    })
}

fn get(request: &RouteReq, context: &Context<'_>, replies: &mut ReplyWriter<'_>) {
    let found =
        prefix(request).and_then(|prefix| context.tables.route(convert::vrf(request.rtr_vrf_id), prefix));
    replies.response(code(&found));
    let Ok(found) = found else { return };
    let object = match found {
        Some(view) => RouteReq {
            h_op: SandeshOp::GET,
            rtr_prefix_len: i32::from(view.route.prefix_len),
            ..object(request, request.rtr_prefix.clone(), &view)
        },
        // A VRF without routes gives back the request.
        None => RouteReq {
            rtr_nh_id: 0,
            rtr_label: 0,
            rtr_label_flags: 0,
            rtr_mac: vec![0; 6],
            ..request.clone()
        },
    };
    replies.object(&object);
}

/// What clients see of a route, besides operation and lengths.
fn object(request: &RouteReq, prefix: Vec<u8>, view: &RouteView) -> RouteReq {
    RouteReq {
        rtr_vrf_id: request.rtr_vrf_id,
        rtr_family: request.rtr_family,
        rtr_prefix: prefix,
        rtr_label_flags: i16::from(view.route.flags().bits()),
        rtr_label: view.route.raw_label() as i32,
        rtr_nh_id: view.nexthop.0 as i32,
        rtr_mac: view.mac.map_or_else(Vec::new, |mac| mac.0.to_vec()),
        rtr_index: match view.route.stitched {
            BridgeIndex::NONE => -1,
            index => index.0 as i32,
        },
        ..RouteReq::default()
    }
}

/// The address behind which a dump goes on; all zero and empty start it.
fn marker<const N: usize>(request: &RouteReq) -> Option<[u8; N]> {
    let marker = <[u8; N]>::try_from(&request.rtr_marker[..]).ok()?;
    (marker != [0; N]).then_some(marker)
}

/// Dumps configured prefixes. Those with the same address are kept together, because the marker of the next
/// part has no length.
fn dump<const N: usize>(
    request: &RouteReq,
    routes: Result<impl Iterator<Item = ([u8; N], RouteView)>, CommandError>,
    replies: &mut ReplyWriter<'_>,
) {
    let mut routes = match routes {
        Ok(routes) => routes.peekable(),
        Err(error) => return replies.response(-error.errno()),
    };
    let mut part = replies.dump();
    while let Some((address, view)) = routes.next() {
        let mut group = vec![dumped(request, address, &view)];
        while let Some((_, view)) = routes.next_if(|(next, _)| *next == address) {
            group.push(dumped(request, address, &view));
        }
        let records: Vec<&dyn sandesh::Record> = group.iter().map(|object| object as _).collect();
        if !part.push(&records) {
            break;
        }
    }
}

fn dumped<const N: usize>(request: &RouteReq, address: [u8; N], view: &RouteView) -> RouteReq {
    let len = i32::from(view.route.prefix_len);
    RouteReq { rtr_prefix_len: len, rtr_replace_plen: len, ..object(request, address.to_vec(), view) }
}
