//! `vrfstats`: packets of VRFs by what their last nexthop was.

use std::io::{self, Write};

use clap::{ArgGroup, Parser};
use sandesh::SandeshOp;
use sandesh::constants::family::AF_INET;
use sandesh::messages::{Message, VrfStatsReq};

use super::usage::Usage;
use super::{Word, usages};
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::view::{View, each, show};

/// Packets of VRFs, by the kind of their last nexthop.
#[derive(Debug, Parser)]
#[command(name = "vrfstats", group(ArgGroup::new("action").required(true)))]
pub(super) struct VrfStats {
    /// Counters of one VRF.
    #[arg(long, value_name = "VRF", group = "action")]
    get: Option<i32>,
    /// Counters of all VRFs that have seen packets.
    #[arg(long, group = "action")]
    dump: bool,
    #[command(flatten)]
    view: View,
}

impl Word for VrfStats {
    const NAME: &'static str = "vrfstats";
    const USAGE: Usage = usages::VRFSTATS;
    const SOCK_DIR: bool = false;

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        let request = VrfStatsReq {
            h_op: if self.get.is_some() { SandeshOp::GET } else { SandeshOp::DUMP },
            vsr_family: AF_INET as i16,
            vsr_vrf: self.get.unwrap_or(-1),
            vsr_marker: -1,
            ..VrfStatsReq::default()
        };
        let fetch = |client: &mut Client| match self.get {
            Some(_) => client.request(&request),
            None => client.dump(request.clone(), |request, last| {
                if let Message::VrfStatsReq(last) = last {
                    request.vsr_marker = last.vsr_vrf as i16;
                }
            }),
        };
        show(session, &self.view, fetch, |out, objects| {
            each(objects, |stats: &VrfStatsReq| print(out, stats))
        })
    }
}

fn print(out: &mut dyn Write, stats: &VrfStatsReq) -> io::Result<()> {
    let lines: [&[(&str, i64)]; 6] = [
        &[
            ("Discards", stats.vsr_discards),
            ("Resolves", stats.vsr_resolves),
            ("Receives", stats.vsr_receives),
            ("L2 Receives", stats.vsr_l2_receives),
            ("Vrf Translates", stats.vsr_vrf_translates),
            ("Unknown Unicast Floods", stats.vsr_uuc_floods),
        ],
        &[
            ("Ecmp Composites", stats.vsr_ecmp_composites),
            ("L2 Mcast Composites", stats.vsr_l2_mcast_composites),
            ("Fabric Composites", stats.vsr_fabric_composites),
            ("Encap Composites", stats.vsr_encap_composites),
            ("Evpn Composites", stats.vsr_evpn_composites),
        ],
        &[
            ("Udp Tunnels", stats.vsr_udp_tunnels),
            ("Udp Mpls Tunnels", stats.vsr_udp_mpls_tunnels),
            ("Gre Mpls Tunnels", stats.vsr_gre_mpls_tunnels),
            ("Vxlan Tunnels", stats.vsr_vxlan_tunnels),
            ("Pbb Tunnels", stats.vsr_pbb_tunnels),
            ("Mpls over Mpls Tunnels", stats.vsr_udp_mpls_over_mpls_tunnels),
        ],
        &[("L2 Encaps", stats.vsr_l2_encaps), ("Encaps", stats.vsr_encaps)],
        &[("GROs", stats.vsr_gros), ("Diags", stats.vsr_diags)],
        &[
            ("Arp Virtual Proxys", stats.vsr_arp_virtual_proxy),
            ("Arp Virtual Stitchs", stats.vsr_arp_virtual_stitch),
            ("Arp Virtual Floods", stats.vsr_arp_virtual_flood),
            ("Arp Physical Stitchs", stats.vsr_arp_physical_stitch),
            ("Arp Tor Proxys", stats.vsr_arp_tor_proxy),
            ("Arp Physical Floods", stats.vsr_arp_physical_flood),
        ],
    ];
    writeln!(out, "Vrf: {}", stats.vsr_vrf)?;
    for line in lines {
        let counters: Vec<String> = line.iter().map(|(name, count)| format!("{name} {count}")).collect();
        writeln!(out, "{}", counters.join(", "))?;
    }
    writeln!(out)
}
