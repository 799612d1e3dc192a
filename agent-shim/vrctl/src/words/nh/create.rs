//! `nh --create`.

use std::net::IpAddr;

use anyhow::{Context, anyhow};
use clap::ValueEnum;
use sandesh::SandeshOp;
use sandesh::constants::{family, nh_flag, nh_type};
use sandesh::messages::NexthopReq;

use crate::text;

/// What a nexthop does.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Type {
    #[value(alias = "1")]
    Rcv,
    #[value(alias = "2")]
    Encap,
    #[value(alias = "3")]
    Tunnel,
    #[value(alias = "4")]
    Resolve,
    #[value(alias = "5")]
    Discard,
    #[value(alias = "6")]
    Composite,
    #[value(alias = "7")]
    VrfTranslate,
    #[value(alias = "8")]
    L2Rcv,
}

/// Address family.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Family {
    Inet,
    Inet6,
    Bridge,
}

/// Options of `--create`.
#[derive(Debug, clap::Args)]
pub(super) struct CreateOptions {
    /// Type of the nexthop, by name or number.
    #[arg(long = "type", value_enum)]
    kind: Option<Type>,
    /// Family; of the addresses if not given.
    #[arg(long, value_enum)]
    family: Option<Family>,
    /// VRF.
    #[arg(long, value_name = "ID", default_value_t = 0)]
    vrf: i32,
    /// Outgoing interfaces.
    #[arg(long, value_name = "INDEX", value_delimiter = ',')]
    oif: Vec<i32>,
    /// Source MAC of the new Ethernet header.
    #[arg(long, value_name = "MAC", requires = "dmac")]
    smac: Option<String>,
    /// Destination MAC of the new Ethernet header; of the inner one with the flag l3-vxlan.
    #[arg(long, value_name = "MAC", requires = "smac")]
    dmac: Option<String>,
    /// Source of the tunnel.
    #[arg(long, value_name = "ADDRESS", requires = "dip")]
    sip: Option<IpAddr>,
    /// Destination of the tunnel.
    #[arg(long, value_name = "ADDRESS", requires = "sip")]
    dip: Option<IpAddr>,
    /// Source port of a UDP tunnel.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    sport: u16,
    /// Destination port of a UDP tunnel.
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    dport: u16,
    /// Components of a composite nexthop; -1 for an absent one.
    #[arg(long, value_name = "ID", value_delimiter = ',', allow_hyphen_values = true)]
    cni: Vec<i32>,
    /// Labels of the components, -1 for none.
    #[arg(long, value_name = "LABEL", value_delimiter = ',', allow_hyphen_values = true)]
    lbl: Vec<i32>,
    /// Flags of the nexthop.
    #[arg(long, value_enum, value_delimiter = ',')]
    flags: Vec<Flag>,
    /// Stored, but unusable.
    #[arg(long)]
    invalid: bool,
}

/// Flags by name.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Flag {
    Policy,
    RelaxedPolicy,
    Mcast,
    Gre,
    Udp,
    MplsUdp,
    Vxlan,
    L3Vxlan,
    Pbb,
    SipCopy,
    UnderlayEcmp,
    Fabric,
    Ecmp,
    Evpn,
    Encap,
    Tor,
    RouteLookup,
    UnknownUnicastFlood,
    FlowLookup,
    MacLearn,
    EtreeRoot,
}

fn flag_bit(flag: Flag) -> u32 {
    match flag {
        Flag::Policy => nh_flag::NH_FLAG_POLICY_ENABLED,
        Flag::RelaxedPolicy => nh_flag::NH_FLAG_RELAXED_POLICY,
        Flag::Mcast => nh_flag::NH_FLAG_MCAST,
        Flag::Gre => nh_flag::NH_FLAG_TUNNEL_GRE,
        Flag::Udp => nh_flag::NH_FLAG_TUNNEL_UDP,
        Flag::MplsUdp => nh_flag::NH_FLAG_TUNNEL_UDP_MPLS,
        Flag::Vxlan => nh_flag::NH_FLAG_TUNNEL_VXLAN,
        Flag::L3Vxlan => nh_flag::NH_FLAG_L3_VXLAN,
        Flag::Pbb => nh_flag::NH_FLAG_TUNNEL_PBB,
        Flag::SipCopy => nh_flag::NH_FLAG_TUNNEL_SIP_COPY,
        Flag::UnderlayEcmp => nh_flag::NH_FLAG_TUNNEL_UNDERLAY_ECMP,
        Flag::Fabric => nh_flag::NH_FLAG_COMPOSITE_FABRIC,
        Flag::Ecmp => nh_flag::NH_FLAG_COMPOSITE_ECMP,
        Flag::Evpn => nh_flag::NH_FLAG_COMPOSITE_EVPN,
        Flag::Encap => nh_flag::NH_FLAG_COMPOSITE_ENCAP,
        Flag::Tor => nh_flag::NH_FLAG_COMPOSITE_TOR,
        Flag::RouteLookup => nh_flag::NH_FLAG_ROUTE_LOOKUP,
        Flag::UnknownUnicastFlood => nh_flag::NH_FLAG_UNKNOWN_UC_FLOOD,
        Flag::FlowLookup => nh_flag::NH_FLAG_FLOW_LOOKUP,
        Flag::MacLearn => nh_flag::NH_FLAG_MAC_LEARN,
        Flag::EtreeRoot => nh_flag::NH_FLAG_ETREE_ROOT,
    }
}

/// The request that the options describe.
pub(super) fn nexthop(id: i32, options: &CreateOptions) -> anyhow::Result<NexthopReq> {
    let kind = options.kind.context("--create needs --type")?;
    let flags = options.flags.iter().map(|flag| flag_bit(*flag));
    let flags = flags.fold(if options.invalid { 0 } else { nh_flag::NH_FLAG_VALID }, |all, flag| all | flag);
    let mut request = NexthopReq {
        h_op: SandeshOp::ADD,
        nhr_id: id,
        nhr_type: type_number(kind),
        nhr_family: family_number(options),
        nhr_vrf: options.vrf,
        nhr_flags: flags,
        nhr_encap_oif_id: options.oif.clone(),
        nhr_encap_valid: vec![1; options.oif.len()],
        nhr_encap: ethernet(options)?,
        nhr_tun_sport: options.sport.to_be() as i16,
        nhr_tun_dport: options.dport.to_be() as i16,
        nhr_nh_list: options.cni.clone(),
        nhr_label_list: options.lbl.clone(),
        nhr_encap_crypt_oif_id: -1,
        ..NexthopReq::default()
    };
    if options.lbl.is_empty() {
        request.nhr_label_list = vec![-1; options.cni.len()];
    }
    request.nhr_encap_len = request.nhr_encap.len() as i32;
    if flags & nh_flag::NH_FLAG_L3_VXLAN != 0 {
        request.nhr_rw_dst_mac = mac(options.dmac.as_deref())?;
    }
    set_ends(&mut request, options);
    Ok(request)
}

fn set_ends(request: &mut NexthopReq, options: &CreateOptions) {
    match (options.sip, options.dip) {
        (Some(IpAddr::V4(source)), Some(IpAddr::V4(destination))) => {
            request.nhr_tun_sip = text::to_raw_inet(source);
            request.nhr_tun_dip = text::to_raw_inet(destination);
        }
        (Some(source), Some(destination)) => {
            request.nhr_tun_sip6 = text::octets(source);
            request.nhr_tun_dip6 = text::octets(destination);
        }
        _ => {}
    }
}

fn type_number(kind: Type) -> u8 {
    match kind {
        Type::Rcv => nh_type::NH_RCV,
        Type::Encap => nh_type::NH_ENCAP,
        Type::Tunnel => nh_type::NH_TUNNEL,
        Type::Resolve => nh_type::NH_RESOLVE,
        Type::Discard => nh_type::NH_DISCARD,
        Type::Composite => nh_type::NH_COMPOSITE,
        Type::VrfTranslate => nh_type::NH_VRF_TRANSLATE,
        Type::L2Rcv => nh_type::NH_L2_RCV,
    }
}

fn family_number(options: &CreateOptions) -> u8 {
    let number = match (options.family, options.sip) {
        (Some(Family::Inet6), _) | (None, Some(IpAddr::V6(_))) => family::AF_INET6,
        (Some(Family::Bridge), _) => family::AF_BRIDGE,
        (Some(Family::Inet) | None, _) => family::AF_INET,
    };
    number as u8
}

/// The new Ethernet header, once for every outgoing interface.
fn ethernet(options: &CreateOptions) -> anyhow::Result<Vec<u8>> {
    if options.dmac.is_none() {
        return Ok(Vec::new());
    }
    let ethertype: [u8; 2] =
        if matches!(options.sip, Some(IpAddr::V6(_))) { [0x86, 0xdd] } else { [0x08, 0x00] };
    let header = [mac(options.dmac.as_deref())?, mac(options.smac.as_deref())?, ethertype.to_vec()].concat();
    let copies = if options.flags.iter().any(|flag| matches!(flag, Flag::UnderlayEcmp)) {
        options.oif.len()
    } else {
        1
    };
    Ok(header.repeat(copies))
}

fn mac(text: Option<&str>) -> anyhow::Result<Vec<u8>> {
    text::parse_mac(text.unwrap_or_default()).map_err(|error| anyhow!("--smac, --dmac: {error}"))
}
