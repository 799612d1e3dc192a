//! Tables of numbered entries: `--dump`, `--get`, `--create`, `--delete`.

use std::io::{self, Write};

use clap::ArgGroup;
use sandesh::messages::Message;
use sandesh::{Record, SandeshOp};

use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, show};

/// What is done with a table.
#[derive(Clone, Debug, clap::Args)]
#[command(group(ArgGroup::new("action").required(true)))]
pub(super) struct Actions {
    /// List all entries.
    #[arg(long, group = "action")]
    dump: bool,
    /// Show one entry.
    #[arg(long, value_name = "KEY", group = "action")]
    get: Option<i32>,
    /// Create or change an entry.
    #[arg(long, value_name = "KEY", group = "action", requires = "nh")]
    create: Option<i32>,
    /// Delete an entry.
    #[arg(long, value_name = "KEY", group = "action")]
    delete: Option<i32>,
    /// Nexthop of the new entry.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    pub(super) nh: i32,
    #[command(flatten)]
    view: View,
}

/// Does what was asked. `request` makes a request for a key, -1 being the start of a dump; `advance` writes
/// the marker.
pub(super) fn act<R: Record + Clone>(
    session: &mut Session,
    actions: &Actions,
    request: impl Fn(SandeshOp, i32) -> R,
    advance: impl Fn(&mut R, &Message),
    print: impl Fn(&mut dyn Write, &[Message]) -> io::Result<()>,
) -> Result<(), Failure> {
    let change = match (actions.create, actions.delete) {
        (Some(key), _) => Some(request(SandeshOp::ADD, key)),
        (_, Some(key)) => Some(request(SandeshOp::DEL, key)),
        _ => None,
    };
    if let Some(change) = change {
        return session.client()?.request(&change).map(drop);
    }
    let fetch = |client: &mut Client| match actions.get {
        Some(key) => client.request(&request(SandeshOp::GET, key)),
        None => client.dump(request(SandeshOp::DUMP, -1), &advance),
    };
    show(session, &actions.view, fetch, print)
}
