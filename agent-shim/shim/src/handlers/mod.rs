//! What each message does.

mod bridge;
mod drop_log;
mod drop_stats;
mod flow;
mod flow_r220;
pub(crate) mod info;
mod info_text;
mod label;
mod mem_stats;
mod mirror;
mod nexthop;
mod qos;
mod route;
mod router;
mod shared_tables;
mod vif;
mod vif_object;
mod vrf;
mod vrf_stats;

use sandesh::messages::{FlowReq, Message};
use sandesh::netlink::ReplyWriter;
use sandesh::{Compat, Record};
use vr_tables::control::{CommandError, Datapath, Tables};
use vr_tables::flow::Expected;

use crate::{About, MachineSource};
use info::InfoTexts;

/// What handlers work on.
pub(crate) struct Context<'a> {
    /// Release of the client.
    pub(crate) compat: Compat,
    pub(crate) tables: &'a mut Tables,
    pub(crate) datapath: &'a mut dyn Datapath,
    pub(crate) about: &'a About,
    pub(crate) machine: Option<&'a MachineSource>,
    pub(crate) texts: &'a mut InfoTexts,
}

/// The flow that a message will change or make.
pub(crate) fn expected_flow(message: &Message) -> Option<Expected> {
    <&FlowReq>::try_from(message).ok().and_then(flow::expected)
}

/// The table of handlers. Each gives exactly one response.
pub(crate) fn handle(message: &Message, context: &mut Context<'_>, replies: &mut ReplyWriter<'_>) {
    match message {
        Message::InterfaceReq(request) => vif::handle(request, context, replies),
        Message::NexthopReq(request) => nexthop::handle(request, context, replies),
        Message::RouteReq(request) => route::handle(request, context, replies),
        Message::MplsReq(request) => label::handle_mpls(request, context, replies),
        Message::VxlanReq(request) => label::handle_vxlan(request, context, replies),
        Message::FlowReq(request) if context.compat == Compat::R220 => {
            flow_r220::handle(request, context, replies);
        }
        Message::FlowReq(request) => flow::handle(request, context, replies),
        Message::FlowTableData(request) => shared_tables::handle_flow(request, context, replies),
        Message::BridgeTableData(request) => shared_tables::handle_bridge(request, context, replies),
        Message::HugepageConfig(request) => shared_tables::handle_hugepages(request, replies),
        Message::MirrorReq(request) => mirror::handle(request, context, replies),
        Message::VrfReq(request) => vrf::handle(request, context, replies),
        Message::VrfAssignReq(request) => vrf::handle_assign(request, context, replies),
        Message::VrfStatsReq(request) => vrf_stats::handle(request, context, replies),
        Message::DropStatsReq(request) => drop_stats::handle(request, context, replies),
        Message::VrouterOps(request) => router::handle(request, context, replies),
        Message::QosMapReq(request) => qos::handle_map(request, context, replies),
        Message::FcMapReq(request) => qos::handle_class(request, context, replies),
        Message::InfoReq(request) => info::handle(request, context, replies),
        Message::MemStatsReq(request) => mem_stats::handle(request, replies),
        Message::PktDropLogReq(request) => drop_log::handle(request, context, replies),
        // Only servers send these.
        Message::Response(_) | Message::FlowResponse(_) => unsupported(replies),
    }
}

/// Code of the response to a command.
fn code<T>(result: &Result<T, CommandError>) -> i32 {
    match result {
        Ok(_) => 0,
        Err(error) => {
            tracing::debug!(%error, "a command was refused");
            -error.errno()
        }
    }
}

/// Answers a command that returns nothing.
fn respond(result: &Result<(), CommandError>, replies: &mut ReplyWriter<'_>) {
    replies.response(code(result));
}

/// Answers with an object, or with the error.
fn respond_object<R: Record>(result: Result<R, CommandError>, replies: &mut ReplyWriter<'_>) {
    replies.response(code(&result));
    if let Ok(object) = result {
        replies.object(&object);
    }
}

/// Answers a dump with the objects, as many as fit.
fn respond_dump<R: Record>(objects: impl Iterator<Item = R>, replies: &mut ReplyWriter<'_>) {
    let mut part = replies.dump();
    for object in objects {
        if !part.push(&[&object]) {
            break;
        }
    }
}

/// Answers an operation that a message does not have.
fn unsupported(replies: &mut ReplyWriter<'_>) {
    replies.response(-libc::EOPNOTSUPP);
}

/// There is one router, number 0; every message names it.
fn is_this_router(number: impl Into<i32>, replies: &mut ReplyWriter<'_>) -> bool {
    let is = number.into() == 0;
    if !is {
        replies.response(-libc::EINVAL);
    }
    is
}
