//! Nexthops as text.

use std::io::{self, Write};

use sandesh::constants::{family, nh_flag, nh_type};
use sandesh::messages::{Message, NexthopReq};

use crate::text;

/// Where the lines of a nexthop begin.
const INDENT: &str = "              ";

/// Flags of every type.
const FLAGS: [(u32, &str); 4] = [
    (nh_flag::NH_FLAG_MCAST, "Multicast"),
    (nh_flag::NH_FLAG_ROUTE_LOOKUP, "Route Lookup"),
    (nh_flag::NH_FLAG_UNKNOWN_UC_FLOOD, "Unknown Unicast Flood"),
    (nh_flag::NH_FLAG_FLOW_LOOKUP, "Flow Lookup"),
];
/// Flags that only tunnels print.
const TUNNEL_FLAGS: [(u32, &str); 10] = [
    (nh_flag::NH_FLAG_TUNNEL_GRE, "MPLSoGRE"),
    (nh_flag::NH_FLAG_TUNNEL_UDP, "Udp"),
    (nh_flag::NH_FLAG_TUNNEL_UDP_MPLS, "MPLSoUDP"),
    (nh_flag::NH_FLAG_TUNNEL_VXLAN, "Vxlan"),
    (nh_flag::NH_FLAG_TUNNEL_PBB, "Pbb"),
    (nh_flag::NH_FLAG_TUNNEL_SIP_COPY, "Copy SIP"),
    (nh_flag::NH_FLAG_L3_VXLAN, "L3 Vxlan"),
    (nh_flag::NH_FLAG_TUNNEL_MPLS_O_MPLS, "MPLSoMPLS"),
    (nh_flag::NH_FLAG_CRYPT_TRAFFIC, "Crypt Traffic"),
    (nh_flag::NH_FLAG_TUNNEL_UNDERLAY_ECMP, "Underlay Ecmp"),
];
/// Flags that only composites print.
const COMPOSITE_FLAGS: [(u32, &str); 6] = [
    (nh_flag::NH_FLAG_COMPOSITE_FABRIC, "Fabric"),
    (nh_flag::NH_FLAG_COMPOSITE_ECMP, "Ecmp"),
    (nh_flag::NH_FLAG_COMPOSITE_LU_ECMP, "Lu Ecmp"),
    (nh_flag::NH_FLAG_COMPOSITE_EVPN, "Evpn"),
    (nh_flag::NH_FLAG_COMPOSITE_ENCAP, "Encap"),
    (nh_flag::NH_FLAG_COMPOSITE_TOR, "Tor"),
];
/// Flags of every type that stand behind the others.
const LAST_FLAGS: [(u32, &str); 5] = [
    (nh_flag::NH_FLAG_MAC_LEARN, "Mac Learn"),
    (nh_flag::NH_FLAG_ETREE_ROOT, "Etree Root"),
    (nh_flag::NH_FLAG_INDIRECT, "Indirect"),
    (nh_flag::NH_FLAG_L2_CONTROL_DATA, "L2 Control Word"),
    (nh_flag::NH_FLAG_VALIDATE_MCAST_SRC, "Validate Mcast Source"),
];
/// Fields that choose a member of an ECMP group.
const HASHED: [(u32, &str); 5] = [(1, "Proto"), (2, "SrcIP"), (4, "SrcPort"), (8, "DstIp"), (16, "DstPort")];

/// Nexthops, each with an empty line behind it.
pub(super) fn list(out: &mut dyn Write, objects: &[Message]) -> io::Result<()> {
    for object in objects {
        if let Message::NexthopReq(nexthop) = object {
            print(out, nexthop)?;
        }
    }
    Ok(())
}

fn print(out: &mut dyn Write, nexthop: &NexthopReq) -> io::Result<()> {
    writeln!(
        out,
        "Id:{:<11}Type:{:<15}Fmly:{:>8}  Rid:{}  Ref_cnt:{:<11}Vrf:{}",
        nexthop.nhr_id,
        type_name(nexthop.nhr_type),
        family_name(nexthop.nhr_family),
        nexthop.nhr_rid,
        nexthop.nhr_ref_cnt,
        nexthop.nhr_vrf
    )?;
    writeln!(out, "{INDENT}Flags:{}", flags(nexthop))?;
    match nexthop.nhr_type {
        nh_type::NH_RCV => writeln!(out, "{INDENT}Oif:{}", oif(nexthop, 0))?,
        nh_type::NH_ENCAP => encap(out, nexthop)?,
        nh_type::NH_TUNNEL => tunnel(out, nexthop)?,
        nh_type::NH_COMPOSITE => composite(out, nexthop)?,
        nh_type::NH_VRF_TRANSLATE => writeln!(out, "{INDENT}Vrf:{}", nexthop.nhr_vrf)?,
        _ => {}
    }
    writeln!(out)
}

/// Name of a type, as in lists.
fn type_name(kind: u8) -> &'static str {
    match kind {
        nh_type::NH_RCV => "Receive",
        nh_type::NH_ENCAP => "Encap",
        nh_type::NH_TUNNEL => "Tunnel",
        nh_type::NH_RESOLVE => "Resolve",
        nh_type::NH_DISCARD => "Drop",
        nh_type::NH_COMPOSITE => "Composite",
        nh_type::NH_VRF_TRANSLATE => "Vrf_Translate",
        nh_type::NH_L2_RCV => "L2 Receive",
        _ => "Invalid",
    }
}

fn family_name(number: u8) -> &'static str {
    match i32::from(number) {
        family::AF_INET => "AF_INET",
        family::AF_INET6 => "AF_INET6",
        family::AF_BRIDGE => "AF_BRIDGE",
        _ => "AF_UNSPEC",
    }
}

fn flags(nexthop: &NexthopReq) -> String {
    let mut text = String::new();
    let mut add = |name: &str| {
        text.push_str(name);
        text.push_str(", ");
    };
    let set = |flag| nexthop.nhr_flags & flag != 0;
    if set(nh_flag::NH_FLAG_VALID) {
        add("Valid");
    }
    if set(nh_flag::NH_FLAG_RELAXED_POLICY) {
        add("Policy(R)");
    } else if set(nh_flag::NH_FLAG_POLICY_ENABLED) {
        add("Policy");
    }
    let of_type: &[(u32, &str)] = match nexthop.nhr_type {
        nh_type::NH_TUNNEL => &TUNNEL_FLAGS,
        nh_type::NH_COMPOSITE => &COMPOSITE_FLAGS,
        _ => &[],
    };
    for (flag, name) in FLAGS.iter().chain(of_type).chain(&LAST_FLAGS) {
        if set(*flag) {
            add(name);
        }
    }
    text
}

fn oif(nexthop: &NexthopReq, number: usize) -> i32 {
    nexthop.nhr_encap_oif_id.get(number).copied().unwrap_or(-1)
}

fn encap(out: &mut dyn Write, nexthop: &NexthopReq) -> io::Result<()> {
    let (family, length) = (nexthop.nhr_encap_family, nexthop.nhr_encap.len());
    writeln!(out, "{INDENT}EncapFmly:{family:04x} Oif:{} Len:{length}", oif(nexthop, 0))?;
    writeln!(out, "{INDENT}Encap Data: {}", text::hex(&nexthop.nhr_encap))
}

fn tunnel(out: &mut dyn Write, nexthop: &NexthopReq) -> io::Result<()> {
    if nexthop.nhr_flags & nh_flag::NH_FLAG_TUNNEL_UNDERLAY_ECMP != 0 {
        underlay(out, nexthop)?;
    } else if nexthop.nhr_flags & nh_flag::NH_FLAG_TUNNEL_PBB == 0 {
        let (length, data) = (nexthop.nhr_encap.len(), text::hex(&nexthop.nhr_encap));
        writeln!(out, "{INDENT}Oif:{} Len:{length} Data:{data}", oif(nexthop, 0))?;
    }
    if nexthop.nhr_flags & nh_flag::NH_FLAG_TUNNEL_PBB != 0 {
        let label = nexthop.nhr_label_list.first().copied().unwrap_or(-1);
        return writeln!(out, "{INDENT}Bmac:{} Label:{label}", text::mac(&nexthop.nhr_pbb_mac));
    }
    let address = |v6: &[u8], v4: u32| {
        text::address(v6).map_or_else(|| text::raw_inet(v4).to_string(), |address| address.to_string())
    };
    let source = address(&nexthop.nhr_tun_sip6, nexthop.nhr_tun_sip);
    let destination = address(&nexthop.nhr_tun_dip6, nexthop.nhr_tun_dip);
    writeln!(out, "{INDENT}Sip:{source} Dip:{destination}")?;
    if nexthop.nhr_flags & nh_flag::NH_FLAG_TUNNEL_UDP != 0 {
        let port = |raw: i16| u16::from_be(raw as u16);
        let (source, destination) = (port(nexthop.nhr_tun_sport), port(nexthop.nhr_tun_dport));
        writeln!(out, "{INDENT}Sport:{source} Dport:{destination}")?;
    }
    if nexthop.nhr_flags & nh_flag::NH_FLAG_L3_VXLAN != 0 {
        writeln!(out, "{INDENT}Vxlan Mac: {}", text::mac(&nexthop.nhr_rw_dst_mac))?;
    }
    if nexthop.nhr_flags & nh_flag::NH_FLAG_TUNNEL_MPLS_O_MPLS != 0 {
        writeln!(out, "{INDENT}Transport Label: {}", nexthop.nhr_transport_label)?;
    }
    Ok(())
}

/// A line for each underlay link; the headers stand one behind the other.
fn underlay(out: &mut dyn Write, nexthop: &NexthopReq) -> io::Result<()> {
    let links = nexthop.nhr_encap_oif_id.len().max(1);
    let length = nexthop.nhr_encap.len() / links;
    for link in 0..links {
        let valid = nexthop.nhr_encap_valid.get(link).copied().unwrap_or(0);
        let data = nexthop.nhr_encap.get(link * length..(link + 1) * length).unwrap_or_default();
        let (length, data) =
            if valid == 0 || data.is_empty() { (0, "NULL".to_owned()) } else { (length, text::hex(data)) };
        writeln!(out, "{INDENT}Oif:{} EncapValid:{valid} Len:{length} Data:{data}", oif(nexthop, link))?;
    }
    Ok(())
}

fn composite(out: &mut dyn Write, nexthop: &NexthopReq) -> io::Result<()> {
    if nexthop.nhr_flags & nh_flag::NH_FLAG_COMPOSITE_ECMP != 0 && nexthop.nhr_ecmp_config_hash != 0 {
        let hashed = u32::from(nexthop.nhr_ecmp_config_hash);
        let names: Vec<&str> =
            HASHED.iter().filter(|(bit, _)| hashed & bit != 0).map(|(_, name)| *name).collect();
        writeln!(out, "{INDENT}Valid Hash Key Parameters: {}", names.join(","))?;
    }
    write!(out, "{INDENT}Sub NH(label):")?;
    let mut column = 0;
    for (number, component) in nexthop.nhr_nh_list.iter().enumerate() {
        let label = nexthop.nhr_label_list.get(number).filter(|label| **label >= 0);
        let member = label.map_or_else(|| format!(" {component}"), |label| format!(" {component}({label})"));
        if column > 60 {
            write!(out, "\n{INDENT}{INDENT}")?;
            column = 0;
        }
        column += member.len();
        write!(out, "{member}")?;
    }
    let rest = i32::from(nexthop.nhr_nh_count) - nexthop.nhr_nh_list.len() as i32;
    if rest > 0 {
        write!(out, " and {rest} more components...")?;
    }
    writeln!(out)
}
