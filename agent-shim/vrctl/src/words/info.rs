//! `vrinfo`, `dpdkinfo`, `dpdkconf`: texts that the vrouter makes (control.md 4.13).

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::constants::info_msg;
use sandesh::messages::{InfoReq, Message};

use super::usage::Usage;
use super::{Word, usages};
use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::view::{View, each, show};

/// Versions.
#[derive(Debug, Parser)]
#[command(name = "vrinfo", group(ArgGroup::new("action").required(true)))]
pub(super) struct VrInfo {
    /// Version of the vrouter.
    #[arg(short, long, group = "action")]
    version: bool,
    /// Size of the vrouter's buffer for the text.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    buffsz: i32,
    #[command(flatten)]
    view: View,
}

impl Word for VrInfo {
    const NAME: &'static str = "vrinfo";
    const USAGE: Usage = usages::VRINFO;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        tell(session, &self.view, info_msg::INFO_VER, "", self.buffsz)
    }
}

/// What the forwarder tells about its ports, workers and memory.
#[derive(Debug, Parser)]
#[command(name = "dpdkinfo", group(ArgGroup::new("action").required(true)))]
pub(super) struct DpdkInfo {
    /// Version.
    #[arg(short, long, group = "action")]
    version: bool,
    /// Members of the bond.
    #[arg(short, long, group = "action")]
    bond: bool,
    /// LACP of the bond.
    #[arg(short, long, value_name = "all|conf", group = "action")]
    lacp: Option<String>,
    /// Pools of packet buffers.
    #[arg(short, long, value_name = "all|NAME", group = "action")]
    mempool: Option<String>,
    /// Counters of the fabric device.
    #[arg(short = 'n', long, value_name = "eth", group = "action")]
    stats: Option<String>,
    /// All counters of the fabric device.
    #[arg(
        short = 'x', long, value_name = "all|NUMBER", group = "action",
        num_args = 0..=1, require_equals = true, default_missing_value = "all"
    )]
    xstats: Option<String>,
    /// Workers and their ports.
    #[arg(short = 'c', long, group = "action")]
    lcore: bool,
    /// The forwarder as a whole.
    #[arg(short, long, group = "action")]
    app: bool,
    /// Packet classification of the NIC.
    #[arg(short, long, value_name = "list", group = "action")]
    ddp: Option<String>,
    /// Size of the vrouter's buffer for the text.
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    buffsz: i32,
    #[command(flatten)]
    view: View,
}

impl Word for DpdkInfo {
    const NAME: &'static str = "dpdkinfo";
    const USAGE: Usage = usages::DPDKINFO;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let flag = |set: bool| set.then_some("");
        let topics = [
            (info_msg::INFO_VER_DPDK, flag(self.version)),
            (info_msg::INFO_BOND, flag(self.bond)),
            (info_msg::INFO_LACP, self.lacp.as_deref()),
            (info_msg::INFO_MEMPOOL, self.mempool.as_deref()),
            (info_msg::INFO_STATS, self.stats.as_deref()),
            (info_msg::INFO_XSTATS, self.xstats.as_deref()),
            (info_msg::INFO_LCORE, flag(self.lcore)),
            (info_msg::INFO_APP, flag(self.app)),
            (info_msg::INFO_DDP, self.ddp.as_deref()),
        ];
        let asked = topics.into_iter().find_map(|(topic, argument)| Some((topic, argument?)));
        match asked {
            Some((topic, argument)) => tell(session, &self.view, topic, argument, self.buffsz),
            None => Ok(()),
        }
    }
}

/// Settings of the forwarder.
#[derive(Debug, Parser)]
#[command(name = "dpdkconf", group(ArgGroup::new("action").required(true)))]
pub(super) struct DpdkConf {
    /// Load or remove the packet classification of the NIC.
    #[arg(long, value_parser = ["add", "delete"], group = "action")]
    ddp: Option<String>,
    /// `list`, or the number of a log type (or `global`) and a level from 1 to 8.
    #[arg(long, num_args = 1..=2, value_names = ["list|global|TYPE", "LEVEL"], group = "action")]
    log: Vec<String>,
    #[command(flatten)]
    view: View,
}

impl Word for DpdkConf {
    const NAME: &'static str = "dpdkconf";
    const USAGE: Usage = usages::DPDKCONF;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let (topic, argument) = match (self.ddp.as_deref(), self.log.as_slice()) {
            (Some("delete"), _) => (info_msg::CONF_DEL_DDP, "delete".to_owned()),
            (Some(_), _) => (info_msg::CONF_ADD_DDP, "add".to_owned()),
            (None, [one]) if one == "list" => (info_msg::CONF_LOG_LIST, "list".to_owned()),
            (None, parts) => (info_msg::CONF_LOG, parts.join(" ")),
        };
        tell(session, &self.view, topic, &argument, 0)
    }
}

/// Prints the text about a topic.
fn tell(session: &mut Session, view: &View, topic: i16, argument: &str, size: i32) -> Result<(), Failure> {
    let request = InfoReq {
        h_op: SandeshOp::DUMP,
        vdu_marker: -1,
        vdu_msginfo: topic,
        vdu_outbufsz: size,
        vdu_inbuf: if argument.is_empty() { Vec::new() } else { [argument.as_bytes(), &[0]].concat() },
        ..InfoReq::default()
    };
    show(
        session,
        view,
        |client| {
            client.dump(request.clone(), |request, last| {
                if let Message::InfoReq(last) = last {
                    request.vdu_marker = last.vdu_index;
                    request.vdu_buff_table_id = last.vdu_buff_table_id;
                }
            })
        },
        |out, objects| each(objects, |piece: &InfoReq| write!(out, "{}", text::c_text(&piece.vdu_proc_info))),
    )
}
