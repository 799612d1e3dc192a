//! `rt`: routes and bridge entries.

use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context, anyhow};
use clap::{ArgGroup, Parser, ValueEnum};
use sandesh::SandeshOp;
use sandesh::constants::{bridge_flag, family, route_flag};
use sandesh::messages::{BridgeTableData, Message, RouteReq};

use super::Word;
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::view::{View, show};

mod print;

/// Which table of a VRF.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Family {
    #[value(alias = "2", alias = "0")]
    Inet,
    #[value(alias = "10")]
    Inet6,
    #[value(alias = "7")]
    Bridge,
}

impl Family {
    fn number(self) -> i32 {
        match self {
            Self::Inet => family::AF_INET,
            Self::Inet6 => family::AF_INET6,
            Self::Bridge => family::AF_BRIDGE,
        }
    }
}

/// Routes and bridge entries of a VRF.
#[derive(Debug, Parser)]
#[command(name = "rt", group(ArgGroup::new("action").required(true)))]
pub(super) struct Rt {
    /// List the routes of a VRF.
    #[arg(long, value_name = "VRF", group = "action")]
    dump: Option<i32>,
    /// Show the route for a prefix, or the entry for a MAC address.
    #[arg(long, value_name = "PREFIX|MAC", group = "action", requires = "vrf")]
    get: Option<String>,
    /// Create or change a route.
    #[arg(short, long, group = "action", requires = "nh")]
    create: bool,
    /// Delete a route.
    #[arg(short, long, group = "action")]
    delete: bool,
    /// Table; that of the prefix or of --mac if not given.
    #[arg(short, long, value_enum)]
    family: Option<Family>,
    /// VRF.
    #[arg(short, long, value_name = "ID")]
    vrf: Option<i32>,
    /// Prefix, with or without its length.
    #[arg(short, long, value_name = "PREFIX")]
    prefix: Option<String>,
    /// Length of the prefix.
    #[arg(short = 'l', long, value_name = "BITS")]
    plen: Option<u8>,
    /// Nexthop; of the covering route for --delete.
    #[arg(short, long, value_name = "ID", default_value_t = 0)]
    nh: i32,
    /// MPLS label or VXLAN network identifier.
    #[arg(short = 't', long, value_name = "LABEL")]
    label: Option<i32>,
    /// MAC address: the key of a bridge entry, or the one that an address is stitched to.
    #[arg(short = 'e', long, value_name = "MAC")]
    mac: Option<String>,
    /// Answer ARP requests for the address.
    #[arg(short = 'P', long)]
    proxy: bool,
    /// Flood ARP requests for the address.
    #[arg(short = 'F', long)]
    flood: bool,
    /// ARP requests for the address go to the agent.
    #[arg(short = 'T', long)]
    trap: bool,
    /// Length of the covering route, for --delete.
    #[arg(short, long, value_name = "BITS", default_value_t = 0)]
    replace_plen: u8,
    #[command(flatten)]
    view: View,
}

impl Word for Rt {
    const NAME: &'static str = "rt";

    fn run(self, session: &mut Session) -> Result<(), Failure> {
        if self.create || self.delete {
            return session.client()?.request(&self.change()?).map(drop);
        }
        let (family, request, asked) = self.question()?;
        let client = session.client()?;
        // The entries of R2.20 count no packets.
        let has_counters = family == Family::Bridge && !client.is_r220();
        let counters = has_counters.then(|| counters(client)).transpose()?;
        let fetch = |client: &mut Client| match self.dump {
            Some(_) => client.dump(request.clone(), advance),
            None => client.request(&request),
        };
        let table = print::Table { family, vrf: request.rtr_vrf_id, asked, counters };
        show(session, &self.view, fetch, |out, objects| table.print(out, objects))
    }
}

impl Rt {
    /// What is shown: its family, the request, and for a single route what was asked.
    fn question(&self) -> anyhow::Result<(Family, RouteReq, Option<String>)> {
        let Some(key) = &self.get else {
            let family = self.family.unwrap_or(Family::Inet);
            let zeros = vec![0; if family == Family::Inet6 { 16 } else { 4 }];
            let request = RouteReq {
                h_op: SandeshOp::DUMP,
                rtr_vrf_id: self.dump.unwrap_or(0),
                rtr_family: family.number(),
                rtr_prefix: zeros.clone(),
                rtr_marker: zeros,
                rtr_mac: vec![0; 6],
                ..RouteReq::default()
            };
            return Ok((family, request, None));
        };
        let mut request = RouteReq {
            h_op: SandeshOp::GET,
            rtr_vrf_id: self.vrf.context("--get needs --vrf")?,
            ..RouteReq::default()
        };
        let family = set_key(&mut request, self.family, key, self.plen)?;
        Ok((family, request, Some(key.clone())))
    }

    fn change(&self) -> anyhow::Result<RouteReq> {
        let mut request = RouteReq {
            h_op: if self.create { SandeshOp::ADD } else { SandeshOp::DEL },
            rtr_vrf_id: self.vrf.unwrap_or(0),
            rtr_nh_id: self.nh,
            rtr_label: self.label.unwrap_or(-1),
            rtr_replace_plen: i32::from(self.replace_plen),
            rtr_index: -1,
            ..RouteReq::default()
        };
        let mac = self.mac.as_deref();
        let key = self.prefix.as_deref().or(mac).context("a route needs --prefix or --mac")?;
        let family = set_key(&mut request, self.family, key, self.plen)?;
        if let (Some(mac), true) = (mac, family != Family::Bridge) {
            request.rtr_mac = text::parse_mac(mac).map_err(|error| anyhow!("--mac: {error}"))?;
        }
        let labelled = match family {
            Family::Bridge => bridge_flag::VR_BE_LABEL_VALID_FLAG,
            _ => route_flag::VR_RT_LABEL_VALID_FLAG,
        };
        let flags = [
            (self.label.is_some(), labelled),
            (self.proxy, route_flag::VR_RT_ARP_PROXY_FLAG),
            (self.trap, route_flag::VR_RT_ARP_TRAP_FLAG),
            (self.flood, route_flag::VR_RT_ARP_FLOOD_FLAG),
        ];
        request.rtr_label_flags = flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum();
        Ok(request)
    }
}

/// Writes the prefix or MAC address into the request; returns the family.
fn set_key(
    request: &mut RouteReq,
    family: Option<Family>,
    key: &str,
    plen: Option<u8>,
) -> anyhow::Result<Family> {
    let mac = text::parse_mac(key);
    if let (None | Some(Family::Bridge), Ok(mac)) = (family, mac) {
        (request.rtr_family, request.rtr_mac) = (Family::Bridge.number(), mac);
        return Ok(Family::Bridge);
    }
    let (address, length) = key.split_once('/').map_or((key, None), |(key, length)| (key, Some(length)));
    let address: IpAddr = address.parse().map_err(|_| anyhow!("`{key}` is no prefix"))?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = length.map(str::parse).transpose().map_err(|_| anyhow!("`{key}` is no prefix"))?;
    let length = length.or(plen).unwrap_or(bits);
    if length > bits {
        return Err(anyhow!("a prefix of {length} bits is not possible"));
    }
    request.rtr_family = text::family(address);
    request.rtr_prefix = text::octets(address);
    request.rtr_prefix_len = i32::from(length);
    Ok(if address.is_ipv4() { Family::Inet } else { Family::Inet6 })
}

/// The marker has no prefix length (control.md 4.5).
fn advance(request: &mut RouteReq, last: &Message) {
    if let Message::RouteReq(last) = last {
        request.rtr_prefix.clone_from(&last.rtr_prefix);
        request.rtr_marker.clone_from(&last.rtr_prefix);
        request.rtr_mac.clone_from(&last.rtr_mac);
    }
}

/// The file that holds the packet counters of bridge entries.
fn counters(client: &mut Client) -> Result<PathBuf, Failure> {
    let request = BridgeTableData { btable_op: SandeshOp::GET, ..BridgeTableData::default() };
    let table: BridgeTableData = client.object(&request)?;
    Ok(PathBuf::from(table.btable_file_path))
}

/// The request for the route of an address.
pub(super) fn lookup(vrf: i32, address: IpAddr) -> RouteReq {
    RouteReq {
        h_op: SandeshOp::GET,
        rtr_vrf_id: vrf,
        rtr_family: text::family(address),
        rtr_prefix: text::octets(address),
        rtr_prefix_len: if address.is_ipv4() { 32 } else { 128 },
        ..RouteReq::default()
    }
}
