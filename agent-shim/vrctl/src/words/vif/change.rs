//! Interfaces added, set, deleted; counters cleared.

use std::io::Write;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use sandesh::SandeshOp;
use sandesh::constants::vif_flag::{
    VIF_FLAG_DHCP_ENABLED, VIF_FLAG_PMD, VIF_FLAG_POLICY_ENABLED, VIF_FLAG_SERVICE_IF, VIF_FLAG_VHOST_PHYS,
};
use sandesh::constants::{vif_transport, vif_type};
use sandesh::messages::{InterfaceReq, VrfAssignReq};

use super::core;
use crate::failure::Failure;
use crate::session::Session;
use crate::text;

/// Multicast VRF of an interface that has none.
const NO_MCAST_VRF: i32 = 0xffff;

/// What an interface is for.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    Vhost,
    Agent,
    Physical,
    Virtual,
    Vlan,
    Xenll,
    Gateway,
    VirtualVlan,
    Stats,
    Monitoring,
}

/// How packets come and go.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Transport {
    Virtual,
    Eth,
    Pmd,
    Socket,
}

/// Options of `--add`; some serve other actions too.
#[derive(Debug, clap::Args)]
pub(super) struct AddOptions {
    /// MAC address.
    #[arg(long, value_name = "MAC")]
    pub(super) mac: Option<String>,
    /// VRF.
    #[arg(long, value_name = "ID")]
    pub(super) vrf: Option<i32>,
    /// Index of the interface in the vrouter; the index of the system's device if not given.
    #[arg(long, value_name = "INDEX")]
    pub(super) id: Option<i32>,
    /// Type of the interface.
    #[arg(long = "type", value_enum)]
    kind: Option<Type>,
    /// Transport.
    #[arg(long, value_enum)]
    transport: Option<Transport>,
    /// Packets need a flow.
    #[arg(long)]
    policy: bool,
    /// The interface to which vhost connects while there is no agent.
    #[arg(long, value_name = "NAME")]
    xconnect: Vec<String>,
    /// The interface that is monitored.
    #[arg(long, value_name = "INDEX")]
    vif: Option<i32>,
    /// The interface is driven by the vrouter itself.
    #[arg(long)]
    pmd: bool,
    /// NAME is a PCI address.
    #[arg(long)]
    pci: bool,
    /// The physical interface of vhost.
    #[arg(long)]
    vhost_phys: bool,
    /// DHCP packets go to the agent.
    #[arg(long)]
    dhcp_enable: bool,
}

/// `--add`.
pub(super) fn add(session: &mut Session, name: &str, options: &AddOptions) -> Result<(), Failure> {
    let request = interface(name, options)?;
    let client = session.client()?;
    // As the original does; whether there is one already does not matter.
    let asked = InterfaceReq {
        h_op: SandeshOp::GET,
        vifr_idx: request.vifr_idx,
        vifr_os_idx: request.vifr_os_idx,
        ..InterfaceReq::default()
    };
    match client.request(&asked) {
        Ok(_) | Err(Failure::Refused(_)) => {}
        Err(failure) => return Err(failure),
    }
    client.request(&request).map(drop)
}

fn interface(name: &str, options: &AddOptions) -> anyhow::Result<InterfaceReq> {
    let kind = options.kind.context("--add needs --type")?;
    let mac = options.mac.as_deref().map(text::parse_mac).transpose();
    let os_idx = os_index(name, options)?;
    let index = options.id.or(os_idx).ok_or_else(|| anyhow!("there is no device `{name}`; give --id"))?;
    let xconnect: Option<Vec<i32>> = options.xconnect.iter().map(|name| text::device_index(name)).collect();
    let transport = options.transport.unwrap_or(match kind {
        Type::Agent => Transport::Socket,
        _ if options.pmd || options.pci => Transport::Pmd,
        _ => Transport::Eth,
    });
    Ok(InterfaceReq {
        h_op: SandeshOp::ADD,
        vifr_type: type_number(kind),
        vifr_transport: transport_number(transport),
        vifr_flags: flags(options),
        vifr_vrf: options.vrf.unwrap_or(0),
        vifr_mcast_vrf: NO_MCAST_VRF,
        vifr_idx: index,
        vifr_os_idx: os_idx.unwrap_or(-1),
        vifr_name: name.to_owned(),
        vifr_mac: mac.map_err(|error| anyhow!("--mac: {error}"))?.unwrap_or_default(),
        vifr_mir_id: -1,
        vifr_qos_map_index: -1,
        vifr_parent_vif_idx: -1,
        vifr_cross_connect_idx: xconnect.unwrap_or_default(),
        ..InterfaceReq::default()
    })
}

/// The number that names the device: of the system's, of the PCI bus, or of the monitored interface.
fn os_index(name: &str, options: &AddOptions) -> anyhow::Result<Option<i32>> {
    if matches!(options.kind, Some(Type::Monitoring)) {
        return Ok(Some(options.vif.context("--type monitoring needs --vif")?));
    }
    if options.pci {
        let number = pci(name).with_context(|| format!("`{name}` is no PCI address"))?;
        return Ok(Some(number as i32));
    }
    if options.pmd
        && let Ok(number) = name.parse()
    {
        return Ok(Some(number));
    }
    Ok(text::device_index(name))
}

/// `0000:02:00.1` as the number of control.md 3.3.
fn pci(address: &str) -> Option<u32> {
    let (rest, function) = address.rsplit_once('.')?;
    let parts: Option<Vec<u32>> = rest.split(':').map(|part| u32::from_str_radix(part, 16).ok()).collect();
    match parts?.as_slice() {
        [domain @ 0..=0xffff, bus @ 0..=0xff, device @ 0..=0x1f] => {
            Some(domain << 16 | bus << 8 | device << 3 | function.parse::<u32>().ok().filter(|f| *f < 8)?)
        }
        _ => None,
    }
}

fn flags(options: &AddOptions) -> i32 {
    let flags = [
        (options.policy, VIF_FLAG_POLICY_ENABLED),
        (options.vhost_phys, VIF_FLAG_VHOST_PHYS),
        (options.dhcp_enable, VIF_FLAG_DHCP_ENABLED),
        (options.pmd, VIF_FLAG_PMD),
    ];
    flags.into_iter().filter(|(set, _)| *set).map(|(_, flag)| flag).sum()
}

fn type_number(kind: Type) -> i32 {
    match kind {
        Type::Vhost => vif_type::VIF_TYPE_HOST,
        Type::Agent => vif_type::VIF_TYPE_AGENT,
        Type::Physical => vif_type::VIF_TYPE_PHYSICAL,
        Type::Virtual => vif_type::VIF_TYPE_VIRTUAL,
        Type::Vlan => vif_type::VIF_TYPE_VLAN,
        Type::Xenll => vif_type::VIF_TYPE_XEN_LL_HOST,
        Type::Gateway => vif_type::VIF_TYPE_GATEWAY,
        Type::VirtualVlan => vif_type::VIF_TYPE_VIRTUAL_VLAN,
        Type::Stats => vif_type::VIF_TYPE_STATS,
        Type::Monitoring => vif_type::VIF_TYPE_MONITORING,
    }
}

fn transport_number(transport: Transport) -> u8 {
    match transport {
        Transport::Virtual => vif_transport::VIF_TRANSPORT_VIRTUAL,
        Transport::Eth => vif_transport::VIF_TRANSPORT_ETH,
        Transport::Pmd => vif_transport::VIF_TRANSPORT_PMD,
        Transport::Socket => vif_transport::VIF_TRANSPORT_SOCKET,
    }
}

/// `--set`: packets with this VLAN belong to that VRF.
pub(super) fn set(session: &mut Session, index: i32, vlan: i16, vrf: Option<i32>) -> Result<(), Failure> {
    let vrf = vrf.context("--set needs --vrf")?;
    let client = session.client()?;
    let asked = InterfaceReq { h_op: SandeshOp::GET, vifr_idx: index, ..InterfaceReq::default() };
    let vif = client.object::<InterfaceReq>(&asked)?;
    let flags = vif.vifr_flags | VIF_FLAG_SERVICE_IF;
    client.request(&InterfaceReq { h_op: SandeshOp::ADD, vifr_flags: flags, vifr_vrf: -1, ..vif })?;
    let assignment = VrfAssignReq {
        h_op: SandeshOp::ADD,
        var_vif_index: index as i16,
        var_vif_vrf: vrf,
        var_vlan_id: vlan,
        ..VrfAssignReq::default()
    };
    client.request(&assignment).map(drop)
}

/// `--delete`.
pub(super) fn delete(session: &mut Session, name: &str) -> Result<(), Failure> {
    let request = match name.parse() {
        Ok(index) => InterfaceReq { vifr_idx: index, ..InterfaceReq::default() },
        Err(_) => InterfaceReq { vifr_idx: -1, vifr_name: name.to_owned(), ..InterfaceReq::default() },
    };
    session.client()?.request(&InterfaceReq { h_op: SandeshOp::DEL, ..request }).map(drop)
}

/// `--clear`.
pub(super) fn clear(session: &mut Session, index: Option<i32>, of: Option<u32>) -> Result<(), Failure> {
    let request = InterfaceReq {
        h_op: SandeshOp::RESET,
        vifr_idx: index.unwrap_or(-1),
        vifr_core: core(of),
        ..InterfaceReq::default()
    };
    let (client, out) = session.parts()?;
    client.request(&request)?;
    let cores = of.map_or_else(|| "all cores".to_owned(), |core| format!("core {core}"));
    let vifs = index.map_or_else(|| "all interfaces".to_owned(), |index| format!("vif0/{index}"));
    writeln!(out, "\nVif stats cleared successfully on {cores} for {vifs} \n")?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::pci;

    #[test]
    fn pci_addresses_are_numbers() {
        assert_eq!(pci("0000:02:00.1"), Some(0x201));
        assert_eq!(pci("0001:02:03.0"), Some(0x1_0218));
        for bad in ["eth0", "0000:02:00", "0000:100:00.0", "0:0:20.0", "0:0:0.8", "0:0.1"] {
            assert_eq!(pci(bad), None, "{bad}");
        }
    }
}
