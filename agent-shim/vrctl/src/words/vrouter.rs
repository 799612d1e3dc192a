//! `vrouter`: limits, options and logging.

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::messages::{Message, VrouterOps};

use super::usage::Usage;
use super::{Word, usages};
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, each, show};

mod logging;
mod print;

/// Limits, options and logging.
#[derive(Debug, Parser)]
#[command(
    name = "vrouter",
    override_usage = "vrouter --info [--json] [--watch <SECONDS>]\n       vrouter <OPTION> <VALUE>...",
    group(ArgGroup::new("action").required(true).multiple(true))
)]
pub(super) struct Vrouter {
    /// Show everything.
    #[arg(long, group = "action")]
    info: bool,
    #[command(flatten)]
    options: Options,
    #[command(flatten)]
    logging: logging::Logging,
    #[command(flatten)]
    view: View,
}

/// Options that can be changed.
#[derive(Debug, clap::Args)]
#[command(rename_all = "snake_case", next_help_heading = "Options that are set")]
struct Options {
    /// GRO.
    #[arg(long, value_name = "0|1", group = "action")]
    perfr: Option<i32>,
    /// Segmentation in software.
    #[arg(long, value_name = "0|1", group = "action")]
    perfs: Option<i32>,
    /// Adjust the TCP MSS of packets from VMs.
    #[arg(long, value_name = "0|1", group = "action")]
    from_vm_mss_adj: Option<i32>,
    /// Adjust the TCP MSS of packets to VMs.
    #[arg(long, value_name = "0|1", group = "action")]
    to_vm_mss_adj: Option<i32>,
    /// RPS after the inner header; remembered only.
    #[arg(long, value_name = "0|1", group = "action")]
    perfr1: Option<i32>,
    /// RPS after GRO; remembered only.
    #[arg(long, value_name = "0|1", group = "action")]
    perfr2: Option<i32>,
    /// RPS from the receive handler; remembered only.
    #[arg(long, value_name = "0|1", group = "action")]
    perfr3: Option<i32>,
    /// Pull the inner header; remembered only.
    #[arg(long, value_name = "0|1", group = "action")]
    perfp: Option<i32>,
    /// CPU for perfr1; remembered only.
    #[arg(long, value_name = "CPU", group = "action")]
    perfq1: Option<i32>,
    /// CPU for perfr2; remembered only.
    #[arg(long, value_name = "CPU", group = "action")]
    perfq2: Option<i32>,
    /// CPU for perfr3; remembered only.
    #[arg(long, value_name = "CPU", group = "action")]
    perfq3: Option<i32>,
    /// Checksums of outer UDP headers.
    #[arg(long, value_name = "0|1", group = "action")]
    udp_coff: Option<i32>,
    /// Flows that may wait for the agent.
    #[arg(long, value_name = "FLOWS", group = "action")]
    flow_hold_limit: Option<i32>,
    /// MPLS over UDP instead of GRE.
    #[arg(long, alias = "set-mudp", value_name = "0|1", group = "action")]
    mudp: Option<i32>,
    /// Tokens for bursts of new flows.
    #[arg(long, value_name = "TOKENS", group = "action")]
    burst_tokens: Option<i32>,
    /// Interval at which tokens are added, in milliseconds.
    #[arg(long, value_name = "MS", group = "action")]
    burst_interval: Option<i32>,
    /// Tokens that are added.
    #[arg(long, value_name = "TOKENS", group = "action")]
    burst_step: Option<i32>,
    /// Priority tags on the fabric.
    #[arg(long = "set-priority-tagging", value_name = "0|1", group = "action")]
    priority_tagging: Option<u32>,
    /// Dump packets.
    #[arg(long = "packet-dump", value_name = "0|1", group = "action")]
    packet_dump: Option<i32>,
}

impl Word for Vrouter {
    const NAME: &'static str = "vrouter";
    const USAGE: Usage = usages::VROUTER;
    const SOCK_DIR: bool = false;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if self.info {
            let is_r220 = session.client()?.is_r220();
            return show(session, &self.view, fetch, |out, objects| {
                each(objects, |ops: &VrouterOps| print::info(out, ops, is_r220))
            });
        }
        if self.logging.is_question() {
            return show(session, &self.view, fetch, |out, objects| {
                each(objects, |ops: &VrouterOps| self.logging.answer(out, ops))
            });
        }
        let client = session.client()?;
        let now = client.object::<VrouterOps>(&get())?;
        let mut request = self.options.request(&now);
        self.logging.write(&mut request);
        client.request(&request).map(drop)
    }
}

fn get() -> VrouterOps {
    VrouterOps { h_op: SandeshOp::GET, ..VrouterOps::default() }
}

fn fetch(client: &mut Client) -> Result<Vec<Message>, Failure> {
    client.request(&get())
}

impl Options {
    /// The request that sets what was given. -1 leaves an option as it is; there is no such value for
    /// priority tagging.
    fn request(&self, now: &VrouterOps) -> VrouterOps {
        let set = |option: Option<i32>| option.unwrap_or(-1);
        VrouterOps {
            h_op: SandeshOp::ADD,
            vo_perfr: set(self.perfr),
            vo_perfs: set(self.perfs),
            vo_from_vm_mss_adj: set(self.from_vm_mss_adj),
            vo_to_vm_mss_adj: set(self.to_vm_mss_adj),
            vo_perfr1: set(self.perfr1),
            vo_perfr2: set(self.perfr2),
            vo_perfr3: set(self.perfr3),
            vo_perfp: set(self.perfp),
            vo_perfq1: set(self.perfq1),
            vo_perfq2: set(self.perfq2),
            vo_perfq3: set(self.perfq3),
            vo_udp_coff: set(self.udp_coff),
            vo_flow_hold_limit: set(self.flow_hold_limit),
            vo_mudp: set(self.mudp),
            vo_burst_tokens: set(self.burst_tokens),
            vo_burst_interval: set(self.burst_interval),
            vo_burst_step: set(self.burst_step),
            vo_priority_tagging: self.priority_tagging.unwrap_or(now.vo_priority_tagging),
            vo_packet_dump: set(self.packet_dump),
            ..VrouterOps::default()
        }
    }
}
