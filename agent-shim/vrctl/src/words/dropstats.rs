//! `dropstats`: packets that were dropped, by reason.

use clap::Parser;
use sandesh::messages::{DropStatsReq, PktDropLogReq};
use sandesh::{Record, SandeshOp, Value};
use std::io::{self, Write};

use super::Word;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, each, show};

mod log;

/// Names that operators know, in the order in which they are printed.
const NAMES: [(&str, &str); 59] = [
    ("vds_invalid_if", "Invalid IF"),
    ("vds_trap_no_if", "Trap No IF"),
    ("vds_interface_tx_discard", "IF TX Discard"),
    ("vds_interface_drop", "IF Drop"),
    ("vds_interface_rx_discard", "IF RX Discard"),
    ("vds_flow_unusable", "Flow Unusable"),
    ("vds_flow_no_memory", "Flow No Memory"),
    ("vds_flow_table_full", "Flow Table Full"),
    ("vds_flow_nat_no_rflow", "Flow NAT no rflow"),
    ("vds_flow_action_drop", "Flow Action Drop"),
    ("vds_flow_action_invalid", "Flow Action Invalid"),
    ("vds_flow_invalid_protocol", "Flow Invalid Protocol"),
    ("vds_flow_queue_limit_exceeded", "Flow Queue Limit Exceeded"),
    ("vds_drop_new_flow", "New Flow Drops"),
    ("vds_flow_evict", "Flow Unusable (Eviction)"),
    ("vds_trap_original", "Original Packet Trapped"),
    ("vds_discard", "Discards"),
    ("vds_ttl_exceeded", "TTL Exceeded"),
    ("vds_mcast_clone_fail", "Mcast Clone Fail"),
    ("vds_cloned_original", "Cloned Original"),
    ("vds_clone_fail", "Clone Fail"),
    ("vds_invalid_nh", "Invalid NH"),
    ("vds_invalid_label", "Invalid Label"),
    ("vds_invalid_protocol", "Invalid Protocol"),
    ("vds_leaf_to_leaf", "Etree Leaf to Leaf"),
    ("vds_bmac_isid_mismatch", "Bmac/ISID Mismatch"),
    ("vds_rewrite_fail", "Rewrite Fail"),
    ("vds_invalid_mcast_source", "Invalid Mcast Source"),
    ("vds_pkt_loop", "Packet Loop"),
    ("vds_push", "Push Fails"),
    ("vds_pull", "Pull Fails"),
    ("vds_duplicated", "Duplicated"),
    ("vds_head_alloc_fail", "Head Alloc Fails"),
    ("vds_pcow_fail", "PCOW fails"),
    ("vds_invalid_packet", "Invalid Packets"),
    ("vds_misc", "Misc"),
    ("vds_nowhere_to_go", "Nowhere to go"),
    ("vds_invalid_arp", "Invalid ARPs"),
    ("vds_cksum_err", "Checksum errors"),
    ("vds_no_fmd", "No Fmd"),
    ("vds_invalid_vnid", "Invalid VNID"),
    ("vds_frag_err", "Fragment errors"),
    ("vds_invalid_source", "Invalid Source"),
    ("vds_mcast_df_bit", "Jumbo Mcast Pkt with DF Bit"),
    ("vds_l2_no_route", "No L2 Route"),
    ("vds_no_memory", "Memory Failures"),
    ("vds_fragment_queue_fail", "Fragment Queueing Failures"),
    ("vds_no_crypt_path", "No Encrypt Path Failures"),
    ("vds_invalid_hbs_pkt", "Invalid HBS received packet"),
    ("vds_no_frag_entry", "No Fragment Entries"),
    ("vds_icmp_error", "ICMP errors"),
    ("vds_invalid_underlay_ecmp", "Invalid Underlay ECMP"),
    ("vds_vlan_fwd_tx", "VLAN fwd intf failed TX"),
    ("vds_vlan_fwd_enq", "VLAN fwd intf failed enq"),
    // Only R2.20 has these.
    ("vds_arp_no_where_to_go", "ARP no where to go"),
    ("vds_arp_no_route", "ARP no route"),
    ("vds_garp_from_vm", "GARP"),
    ("vds_head_space_reserve_fail", "Head Space Reserve Fails"),
    ("vds_flood", "Flood"),
];

/// Packets that were dropped, by reason. Reasons that never occurred are not printed.
#[derive(Debug, Parser)]
#[command(name = "dropstats")]
pub(super) struct DropStats {
    /// Counters of one core, from 0.
    #[arg(long, short, value_name = "CORE")]
    core: Option<i16>,
    /// Set the counters to zero.
    #[arg(long)]
    clear: bool,
    /// Packets that were dropped lately, of one core; 0 is all cores.
    #[arg(long, short, value_name = "CORE", conflicts_with = "clear")]
    log: Option<i16>,
    /// Empty that log.
    #[arg(long, conflicts_with_all = ["clear", "log"])]
    log_clear: bool,
    /// Leave the bytes of packets out of that log, and with them addresses and ports.
    #[arg(long, value_name = "0|1", value_parser = clap::value_parser!(u8).range(..=1))]
    log_minimal: Option<u8>,
    /// Log only drops for one reason, named as the fields of --json without `vds_`.
    #[arg(long, value_name = "REASON|all")]
    log_reason: Option<String>,
    #[command(flatten)]
    view: View,
}

impl Word for DropStats {
    const NAME: &'static str = "dropstats";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if let Some(core) = self.log {
            return log::show_log(session, core, &self.view);
        }
        if self.log_clear {
            return log::clear(session.client()?);
        }
        if self.log_minimal.is_some() || self.log_reason.is_some() {
            let client = session.client()?;
            self.log_minimal.map_or(Ok(()), |minimal| log::set_minimal(client, minimal == 1))?;
            return self.log_reason.map_or(Ok(()), |reason| log::set_reason(client, &reason));
        }
        let op = if self.clear { SandeshOp::RESET } else { SandeshOp::GET };
        let core = self.core.map_or(0, |core| core.saturating_add(1));
        let request = DropStatsReq { h_op: op, vds_core: core, ..DropStatsReq::default() };
        if self.clear {
            return session.client()?.request(&request).map(drop);
        }
        show(
            session,
            &self.view,
            |client| client.request(&request),
            |out, objects| each(objects, |drops: &DropStatsReq| print(out, drops)),
        )
    }
}

/// The counters that are not zero.
pub(super) fn print(out: &mut dyn Write, drops: &DropStatsReq) -> io::Result<()> {
    let mut counted = counters(drops).filter(|(_, count)| *count != 0);
    counted.try_for_each(|(name, count)| writeln!(out, "{name:<30}{count}"))
}

/// All dropped packets.
pub(super) fn total(drops: &DropStatsReq) -> i64 {
    counters(drops).map(|(_, count)| count).sum()
}

fn counters(drops: &DropStatsReq) -> impl Iterator<Item = (&'static str, i64)> {
    NAMES.iter().filter_map(|(field, name)| match drops.get(field)? {
        Value::I64(count) => Some((*name, count)),
        _ => None,
    })
}
