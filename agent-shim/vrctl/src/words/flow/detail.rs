//! `flow --get`: one flow with the nexthops, routes and interfaces that it uses.

use std::io::{self, Write};
use std::net::IpAddr;

use anyhow::anyhow;
use sandesh::SandeshOp;
use sandesh::constants::flow_flag::{VR_FLOW_FLAG_MIRROR, VR_FLOW_FLAG_VRFT};
use sandesh::constants::nh_type;
use sandesh::messages::{DropStatsReq, InterfaceReq, NexthopReq, RouteReq};

use super::{Flow, FlowTable, View, names, show};
use crate::client::Client;
use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::view::CLEAR;
use crate::words::{dropstats, nh, rt};

/// Where values stand.
const INDENT: &str = "                              ";
const TCP: u8 = 6;

/// A nexthop and the interface that it uses.
struct Way {
    nexthop: NexthopReq,
    vif: Option<InterfaceReq>,
}

/// A route and where it leads.
struct Found {
    route: RouteReq,
    way: Option<Way>,
}

/// Everything around a flow.
struct Around {
    expected: Option<Way>,
    source: Option<Found>,
    destination: Option<Found>,
    drops: DropStatsReq,
}

/// Shows the flow at `index`.
pub(super) fn show_flow(session: &mut Session, index: u32, view: &View) -> Result<(), Failure> {
    let table = FlowTable::open(session.client()?)?;
    let fetch = |_: &mut Client| {
        let flow = table.entry(index)?;
        Ok(vec![flow.ok_or_else(|| anyhow!("there is no flow at index {index}"))?])
    };
    if view.json || view.watch.is_some() {
        return show(session, view, fetch, |out, flows| {
            flows.iter().try_for_each(|flow| super::list::print(out, flow))
        });
    }
    let (client, out) = session.parts()?;
    for flow in fetch(client)? {
        let around = Around::of(client, &flow)?;
        write!(out, "{CLEAR}")?;
        key(out, &flow)?;
        surroundings(out, &flow, &around)?;
        state(out, &flow, &around.drops)?;
    }
    Ok(())
}

impl Around {
    fn of(client: &mut Client, flow: &Flow) -> Result<Self, Failure> {
        let drops = DropStatsReq { h_op: SandeshOp::GET, ..DropStatsReq::default() };
        Ok(Self {
            expected: way(client, flow.source_nexthop as i32)?,
            source: found(client, flow.vrf, flow.source)?,
            destination: found(client, next_vrf(flow), flow.destination)?,
            drops: client.object::<DropStatsReq>(&drops)?,
        })
    }
}

fn next_vrf(flow: &Flow) -> u16 {
    if flow.has(VR_FLOW_FLAG_VRFT) { flow.next_vrf } else { flow.vrf }
}

/// What a request returns, or nothing when it is refused: it may have gone since the flow was set.
fn maybe<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(Failure::Refused(_)) => Ok(None),
        Err(failure) => Err(failure),
    }
}

fn way(client: &mut Client, id: i32) -> Result<Option<Way>, Failure> {
    if id < 0 {
        return Ok(None);
    }
    let nexthop = client.object::<NexthopReq>(&nh::request(id));
    let Some(nexthop) = maybe(nexthop)? else { return Ok(None) };
    let oif = nexthop.nhr_encap_oif_id.first().copied().filter(|oif| *oif >= 0);
    let vif = match oif {
        Some(oif) => {
            let request = InterfaceReq { h_op: SandeshOp::GET, vifr_idx: oif, ..InterfaceReq::default() };
            maybe(client.object::<InterfaceReq>(&request))?
        }
        None => None,
    };
    Ok(Some(Way { nexthop, vif }))
}

fn found(client: &mut Client, vrf: u16, address: IpAddr) -> Result<Option<Found>, Failure> {
    let route = client.object::<RouteReq>(&rt::lookup(i32::from(vrf), address));
    let Some(route) = maybe(route)? else { return Ok(None) };
    let way = way(client, route.rtr_nh_id)?;
    Ok(Some(Found { route, way }))
}

fn key(out: &mut dyn Write, flow: &Flow) -> io::Result<()> {
    line(out, "Flow Index:", flow.index)?;
    line(out, "Flow Generation ID:", flow.gen_id)?;
    if flow.reverse >= 0 {
        line(out, "Reverse Flow Index:", flow.reverse)?;
    }
    line(out, "VRF:", flow.vrf)?;
    line(out, "Destination VRF:", next_vrf(flow))?;
    line(out, "Flow Source:", format!("[{}]:{}", flow.source, flow.source_port))?;
    line(out, "Flow Destination:", format!("[{}]:{}", flow.destination, flow.destination_port))?;
    line(out, "Flow Protocol:", names::protocol(flow.protocol))?;
    line(out, "Flow Action:", names::long_action(flow))
}

fn line(out: &mut dyn Write, name: &str, value: impl std::fmt::Display) -> io::Result<()> {
    writeln!(out, "{name:<30}{value}")
}

fn surroundings(out: &mut dyn Write, flow: &Flow, around: &Around) -> io::Result<()> {
    write!(out, "{:<30}", "Expected Source:")?;
    match &around.expected {
        Some(way) => print_way(out, way, "", "Ingress")?,
        None => writeln!(out)?,
    }
    line(out, "Source Information:", format!("VRF: {}", flow.vrf))?;
    print_found(out, around.source.as_ref(), "Ingress")?;
    line(out, "Destination Information:", format!("VRF: {}", next_vrf(flow)))?;
    print_found(out, around.destination.as_ref(), "Egress")
}

fn print_found(out: &mut dyn Write, found: Option<&Found>, direction: &str) -> io::Result<()> {
    let Some(found) = found else { return Ok(()) };
    writeln!(out, "{INDENT}Layer 3 Route Information")?;
    let prefix = text::address(&found.route.rtr_prefix).map_or_else(String::new, |prefix| prefix.to_string());
    writeln!(out, "{INDENT}Matching Route: {prefix}/{}", found.route.rtr_prefix_len)?;
    match &found.way {
        Some(way) => print_way(out, way, INDENT, direction),
        None => Ok(()),
    }
}

fn print_way(out: &mut dyn Write, way: &Way, indent: &str, direction: &str) -> io::Result<()> {
    let nexthop = &way.nexthop;
    let (id, vrf, kind) = (nexthop.nhr_id, nexthop.nhr_vrf, kind(nexthop.nhr_type));
    writeln!(out, "{indent}NextHop(Index, VRF, Type): {id}, {vrf}, {kind}")?;
    if nexthop.nhr_type == nh_type::NH_TUNNEL {
        writeln!(out, "{INDENT}Tunnel Source: {}", text::raw_inet(nexthop.nhr_tun_dip))?;
    }
    let Some(vif) = &way.vif else { return Ok(()) };
    let number = format!("vif{}/{}", vif.vifr_rid, vif.vifr_idx);
    let device = text::device_name(vif.vifr_os_idx).unwrap_or_default();
    writeln!(out, "{INDENT}{direction} Interface(Index, VRF, OS): {number}, {}, {device}", vif.vifr_vrf)?;
    writeln!(
        out,
        "{INDENT}Interface Statistics(Out, In, Errors): {}, {}, {}",
        vif.vifr_opackets,
        vif.vifr_ipackets,
        vif.vifr_ierrors + vif.vifr_oerrors
    )
}

fn kind(kind: u8) -> &'static str {
    match kind {
        nh_type::NH_RCV => "RECEIVE",
        nh_type::NH_ENCAP => "ENCAP",
        nh_type::NH_TUNNEL => "TUNNEL",
        nh_type::NH_RESOLVE => "RESOLVE",
        nh_type::NH_DISCARD => "DISCARD",
        nh_type::NH_COMPOSITE => "COMPOSITE",
        nh_type::NH_VRF_TRANSLATE => "VRF TRANSLATE",
        nh_type::NH_L2_RCV => "L2 RECEIVE",
        _ => "INVALID",
    }
}

fn state(out: &mut dyn Write, flow: &Flow, drops: &DropStatsReq) -> io::Result<()> {
    writeln!(out)?;
    line(out, "Flow Flags:", text::bits(u32::from(flow.flags), &names::LONG_FLAGS))?;
    if flow.protocol == TCP {
        line(out, "TCP Flags:", text::bits(u32::from(flow.tcp_flags), &names::TCP_FLAGS))?;
    }
    if flow.has(VR_FLOW_FLAG_MIRROR) {
        line(out, "Mirror Index:", flow.mirrors[0])?;
    }
    if flow.ecmp >= 0 {
        line(out, "Flow ECMP Index:", flow.ecmp)?;
    }
    if flow.underlay_ecmp >= 0 {
        line(out, "Flow Underlay ECMP Index:", flow.underlay_ecmp)?;
    }
    line(out, "UDP Source Port:", flow.udp_source_port)?;
    writeln!(out)?;
    line(out, "Flow Statistics:", format!("{}/{}", flow.packets, flow.bytes))?;
    // Copies are no packets that anybody misses.
    let copies = drops.vds_cloned_original + drops.vds_trap_original;
    let total = dropstats::total(drops) - copies;
    line(out, "System Wide Packet Drops:", total)?;
    writeln!(out, "{INDENT}Reverse Path Failures: {}", drops.vds_invalid_source)?;
    writeln!(out, "{INDENT}Flow Block Drops: {}", drops.vds_flow_action_drop)
}
