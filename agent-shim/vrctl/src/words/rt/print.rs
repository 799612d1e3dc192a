//! Routes as text.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use sandesh::constants::{bridge_flag, route_flag};
use sandesh::messages::{Message, RouteReq};

use super::Family;
use crate::text;

const INET_HEADER: &str =
    "Destination           PPL        Flags        Label         Nexthop    Stitched MAC(Index)";
const BRIDGE_HEADER: &str =
    "Index       DestMac                  Flags           Label/VNID      Nexthop           Stats";

const INET_FLAGS: [(u32, &str); 5] = [
    (route_flag::VR_RT_LABEL_VALID_FLAG as u32, "L"),
    (route_flag::VR_RT_ARP_PROXY_FLAG as u32, "P"),
    (route_flag::VR_RT_ARP_TRAP_FLAG as u32, "T"),
    (route_flag::VR_RT_ARP_FLOOD_FLAG as u32, "F"),
    (route_flag::VR_RT_MAC_IP_LEARNT_FLAG as u32, "Ml"),
];
const BRIDGE_FLAGS: [(u32, &str); 6] = [
    (bridge_flag::VR_BE_LABEL_VALID_FLAG as u32, "L"),
    (bridge_flag::VR_BE_FLOOD_DHCP_FLAG as u32, "Df"),
    (bridge_flag::VR_BE_MAC_MOVED_FLAG as u32, "Mm"),
    (bridge_flag::VR_BE_L2_CONTROL_DATA_FLAG as u32, "L2c"),
    (bridge_flag::VR_BE_MAC_NEW_FLAG as u32, "N"),
    (bridge_flag::VR_BE_EVPN_CONTROL_PROCESSING_FLAG as u32, "Ec"),
];

/// Bytes of a bridge entry, and where its packet counter is (control.md 5.3).
const ENTRY: u64 = 64;
const PACKETS: u64 = 37;

/// What is printed.
pub(super) struct Table {
    pub(super) family: Family,
    pub(super) vrf: i32,
    /// The single route that was asked for.
    pub(super) asked: Option<String>,
    /// Where the counters of bridge entries are.
    pub(super) counters: Option<PathBuf>,
}

impl Table {
    pub(super) fn print(&self, out: &mut dyn Write, objects: &[Message]) -> io::Result<()> {
        self.header(out)?;
        let counters = self.counters.as_ref().and_then(|path| File::open(path).ok());
        for object in objects {
            let Message::RouteReq(route) = object else { continue };
            match self.family {
                Family::Bridge => bridge(out, route, counters.as_ref())?,
                Family::Inet | Family::Inet6 => inet(out, route)?,
            }
        }
        Ok(())
    }

    fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        let vrf = self.vrf;
        let (name, kind) = match self.family {
            Family::Inet => ("inet4", "/unicast"),
            Family::Inet6 => ("inet6", "/unicast"),
            Family::Bridge => ("bridge", ""),
        };
        if let Some(asked) = &self.asked {
            writeln!(out, "Match {asked} in vRouter {name} table 0/{vrf}{kind}\n")?;
        }
        if self.family == Family::Bridge {
            writeln!(
                out,
                "Flags: L=Label Valid, Df=DHCP flood, Mm=Mac Moved, L2c=L2 Evpn Control Word, N=New Entry, \
                 Ec=EvpnControlProcessing"
            )?;
            writeln!(out, "vRouter bridge table 0/{vrf}\n{BRIDGE_HEADER}")
        } else {
            writeln!(
                out,
                "Flags: L=Label Valid, P=Proxy ARP, T=Trap ARP, F=Flood ARP, Ml=MAC-IP learnt route"
            )?;
            writeln!(out, "vRouter {name} routing table 0/{vrf}{kind}\n{INET_HEADER}")
        }
    }
}

fn inet(out: &mut dyn Write, route: &RouteReq) -> io::Result<()> {
    let prefix = text::address(&route.rtr_prefix).map(|prefix| format!("{prefix}/{}", route.rtr_prefix_len));
    let flags = route.rtr_label_flags as u32;
    let label = label(flags, route_flag::VR_RT_LABEL_VALID_FLAG as u32, route.rtr_label);
    let stitched = if route.rtr_mac.iter().any(|byte| *byte != 0) {
        format!("{}({})", short_mac(&route.rtr_mac), route.rtr_index)
    } else {
        "-".to_owned()
    };
    writeln!(
        out,
        "{:<21}{:>4}{:>13}{label:>11}{:>15}        {stitched}",
        prefix.unwrap_or_default(),
        route.rtr_replace_plen,
        text::bits(flags, &INET_FLAGS),
        route.rtr_nh_id
    )
}

fn bridge(out: &mut dyn Write, route: &RouteReq, counters: Option<&File>) -> io::Result<()> {
    let flags = route.rtr_label_flags as u32;
    let label = label(flags, bridge_flag::VR_BE_LABEL_VALID_FLAG as u32, route.rtr_label);
    writeln!(
        out,
        "{:<12}{:<20}{:>10}{label:>21}{:>13}{:>16}",
        route.rtr_index,
        short_mac(&route.rtr_mac),
        text::bits(flags, &BRIDGE_FLAGS),
        route.rtr_nh_id,
        counters.map_or(0, |file| packets(file, route.rtr_index))
    )
}

fn label(flags: u32, valid: u32, label: i32) -> String {
    if flags & valid == 0 { "-".to_owned() } else { label.to_string() }
}

/// A MAC address as `rt` writes it, without leading zeros.
fn short_mac(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:x}")).collect::<Vec<_>>().join(":")
}

/// Packets that a bridge entry has counted.
fn packets(file: &File, index: i32) -> u64 {
    let Ok(index) = u64::try_from(index) else { return 0 };
    let mut counter = [0; 8];
    match file.read_exact_at(&mut counter, index * ENTRY + PACKETS) {
        Ok(()) => u64::from_le_bytes(counter),
        Err(_) => 0,
    }
}
