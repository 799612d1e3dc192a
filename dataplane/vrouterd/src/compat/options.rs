//! The options themselves (docs/spec/options.md).

use std::path::PathBuf;

use clap::Parser;

/// Userspace vrouter, under the name and with the options of the original forwarder.
///
/// Without `--vdev` every interface is a vhost-user client, for test rigs.
#[derive(Debug, Parser)]
#[command(name = super::NAME, version, infer_long_args = true, after_help = crate::exit::HELP)]
#[allow(clippy::struct_excessive_bools, reason = "the options of the original")]
pub(super) struct Options {
    /// Stay in the foreground.
    #[arg(long)]
    pub(super) no_daemon: bool,
    /// Ordinary memory for tables, also with `--socket-mem`.
    #[arg(long)]
    pub(super) no_huge: bool,
    /// Tables in a mounted hugetlbfs, if there is one; how much is not taken from this.
    #[arg(long, value_name = "MB,...")]
    pub(super) socket_mem: Option<String>,
    /// Where messages go; standard error in the foreground, /var/log/contrail/contrail-vrouter-dpdk.log otherwise.
    #[arg(long = "log_file", alias = "log-file", value_name = "PATH")]
    pub(super) log_file: Option<PathBuf>,
    /// The least important messages: 1 (emergency) to 8 (debug).
    #[arg(long = "log-level", alias = "log_level", value_name = "N", value_parser = clap::value_parser!(u8).range(1..=8))]
    pub(super) log_level: Option<u8>,
    /// The fabric device: `net_af_packet0,iface=NAME`. Bonds are made by the kernel.
    #[arg(long, value_name = "CONF")]
    pub(super) vdev: Vec<String>,
    /// Ignored: what a device offers is used.
    #[arg(long)]
    pub(super) offloads: bool,
    /// VLAN of the fabric: the lower twelve bits. A device for it is made in the kernel.
    #[arg(long = "vlan_tci", value_name = "TCI")]
    pub(super) vlan_tci: Option<u16>,
    /// Kernel interface for everything else; made over the fabric device if that has no IPv4 address.
    #[arg(long = "vlan_fwd_intf_name", value_name = "NAME")]
    pub(super) vlan_fwd_intf_name: Option<String>,
    /// Bridge entries in buckets.
    #[arg(long = "vr_bridge_entries", value_name = "N")]
    pub(super) bridge_entries: Option<i64>,
    /// Bridge entries besides.
    #[arg(long = "vr_bridge_oentries", value_name = "N")]
    pub(super) bridge_overflow: Option<i64>,
    /// Flow entries in buckets.
    #[arg(long = "vr_flow_entries", value_name = "N")]
    pub(super) flow_entries: Option<i64>,
    /// Flow entries besides.
    #[arg(long = "vr_oflow_entries", value_name = "N")]
    pub(super) flow_overflow: Option<i64>,
    /// MPLS labels.
    #[arg(long = "vr_mpls_labels", value_name = "N")]
    pub(super) labels: Option<i64>,
    /// Nexthops.
    #[arg(long = "vr_nexthops", value_name = "N")]
    pub(super) nexthops: Option<i64>,
    /// VRFs.
    #[arg(long = "vr_vrfs", value_name = "N")]
    pub(super) vrfs: Option<i64>,
    /// Interfaces.
    #[arg(long = "vr_interfaces", value_name = "N")]
    pub(super) interfaces: Option<i64>,
    /// Accepted; memory is always checked.
    #[arg(long = "vr_memory_alloc_checks")]
    pub(super) memory_alloc_checks: bool,
    /// Packet buffers of each worker.
    #[arg(long = "vr_mempool_sz", value_name = "N")]
    pub(super) mempool_size: Option<i64>,
    /// Bytes of a packet buffer; super-frames have larger ones anyway.
    #[arg(long = "vr_packet_sz", value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=65_536))]
    pub(super) packet_size: Option<u32>,
    /// Descriptors of a sending ring, a power of two; all rings of a device are as long as the longest.
    #[arg(long = "dpdk_txd_sz", value_name = "N")]
    pub(super) txd_size: Option<u32>,
    /// Descriptors of a receiving ring, as above.
    #[arg(long = "dpdk_rxd_sz", value_name = "N")]
    pub(super) rxd_size: Option<u32>,
    /// As `--dpdk_rxd_sz`.
    #[arg(long = "vr_dpdk_rx_ring_sz", value_name = "N")]
    pub(super) rx_ring_size: Option<u32>,
    /// As `--dpdk_txd_sz`.
    #[arg(long = "vr_dpdk_tx_ring_sz", value_name = "N")]
    pub(super) tx_ring_size: Option<u32>,
    /// Dropped packets that each worker logs.
    #[arg(long = "vr_dropstats_bufsz", value_name = "N")]
    pub(super) dropstats_size: Option<i64>,
    /// 0: workers never sleep; otherwise they sleep when there is nothing to do.
    #[arg(long = "yield_option", value_name = "N")]
    pub(super) yield_option: Option<u8>,
    /// Accepted; a worker runs each packet to completion.
    #[arg(long = "vr_no_load_balance")]
    pub(super) no_load_balance: bool,
    /// Ignored: a profile of one kind of device.
    #[arg(long)]
    pub(super) ddp: bool,
    /// CPUs of the control thread: a mask such as 0x6, or numbers such as 1,2 or 4-7.
    #[arg(long = "service_core_mask", value_name = "MASK")]
    pub(super) service_core_mask: Option<String>,
    /// CPUs of the housekeeping thread, as above.
    #[arg(long = "dpdk_ctrl_thread_mask", value_name = "MASK")]
    pub(super) ctrl_thread_mask: Option<String>,
    /// 1: any reset closes a TCP flow.
    #[arg(long = "vr_uncond_close_flow_on_tcp_rst", value_name = "N", default_value_t = 0)]
    pub(super) close_on_reset: u32,
    /// Directory of sockets and shared tables.
    #[arg(long = "vr_socket_dir", value_name = "DIR")]
    pub(super) socket_dir: Option<PathBuf>,
    /// Accepted; there is no such port.
    #[arg(long = "vr_netlink_port", value_name = "N")]
    pub(super) netlink_port: Option<u16>,
    /// Flows that may wait for the agent at a time.
    #[arg(long = "vr_flow_hold_limit", value_name = "N")]
    pub(super) hold_limit: Option<i64>,
}

impl Options {
    /// What was asked for and is not done, and what to do instead.
    pub(super) fn warnings(&self) -> Vec<&'static str> {
        [
            (self.offloads, "--offloads: what the device offers is used anyway"),
            (self.ddp, "--ddp: there are no such profiles here"),
        ]
        .into_iter()
        .filter_map(|(given, warning)| given.then_some(warning))
        .collect()
    }
}
