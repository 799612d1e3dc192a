//! `vrmemstats`: objects in memory.

use clap::Parser;
use sandesh::messages::MemStatsReq;
use sandesh::{Record, SandeshOp, Value};

use super::usage::Usage;
use super::{Word, usages};
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, each, show};

/// Fields in the order in which they are printed, without `vms_` and `_object`, and their names.
const NAMES: [(&str, &str); 68] = [
    ("assembler_table", "Assembler Table"),
    ("bridge_mac", "Bridge MAC"),
    ("btable", "Btable"),
    ("build_info", "Build Info"),
    ("defer", "Defer"),
    ("drop_stats", "Drop Stats"),
    ("drop_stats_req", "Drop Stats Request"),
    ("flow_queue", "Flow queue"),
    ("flow_req", "Flow Request"),
    ("flow_req_path", "Flow Request Path"),
    ("flow_hold_stat", "Flow Hold Stat"),
    ("flow_link_local", "Flow Link Local"),
    ("flow_metadata", "Flow Metadata"),
    ("flow_table_data", "Flow Table Data"),
    ("flow_table_info", "Flow Table Info"),
    ("fragment", "Fragment"),
    ("fragment_queue", "Fragment Queue"),
    ("fragment_queue_element", "Fragment Queue Element"),
    ("fragment_scanner", "Fragment Scanner"),
    ("hpacket_pool", "Host Packet Pool"),
    ("htable", "Hash Table"),
    ("interface", "Interface"),
    ("interface_bridge_lock", "Interface Bridge Lock"),
    ("interface_fat_flow_config", "Interface Fat Flow Config"),
    ("interface_mac", "Interface MAC"),
    ("interface_mirror_meta", "Interface Mirror Meta Objects"),
    ("interface_req", "Interface Request"),
    ("interface_req_mac", "Interface Request MAC"),
    ("interface_req_pbb_mac", "Interface Request PBB MAC"),
    ("interface_req_bridge_id", "Interface Req Bridge ID"),
    ("interface_req_mirror_meta", "Interface Mirror Req Meta Objects"),
    ("interface_queue", "Interface Queue"),
    ("interface_req_name", "Interface Request Name"),
    ("interface_stats", "Interface Stats"),
    ("interface_table", "Interface Table"),
    ("interface_vrf_table", "VRF Table"),
    ("itable", "Index Table"),
    ("malloc", "Malloc"),
    ("message", "Message"),
    ("message_response", "Message Response"),
    ("message_dump", "Message Dump"),
    ("mem_stats_req", "Memory Stats Request"),
    ("mirror", "Mirror"),
    ("mirror_table", "Mirror Table"),
    ("mirror_meta", "Mirror Metadata"),
    ("mtrie", "MTRIE"),
    ("mtrie_bucket", "MTRIE Bucket"),
    ("mtrie_stats", "MTRIE Stats"),
    ("mtrie_table", "MTRIE Table"),
    ("network_address", "Network Address"),
    ("nexthop", "NextHop"),
    ("nexthop_component", "NextHop Component"),
    ("nexthop_req_list", "NextHop Request List"),
    ("nexthop_req_encap", "NextHop Request Encap"),
    ("nexthop_req_bmac", "NextHop Request B-MAC"),
    ("nexthop_req", "NextHop Request"),
    ("route_table", "Route Table"),
    ("route_req_mac", "Route Request MAC"),
    ("timer", "Timer"),
    ("usock", "USOCK"),
    ("usock_poll", "USOCK Poll"),
    ("usock_buf", "USOCK Buffer"),
    ("usock_iovec", "USOCK IOVEC"),
    ("vrouter_req", "Vrouter Request"),
    ("qos_map", "QOS Map"),
    ("fc", "Forwarding Class"),
    ("interface_fat_flow_ipv4_exclude_list", "Fat Flow IPv4 Exclude List"),
    ("interface_fat_flow_ipv6_exclude_list", "Fat Flow IPv6 Exclude List"),
];

/// Objects in memory, as far as the vrouter counts them.
#[derive(Debug, Parser)]
#[command(name = "vrmemstats")]
pub(super) struct VrMemStats {
    /// As without it.
    #[arg(long)]
    get: bool,
    #[command(flatten)]
    view: View,
}

impl Word for VrMemStats {
    const NAME: &'static str = "vrmemstats";
    const USAGE: Usage = usages::VRMEMSTATS;
    const SOCK_DIR: bool = false;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let request = MemStatsReq { h_op: SandeshOp::GET, ..MemStatsReq::default() };
        show(
            session,
            &self.view,
            |client| client.request(&request),
            |out, objects| each(objects, |stats: &MemStatsReq| print(out, stats)),
        )
    }
}

fn print(out: &mut dyn std::io::Write, stats: &MemStatsReq) -> std::io::Result<()> {
    writeln!(out, "vRouter memory usage statistics\n")?;
    writeln!(out, "Alloced {} Freed {}", stats.vms_alloced, stats.vms_freed)?;
    writeln!(out, "Outstanding memory/object:\n")?;
    for (field, name) in NAMES {
        if let Some(Value::I64(count)) = stats.get(&format!("vms_{field}_object")) {
            let gap = if name.len() < 32 { 32 - name.len() } else { 3 };
            writeln!(out, "{name}{:gap$}{count}", "")?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::NAMES;
    use sandesh::messages::Kind;

    #[test]
    fn every_counter_has_a_name() {
        let fields = Kind::MemStatsReq.fields().iter();
        let fields = fields.filter_map(|field| field.strip_prefix("vms_")?.strip_suffix("_object"));
        let mut fields: Vec<&str> = fields.collect();
        let mut names = NAMES.map(|(field, _)| field).to_vec();
        fields.sort_unstable();
        names.sort_unstable();
        assert_eq!(names, fields);
    }
}
