//! `vif`: interfaces.

use std::time::Duration;

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::constants::vif_flag::{VIF_FLAG_GET_DROP_STATS, VIF_FLAG_SERVICE_IF};
use sandesh::messages::{InterfaceReq, Message, VrfAssignReq};

use super::Word;
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, show};

mod change;
mod print;
mod provision;

/// Interfaces of the vrouter.
#[derive(Debug, Parser)]
#[command(name = "vif", group(ArgGroup::new("action").required(true)))]
pub(super) struct Vif {
    /// List all interfaces.
    #[arg(long, group = "action")]
    list: bool,
    /// Show one interface.
    #[arg(long, value_name = "INDEX", group = "action")]
    get: Option<i32>,
    /// --get means the index of the system's device.
    #[arg(long, requires = "get")]
    kernel: bool,
    /// Counters of one core, from 0.
    #[arg(long, value_name = "CORE")]
    core: Option<u32>,
    /// Drop counters too.
    #[arg(long)]
    get_drop_stats: bool,
    /// Rates, every second, on a terminal.
    #[arg(long)]
    rate: bool,
    /// Add an interface.
    #[arg(long, value_name = "NAME", group = "action")]
    add: Option<String>,
    #[command(flatten)]
    options: change::AddOptions,
    /// Set the VRF of a VLAN of an interface.
    #[arg(long, value_name = "INDEX", group = "action", requires = "vlan")]
    set: Option<i32>,
    /// VLAN id.
    #[arg(long, value_name = "ID")]
    vlan: Option<i16>,
    /// Delete an interface.
    #[arg(long, value_name = "INDEX|NAME", group = "action")]
    delete: Option<String>,
    /// Clear counters, of all interfaces or of the one given with --id.
    #[arg(long, group = "action")]
    clear: bool,
    /// Make the host's device that an interface of type vhost attaches to.
    #[arg(long, value_name = "NAME", group = "action")]
    create: Option<String>,
    #[command(flatten)]
    view: View,
    // The original's option parser does not look at these.
    #[arg(hide = true)]
    ignored: Vec<String>,
}

impl Word for Vif {
    const NAME: &'static str = "vif";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if let Some(name) = &self.create {
            return provision::create(name, self.options.mac.as_deref());
        }
        if let Some(name) = &self.add {
            return change::add(session, name, &self.options);
        }
        if let Some(name) = &self.delete {
            return change::delete(session, name);
        }
        if let (Some(index), Some(vlan)) = (self.set, self.vlan) {
            return change::set(session, index, vlan, self.options.vrf);
        }
        if self.clear {
            return change::clear(session, self.options.id, self.core);
        }
        self.show(session)
    }
}

impl Vif {
    fn show(mut self, session: &mut Session) -> Result<(), Failure> {
        if self.rate {
            print::wait_for_terminal(session)?;
            self.view.watch.get_or_insert(Duration::from_secs(1));
        }
        let request = InterfaceReq {
            h_op: if self.get.is_some() { SandeshOp::GET } else { SandeshOp::DUMP },
            vifr_core: core(self.core),
            vifr_flags: if self.get_drop_stats { VIF_FLAG_GET_DROP_STATS } else { 0 },
            vifr_idx: self.get.filter(|_| !self.kernel).unwrap_or(-1),
            vifr_os_idx: self.get.filter(|_| self.kernel).unwrap_or(-1),
            vifr_marker: -1,
            ..InterfaceReq::default()
        };
        let is_node = session.is_node();
        let fetch = |client: &mut Client| match self.get {
            Some(_) => get(client, &request),
            None => client.dump(request.clone(), |request, last| {
                if let Message::InterfaceReq(last) = last {
                    request.vifr_marker = last.vifr_idx;
                }
            }),
        };
        show(session, &self.view, fetch, |out, objects| print::table(out, objects, is_node))
    }
}

/// Number of a core in messages, where 0 is their sum.
fn core(core: Option<u32>) -> u32 {
    core.map_or(0, |core| core.saturating_add(1))
}

/// One interface, and the VRFs of its VLANs if it has such.
fn get(client: &mut Client, request: &InterfaceReq) -> Result<Vec<Message>, Failure> {
    let mut objects = client.request(request)?;
    if let Some(Message::InterfaceReq(vif)) = objects.first()
        && vif.vifr_flags & VIF_FLAG_SERVICE_IF != 0
    {
        let index = vif.vifr_idx as i16;
        let request = VrfAssignReq {
            h_op: SandeshOp::DUMP,
            var_vif_index: index,
            var_marker: -1,
            ..VrfAssignReq::default()
        };
        objects.extend(client.dump(request, |request, last| {
            if let Message::VrfAssignReq(last) = last {
                request.var_marker = last.var_vlan_id;
            }
        })?);
    }
    Ok(objects)
}
