//! `vxlan`: incoming network identifiers.

use clap::Parser;
use sandesh::messages::{Message, VxlanReq};

use super::Word;
use super::tables::{Actions, act};
use crate::failure::Failure;
use crate::session::Session;
use crate::view::each;

/// Incoming VXLAN network identifiers and their nexthops.
#[derive(Debug, Parser)]
#[command(name = "vxlan")]
pub(super) struct Vxlan {
    #[command(flatten)]
    actions: Actions,
}

impl Word for Vxlan {
    const NAME: &'static str = "vxlan";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        // The identifier is the marker too; 0 is the start.
        let request = |h_op, vnid: i32| VxlanReq {
            h_op,
            vxlanr_vnid: vnid.max(0),
            vxlanr_nhid: self.actions.nh,
            ..VxlanReq::default()
        };
        let advance = |request: &mut VxlanReq, last: &Message| {
            if let Message::VxlanReq(last) = last {
                request.vxlanr_vnid = last.vxlanr_vnid;
            }
        };
        act(session, &self.actions, request, advance, |out, objects| {
            writeln!(out, "VXLAN Table\n\n VNID    NextHop\n----------------")?;
            each(objects, |vxlan: &VxlanReq| writeln!(out, "{:5}{:11}", vxlan.vxlanr_vnid, vxlan.vxlanr_nhid))
        })
    }
}
