//! Interfaces as text.

use std::io::{self, Write};
use std::time::Duration;

use sandesh::constants::vif_flag::{VIF_FLAG_MOCK_DEVICE, VIF_FLAG_PMD};
use sandesh::constants::{vif_transport, vif_type};
use sandesh::messages::{InterfaceReq, Message, VrfAssignReq};

use crate::failure::Failure;
use crate::session::Session;
use crate::text;
use crate::words::dropstats;

/// Where the lines of an interface begin.
const INDENT: &str = "            ";

const HEADER: &str = "\
Vrouter Interface Table

Flags: P=Policy, X=Cross Connect, S=Service Chain, Mr=Receive Mirror
       Mt=Transmit Mirror, Tc=Transmit Checksum Offload, L3=Layer 3, L2=Layer 2
       D=DHCP, Vp=Vhost Physical, Pr=Promiscuous, Vnt=Native Vlan Tagged
       Mnp=No MAC Proxy, Dpdk=DPDK PMD Interface, Rfl=Receive Filtering Offload, Mon=Interface is Monitored
       Uuf=Unknown Unicast Flood, Vof=VLAN insert/strip offload, Df=Drop New Flows, L=MAC Learning Enabled
       Proxy=MAC Requests Proxied Always, Er=Etree Root, Mn=Mirror without Vlan Tag, HbsL=HBS Left Intf
       HbsR=HBS Right Intf, Ig=Igmp Trap Enabled, Ml=MAC-IP Learning Enabled

";

/// Flags as the header explains them, in the order of the bits.
const FLAGS: [(u32, &str); 27] = [
    (0x1, "P"),
    (0x2, "X"),
    (0x4, "S"),
    (0x8, "Mr"),
    (0x10, "Mt"),
    (0x20, "Tc"),
    (0x40, "L3"),
    (0x80, "L2"),
    (0x100, "D"),
    (0x200, "Vp"),
    (0x400, "Pr"),
    (0x800, "Vnt"),
    (0x1000, "Mnp"),
    (VIF_FLAG_PMD as u32, "Dpdk"),
    (0x4000, "Rfl"),
    (0x8000, "Mon"),
    (0x1_0000, "Uuf"),
    (0x2_0000, "Vof"),
    (0x4_0000, "Df"),
    (0x8_0000, "L"),
    (0x10_0000, "Proxy"),
    (0x20_0000, "Er"),
    (0x100_0000, "Mn"),
    (0x200_0000, "Ig"),
    (0x800_0000, "HbsL"),
    (0x1000_0000, "HbsR"),
    (0x4000_0000, "Ml"),
];

/// The header, and all interfaces with what belongs to each.
pub(super) fn table(out: &mut dyn Write, objects: &[Message], is_node: bool) -> io::Result<()> {
    write!(out, "{HEADER}")?;
    let mut objects = objects.iter().peekable();
    while let Some(object) = objects.next() {
        match object {
            Message::InterfaceReq(vif) => interface(out, vif, is_node)?,
            Message::DropStatsReq(drops) => dropstats::print(out, drops)?,
            Message::VrfAssignReq(assignment) => vlan(out, assignment)?,
            _ => {}
        }
        if objects.peek().is_none_or(|next| matches!(next, Message::InterfaceReq(_))) {
            writeln!(out)?;
        }
    }
    Ok(())
}

fn interface(out: &mut dyn Write, vif: &InterfaceReq, is_node: bool) -> io::Result<()> {
    let number = format!("vif{}/{}", vif.vifr_rid, vif.vifr_idx);
    writeln!(out, "{number:<12}{}", device(vif))?;
    let ip = text::raw_inet(vif.vifr_ip);
    writeln!(out, "{INDENT}Type:{} HWaddr:{} IPaddr:{ip}", kind(vif.vifr_type), text::mac(&vif.vifr_mac))?;
    if (vif.vifr_ip6_u, vif.vifr_ip6_l) != (0, 0) {
        writeln!(out, "{INDENT}IP6addr:{}", text::raw_inet6(vif.vifr_ip6_u, vif.vifr_ip6_l))?;
    }
    writeln!(
        out,
        "{INDENT}Vrf:{} Mcast Vrf:{} Flags:{} QOS:{} Ref:{}",
        vif.vifr_vrf,
        vif.vifr_mcast_vrf,
        text::bits(vif.vifr_flags as u32, &FLAGS),
        vif.vifr_qos_map_index,
        vif.vifr_ref_cnt
    )?;
    received(out, vif)?;
    if vif.vifr_type == vif_type::VIF_TYPE_PHYSICAL && is_node {
        fabric(out, vif)?;
    }
    let (packets, bytes, errors) = (vif.vifr_ipackets, vif.vifr_ibytes, vif.vifr_ierrors);
    writeln!(out, "{INDENT}RX packets:{packets}  bytes:{bytes} errors:{errors}")?;
    let (packets, bytes, errors) = (vif.vifr_opackets, vif.vifr_obytes, vif.vifr_oerrors);
    writeln!(out, "{INDENT}TX packets:{packets}  bytes:{bytes} errors:{errors}")?;
    if vif.vifr_isid != 0 || !vif.vifr_pbb_mac.is_empty() {
        writeln!(out, "{INDENT}ISID: {} Bmac: {}", vif.vifr_isid, text::mac(&vif.vifr_pbb_mac))?;
    }
    writeln!(out, "{INDENT}Drops:{}", vif.vifr_dpackets)?;
    sent(out, vif)?;
    fat_flows(out, vif)
}

/// What the interface is made of.
fn device(vif: &InterfaceReq) -> String {
    let mock = vif.vifr_flags & VIF_FLAG_MOCK_DEVICE != 0;
    let text = match (vif.vifr_type, vif.vifr_transport) {
        (vif_type::VIF_TYPE_MONITORING, _) => {
            format!("Monitoring: {} for vif{}/{}", vif.vifr_name, vif.vifr_rid, vif.vifr_os_idx)
        }
        (vif_type::VIF_TYPE_VIRTUAL_VLAN, _) => format!(
            "Virtual: {} Vlan(o/i)(,S): {}/{} Parent:vif{}/{}",
            vif.vifr_name, vif.vifr_ovlan_id, vif.vifr_vlan_id, vif.vifr_rid, vif.vifr_parent_vif_idx
        ),
        (vif_type::VIF_TYPE_PHYSICAL, vif_transport::VIF_TRANSPORT_PMD) if mock => "PCI:".to_owned(),
        (vif_type::VIF_TYPE_PHYSICAL, vif_transport::VIF_TRANSPORT_PMD) => {
            let pci = vif.vifr_os_idx as u32;
            let [domain, bus, device, function] = [pci >> 16, pci >> 8 & 0xff, pci >> 3 & 0x1f, pci & 7];
            format!("PCI: {domain:04x}:{bus:02x}:{device:02x}.{function:x}")
        }
        (_, vif_transport::VIF_TRANSPORT_PMD) => format!("PMD: {}", vif.vifr_name),
        (_, vif_transport::VIF_TRANSPORT_SOCKET) => format!("Socket: {}", vif.vifr_name),
        _ => format!("OS: {}", vif.vifr_name),
    };
    let speed = if vif.vifr_speed >= 0 {
        format!(" (Speed {}, Duplex {})", vif.vifr_speed, vif.vifr_duplex)
    } else {
        String::new()
    };
    let nexthop = if vif.vifr_nh_id > 0 { format!(" NH: {}", vif.vifr_nh_id) } else { String::new() };
    format!("{text}{speed}{}{nexthop}", if mock { " Mock" } else { "" })
}

fn kind(kind: i32) -> &'static str {
    match kind {
        vif_type::VIF_TYPE_HOST => "Host",
        vif_type::VIF_TYPE_AGENT => "Agent",
        vif_type::VIF_TYPE_PHYSICAL => "Physical",
        vif_type::VIF_TYPE_VIRTUAL => "Virtual",
        vif_type::VIF_TYPE_XEN_LL_HOST => "XenLL",
        vif_type::VIF_TYPE_GATEWAY => "Gateway",
        vif_type::VIF_TYPE_VIRTUAL_VLAN => "Virtual(Vlan)",
        vif_type::VIF_TYPE_STATS => "Stats",
        vif_type::VIF_TYPE_VLAN => "Vlan",
        vif_type::VIF_TYPE_MONITORING => "Monitoring",
        _ => "Invalid",
    }
}

/// Counters before the vrouter has the packets; those that never counted are left out.
fn received(out: &mut dyn Write, vif: &InterfaceReq) -> io::Result<()> {
    let (packets, bytes, errors) = (vif.vifr_dev_ipackets, vif.vifr_dev_ibytes, vif.vifr_dev_ierrors);
    if [packets, bytes, errors, vif.vifr_dev_inombufs].iter().any(|count| *count != 0) {
        write!(out, "{INDENT}RX device packets:{packets}  bytes:{bytes} errors:{errors}")?;
        optional(out, " nombufs:", vif.vifr_dev_inombufs)?;
    }
    let (packets, errors) = (vif.vifr_port_ipackets, vif.vifr_port_ierrors);
    if [packets, errors, vif.vifr_port_isyscalls, vif.vifr_port_inombufs].iter().any(|count| *count != 0) {
        write!(out, "{INDENT}RX port   packets:{packets} errors:{errors}")?;
        optional(out, " syscalls:", vif.vifr_port_isyscalls)?;
    }
    let (packets, errors) = (vif.vifr_queue_ipackets, vif.vifr_queue_ierrors);
    if packets != 0 || errors != 0 {
        writeln!(out, "{INDENT}RX queue  packets:{packets} errors:{errors}")?;
    }
    let lcores: Vec<String> = vif.vifr_queue_ierrors_to_lcore.iter().map(ToString::to_string).collect();
    writeln!(out, "{INDENT}RX queue errors to lcore {}", lcores.join(" "))
}

/// Counters behind the vrouter.
fn sent(out: &mut dyn Write, vif: &InterfaceReq) -> io::Result<()> {
    let (packets, errors) = (vif.vifr_queue_opackets, vif.vifr_queue_oerrors);
    if packets != 0 || errors != 0 {
        writeln!(out, "{INDENT}TX queue  packets:{packets} errors:{errors}")?;
    }
    let (packets, errors) = (vif.vifr_port_opackets, vif.vifr_port_oerrors);
    if packets != 0 || errors != 0 || vif.vifr_port_osyscalls != 0 {
        write!(out, "{INDENT}TX port   packets:{packets} errors:{errors}")?;
        optional(out, " syscalls:", vif.vifr_port_osyscalls)?;
    }
    let (packets, bytes, errors) = (vif.vifr_dev_opackets, vif.vifr_dev_obytes, vif.vifr_dev_oerrors);
    if packets != 0 || bytes != 0 || errors != 0 {
        writeln!(out, "{INDENT}TX device packets:{packets}  bytes:{bytes} errors:{errors}")?;
    }
    Ok(())
}

/// The rest of a line: a counter that is left out when it is zero.
fn optional(out: &mut dyn Write, name: &str, count: i64) -> io::Result<()> {
    if count == 0 { writeln!(out) } else { writeln!(out, "{name}{count}") }
}

fn fabric(out: &mut dyn Write, vif: &InterfaceReq) -> io::Result<()> {
    let status = if vif.vifr_intf_status == 1 { "UP" } else { "DOWN" };
    let (name, driver) = (text::c_text(&vif.vifr_fab_name), text::c_text(&vif.vifr_fab_drv_name));
    writeln!(out, "{INDENT}Fabric Interface: {name}  Status: {status}  Driver: {driver}")?;
    let names = vif.vifr_bond_slave_name.split(|byte| *byte == 0);
    let drivers = vif.vifr_bond_slave_drv_name.split(|byte| *byte == 0);
    let members = names.zip(drivers).take(usize::from(vif.vifr_num_bond_slave)).enumerate();
    for (number, (name, driver)) in members {
        let (name, driver) = (String::from_utf8_lossy(name), String::from_utf8_lossy(driver));
        writeln!(out, "{INDENT}Slave Interface({number}): {name}  Driver: {driver}")?;
    }
    let vlan = text::c_text(&vif.vifr_vlan_name);
    if !vlan.is_empty() && vif.vifr_vlan_tag != 0xffff {
        writeln!(out, "{INDENT}Vlan Id: {}  VLAN fwd Interface: {vlan}", vif.vifr_vlan_tag)?;
    }
    Ok(())
}

/// Rules for fat flows: protocol and port, with what of the addresses is not looked at.
fn fat_flows(out: &mut dyn Write, vif: &InterfaceReq) -> io::Result<()> {
    if vif.vifr_fat_flow_protocol_port.is_empty() {
        return Ok(());
    }
    write!(out, "{INDENT}FatFlows (Protocol/Port):")?;
    for rule in &vif.vifr_fat_flow_protocol_port {
        let ignored = match rule >> 24 & 3 {
            1 => " - Sip",
            2 => " - Dip",
            _ => "",
        };
        write!(out, " {}:{}{ignored}", rule >> 16 & 0xff, rule & 0xffff)?;
    }
    writeln!(out)
}

fn vlan(out: &mut dyn Write, assignment: &VrfAssignReq) -> io::Result<()> {
    let (vlan, vrf) = (assignment.var_vlan_id, assignment.var_vif_vrf);
    writeln!(out, "{INDENT}VRF table(vlan:vrf): {vlan}:{vrf}")
}

/// Returns when standard output is a terminal with room for a table. Until then it says so, as the
/// original does.
pub(super) fn wait_for_terminal(session: &mut Session) -> Result<(), Failure> {
    while rustix::termios::tcgetwinsize(io::stdout())
        .map_or(true, |size| size.ws_row < 10 || size.ws_col < 80)
    {
        writeln!(session.out, "Size of terminal is too small.")?;
        session.out.flush()?;
        std::thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}
