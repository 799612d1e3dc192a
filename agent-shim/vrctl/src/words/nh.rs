//! `nh`: nexthops.

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::constants::nh_type::NH_COMPOSITE;
use sandesh::messages::{Message, NexthopReq};

use super::Word;
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, show};

mod create;
pub(super) mod print;

/// Nexthops.
#[derive(Debug, Parser)]
#[command(name = "nh", group(ArgGroup::new("action").required(true)))]
pub(super) struct Nh {
    /// List all nexthops.
    #[arg(long, group = "action")]
    list: bool,
    /// Show one nexthop, and the components of a composite one.
    #[arg(long, value_name = "ID", group = "action")]
    get: Option<i32>,
    /// Create or change a nexthop.
    #[arg(long, value_name = "ID", group = "action", requires = "kind")]
    create: Option<i32>,
    /// Delete a nexthop.
    #[arg(long, value_name = "ID", group = "action")]
    delete: Option<i32>,
    #[command(flatten)]
    options: create::CreateOptions,
    #[command(flatten)]
    view: View,
}

impl Word for Nh {
    const NAME: &'static str = "nh";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if let Some(id) = self.create {
            let request = create::nexthop(id, &self.options)?;
            return session.client()?.request(&request).map(drop);
        }
        if let Some(id) = self.delete {
            let request = NexthopReq { h_op: SandeshOp::DEL, nhr_id: id, ..NexthopReq::default() };
            return session.client()?.request(&request).map(drop);
        }
        let fetch = |client: &mut Client| match self.get {
            Some(id) => with_components(client, id),
            None => dump(client),
        };
        show(session, &self.view, fetch, print::list)
    }
}

fn dump(client: &mut Client) -> Result<Vec<Message>, Failure> {
    let request = NexthopReq { h_op: SandeshOp::DUMP, nhr_marker: -1, ..NexthopReq::default() };
    client.dump(request, |request, last| {
        if let Message::NexthopReq(last) = last {
            request.nhr_marker = last.nhr_id;
        }
    })
}

fn with_components(client: &mut Client, id: i32) -> Result<Vec<Message>, Failure> {
    let mut objects = client.request(&request(id))?;
    let components = match objects.first() {
        Some(Message::NexthopReq(nexthop)) if nexthop.nhr_type == NH_COMPOSITE => nexthop.nhr_nh_list.clone(),
        _ => Vec::new(),
    };
    for component in components.into_iter().filter(|component| *component >= 0) {
        match client.request(&request(component)) {
            Ok(found) => objects.extend(found),
            // It may have gone meanwhile.
            Err(Failure::Refused(_)) => {}
            Err(failure) => return Err(failure),
        }
    }
    Ok(objects)
}

/// The request for one nexthop.
pub(super) fn request(id: i32) -> NexthopReq {
    NexthopReq { h_op: SandeshOp::GET, nhr_id: id, ..NexthopReq::default() }
}
