//! `qosmap`: forwarding classes, and which packets belong to them.

use std::io::{self, Write};

use anyhow::anyhow;
use clap::{ArgGroup, Parser};
use sandesh::messages::{FcMapReq, Message, QosMapReq};
use sandesh::{Record, SandeshOp};

use super::usage::Usage;
use super::{Word, usages};
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, show};

/// Bytes of a netlink message that the original reads first.
const FIRST_READ: usize = 16;

/// Forwarding classes, and which packets belong to them.
#[derive(Debug, Parser)]
#[command(name = "qosmap", group(ArgGroup::new("action").required(true)))]
pub(super) struct QosMap {
    /// Show a forwarding class.
    #[arg(long, value_name = "FC", group = "action")]
    get_fc: Option<i16>,
    /// Create or change a forwarding class.
    #[arg(long, value_name = "FC", group = "action")]
    set_fc: Option<i16>,
    /// List all forwarding classes.
    #[arg(long, group = "action")]
    dump_fc: bool,
    /// Delete a forwarding class.
    #[arg(long, value_name = "FC", group = "action")]
    delete_fc: Option<i16>,
    /// Show a map.
    #[arg(long, value_name = "MAP", group = "action")]
    get_qos: Option<u16>,
    /// Add to a map: the packets with the value given below belong to --fc.
    #[arg(long, value_name = "MAP", group = "action", requires = "fc")]
    set_qos: Option<u16>,
    /// List all maps.
    #[arg(long, group = "action")]
    dump_qos: bool,
    /// Delete a map.
    #[arg(long, value_name = "MAP", group = "action")]
    delete_qos: Option<u16>,
    /// DSCP.
    #[arg(long, value_name = "VALUE")]
    dscp: Option<u8>,
    /// EXP bits of MPLS.
    #[arg(long = "mpls_qos", value_name = "VALUE")]
    mpls_qos: Option<u8>,
    /// 802.1p bits.
    #[arg(long, value_name = "VALUE")]
    dotonep: Option<u8>,
    /// Queue of the NIC.
    #[arg(long, value_name = "NUMBER")]
    queue: Option<u8>,
    /// Forwarding class.
    #[arg(long, value_name = "FC")]
    fc: Option<u8>,
    /// Queues of a network device are set with `tc`.
    #[arg(long, value_name = "DEVICE", group = "action")]
    get_queue: Option<String>,
    /// Queues of a network device are set with `tc`.
    #[arg(long, value_name = "DEVICE", group = "action", num_args = 1.., allow_hyphen_values = true)]
    set_queue: Option<Vec<String>>,
    #[command(flatten)]
    view: View,
}

impl Word for QosMap {
    const NAME: &'static str = "qosmap";
    const USAGE: Usage = usages::QOSMAP;
    const SOCK_DIR: bool = false;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if self.get_queue.is_some() || self.set_queue.is_some() {
            let error = anyhow!("the queues of a device are no matter of the vrouter; use `tc` or `dcb`");
            return Err(error.into());
        }
        match self.change() {
            Some(change) => session.client()?.request(&*change).map(drop)?,
            None => show(
                session,
                &self.view,
                |client| self.fetch(client),
                |out, objects| self.print(out, objects),
            )?,
        }
        // The original's exit status is the length of its second read.
        let status = (session.client()?.last_len() - FIRST_READ) as u8;
        session.out.flush()?;
        Err(Failure::Status(status))
    }
}

impl QosMap {
    fn change(&self) -> Option<Box<dyn Record>> {
        if let Some(class) = self.set_fc {
            return Some(Box::new(FcMapReq {
                h_op: SandeshOp::ADD,
                fmr_id: vec![class],
                fmr_dscp: vec![self.dscp.unwrap_or(0)],
                fmr_mpls_qos: vec![self.mpls_qos.unwrap_or(0)],
                fmr_dotonep: vec![self.dotonep.unwrap_or(0)],
                fmr_queue_id: vec![self.queue.unwrap_or(0)],
                ..FcMapReq::default()
            }));
        }
        if let Some(map) = self.set_qos {
            let class = |given: Option<u8>| given.and(self.fc).into_iter().collect();
            return Some(Box::new(QosMapReq {
                h_op: SandeshOp::ADD,
                qmr_id: map,
                qmr_dscp: self.dscp.into_iter().collect(),
                qmr_dscp_fc_id: class(self.dscp),
                qmr_mpls_qos: self.mpls_qos.into_iter().collect(),
                qmr_mpls_qos_fc_id: class(self.mpls_qos),
                qmr_dotonep: self.dotonep.into_iter().collect(),
                qmr_dotonep_fc_id: class(self.dotonep),
                ..QosMapReq::default()
            }));
        }
        if let Some(class) = self.delete_fc {
            return Some(Box::new(FcMapReq {
                h_op: SandeshOp::DEL,
                fmr_id: vec![class],
                ..FcMapReq::default()
            }));
        }
        let map = self.delete_qos?;
        Some(Box::new(QosMapReq { h_op: SandeshOp::DEL, qmr_id: map, ..QosMapReq::default() }))
    }

    fn fetch(&self, client: &mut Client) -> Result<Vec<Message>, Failure> {
        if let Some(class) = self.get_fc {
            return client.request(&FcMapReq {
                h_op: SandeshOp::GET,
                fmr_id: vec![class],
                ..FcMapReq::default()
            });
        }
        if let Some(map) = self.get_qos {
            return client.request(&QosMapReq { h_op: SandeshOp::GET, qmr_id: map, ..QosMapReq::default() });
        }
        if self.dump_fc {
            let request = FcMapReq { h_op: SandeshOp::DUMP, fmr_marker: -1, ..FcMapReq::default() };
            return client.dump(request, |request, last| {
                if let Message::FcMapReq(last) = last {
                    request.fmr_marker = last.fmr_id.last().copied().unwrap_or(i16::MAX);
                }
            });
        }
        let request = QosMapReq { h_op: SandeshOp::DUMP, qmr_marker: -1, ..QosMapReq::default() };
        client.dump(request, |request, last| {
            if let Message::QosMapReq(last) = last {
                request.qmr_marker = last.qmr_id as i16;
            }
        })
    }

    fn print(&self, out: &mut dyn Write, objects: &[Message]) -> io::Result<()> {
        if self.dump_fc || self.get_fc.is_some() {
            writeln!(out, "Forwarding Class Map 0\n FC            DSCP  EXP  .1p    Queue")?;
        }
        objects.iter().try_for_each(|object| match object {
            Message::FcMapReq(classes) => print_classes(out, classes),
            Message::QosMapReq(map) => print_map(out, map),
            _ => Ok(()),
        })
    }
}

fn print_classes(out: &mut dyn Write, classes: &FcMapReq) -> io::Result<()> {
    let at = |list: &[u8], number: usize| list.get(number).copied().unwrap_or(0);
    for (number, class) in classes.fmr_id.iter().enumerate() {
        writeln!(
            out,
            "{class:3}{:16}{:5}{:5}{:9}",
            at(&classes.fmr_dscp, number),
            at(&classes.fmr_mpls_qos, number),
            at(&classes.fmr_dotonep, number),
            at(&classes.fmr_queue_id, number)
        )?;
    }
    Ok(())
}

fn print_map(out: &mut dyn Write, map: &QosMapReq) -> io::Result<()> {
    writeln!(out, "QOS Map {}/{}", map.qmr_rid, map.qmr_id)?;
    let tables = [
        ("DSCP", &map.qmr_dscp, &map.qmr_dscp_fc_id),
        ("EXP", &map.qmr_mpls_qos, &map.qmr_mpls_qos_fc_id),
        ("DOTONEP", &map.qmr_dotonep, &map.qmr_dotonep_fc_id),
    ];
    for (name, values, classes) in tables {
        writeln!(out, "{name:>8}{:>16}", "FC")?;
        for (value, class) in values.iter().zip(classes).filter(|(_, class)| **class != 0) {
            writeln!(out, "{value:8}{class:16}")?;
        }
        writeln!(out)?;
    }
    writeln!(out)
}
