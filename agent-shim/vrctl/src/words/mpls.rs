//! `mpls`: incoming labels.

use clap::Parser;
use sandesh::messages::{Message, MplsReq};

use super::Word;
use super::tables::{Actions, act};
use crate::failure::Failure;
use crate::session::Session;
use crate::view::each;

/// Incoming MPLS labels and their nexthops.
#[derive(Debug, Parser)]
#[command(name = "mpls")]
pub(super) struct Mpls {
    #[command(flatten)]
    actions: Actions,
}

impl Word for Mpls {
    const NAME: &'static str = "mpls";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let request = |h_op, label| MplsReq {
            h_op,
            mr_label: label,
            mr_nhid: self.actions.nh,
            mr_marker: -1,
            ..MplsReq::default()
        };
        let advance = |request: &mut MplsReq, last: &Message| {
            if let Message::MplsReq(last) = last {
                request.mr_marker = last.mr_label;
            }
        };
        act(session, &self.actions, request, advance, |out, objects| {
            writeln!(out, "MPLS Input Label Map\n\n   Label    NextHop\n-------------------")?;
            each(objects, |label: &MplsReq| writeln!(out, "{:8}{:10}", label.mr_label, label.mr_nhid))
        })
    }
}
