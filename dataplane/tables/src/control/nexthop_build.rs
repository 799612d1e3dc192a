//! From the description of a nexthop to what the pipeline uses: the checks of control.md 4.4, type by type.

use std::net::IpAddr;
use std::sync::Arc;

use vr_types::{Mac, Release, TunnelKind, VifId};
use vr_wire::encap::{EncapTemplate, port};

use super::CommandError;
use super::nexthop::{NexthopKind, NexthopSpec};
use super::nexthop_store::NexthopStore;
use crate::fib::Route;
use crate::nexthop::{
    Composite, Encap, Member, NexthopAction, NexthopFamily, NexthopFlags, Rewrite, Tunnel, UdpTunnel,
    UnderlayEcmp,
};
use crate::snapshot::Snapshot;

/// A nexthop that passed its checks.
pub(super) struct Built {
    /// With nothing but the fields of its type.
    pub(super) spec: NexthopSpec,
    /// For the pipeline.
    pub(super) action: NexthopAction,
}

const fn invalid(what: &'static str) -> CommandError {
    CommandError::Invalid(what)
}

/// Checks a valid nexthop and builds it.
pub(super) fn build(
    snapshot: &Snapshot,
    store: &NexthopStore,
    spec: &NexthopSpec,
) -> Result<Built, CommandError> {
    let is_pbb = tunnel_type(spec.flags) == Some(TunnelType::Pbb) && spec.kind == NexthopKind::Tunnel;
    if spec.flags.contains(NexthopFlags::INDIRECT) && !is_pbb {
        return Err(invalid("only a PBB tunnel can be indirect"));
    }
    let mut stored = NexthopSpec::new(spec.id, spec.kind, spec.family, spec.flags, spec.vrf);
    let action = match spec.kind {
        NexthopKind::Discard => NexthopAction::Discard,
        NexthopKind::Resolve => NexthopAction::Resolve,
        NexthopKind::VrfTranslate => NexthopAction::VrfTranslate,
        NexthopKind::L2Receive => NexthopAction::L2Receive,
        NexthopKind::Receive => receive(snapshot, spec, &mut stored)?,
        NexthopKind::Encap => encap(snapshot, spec, &mut stored)?,
        NexthopKind::Tunnel => tunnel(snapshot, spec, &mut stored)?,
        NexthopKind::Composite => composite(snapshot, store, spec, &mut stored)?,
        NexthopKind::Dead => return Err(invalid("a valid nexthop has a type")),
    };
    Ok(Built { spec: stored, action })
}

/// The first interface, which has to exist.
fn interface(snapshot: &Snapshot, spec: &NexthopSpec, missing: CommandError) -> Result<VifId, CommandError> {
    let vif = *spec.interfaces.first().ok_or(invalid("the nexthop names no interface"))?;
    if snapshot.vif(vif).is_some() { Ok(vif) } else { Err(missing) }
}

const NO_INTERFACE: CommandError = CommandError::NoDevice("interface");

fn receive(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
) -> Result<NexthopAction, CommandError> {
    let vif = interface(snapshot, spec, NO_INTERFACE)?;
    stored.interfaces = vec![vif];
    Ok(NexthopAction::Receive(vif))
}

fn encap(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
) -> Result<NexthopAction, CommandError> {
    let group = spec.flags.contains(NexthopFlags::MCAST);
    match spec.family {
        NexthopFamily::Bridge if group => return Err(invalid("a bridge encap cannot be multicast")),
        NexthopFamily::Inet if !group && spec.rewrite.len() < 6 => {
            return Err(invalid("the rewrite holds no MAC"));
        }
        NexthopFamily::Inet | NexthopFamily::Bridge => {}
        NexthopFamily::Other(_) => return Err(invalid("an encap is of family inet or bridge")),
    }
    let vif = interface(snapshot, spec, invalid("the interface of the encap does not exist"))?;
    let rewrite = rewrite(&spec.rewrite)?;
    stored.interfaces = vec![vif];
    stored.rewrite.clone_from(&spec.rewrite);
    stored.encap_family = spec.encap_family;
    Ok(NexthopAction::Encap(Encap { vif, rewrite }))
}

fn rewrite(bytes: &[u8]) -> Result<Rewrite, CommandError> {
    Rewrite::try_from(bytes).map_err(|_| invalid("the rewrite is too long"))
}

/// Kind of a tunnel: the first of its flags.
#[derive(Clone, Copy, PartialEq, Eq)]
enum TunnelType {
    Labelled(TunnelKind),
    Udp,
    Pbb,
}

fn tunnel_type(flags: NexthopFlags) -> Option<TunnelType> {
    [
        (NexthopFlags::TUNNEL_GRE, TunnelType::Labelled(TunnelKind::MplsOverGre)),
        (NexthopFlags::TUNNEL_UDP, TunnelType::Udp),
        (NexthopFlags::TUNNEL_UDP_MPLS, TunnelType::Labelled(TunnelKind::MplsOverUdp)),
        (NexthopFlags::TUNNEL_VXLAN, TunnelType::Labelled(TunnelKind::Vxlan)),
        (NexthopFlags::TUNNEL_PBB, TunnelType::Pbb),
    ]
    .into_iter()
    .find_map(|(flag, kind)| flags.contains(flag).then_some(kind))
}

fn tunnel(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
) -> Result<NexthopAction, CommandError> {
    match tunnel_type(spec.flags).ok_or(invalid("the tunnel has no kind"))? {
        TunnelType::Labelled(kind) => labelled_tunnel(snapshot, spec, stored, kind),
        TunnelType::Udp => udp_tunnel(spec, stored),
        TunnelType::Pbb => pbb_tunnel(snapshot, spec, stored),
    }
}

fn ends(spec: &NexthopSpec, stored: &mut NexthopSpec) -> Result<(IpAddr, IpAddr), CommandError> {
    let (Some(source), Some(destination)) = (spec.source, spec.destination) else {
        return Err(invalid("the tunnel has no ends"));
    };
    if source.is_ipv4() != destination.is_ipv4() {
        return Err(invalid("the ends of the tunnel are of two families"));
    }
    stored.source = spec.source;
    stored.destination = spec.destination;
    Ok((source, destination))
}

fn labelled_tunnel(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
    kind: TunnelKind,
) -> Result<NexthopAction, CommandError> {
    let (source, destination) = ends(spec, stored)?;
    let inner_mac = if kind == TunnelKind::Vxlan && spec.flags.contains(NexthopFlags::L3_VXLAN) {
        spec.inner_mac.non_zero().ok_or(invalid("L3 VXLAN needs the MAC of the other router"))?
    } else {
        Mac::ZERO
    };
    let two_labels = spec.flags.contains(NexthopFlags::TUNNEL_MPLS_O_MPLS);
    let transport_label = two_labels.then_some(spec.transport_label);
    let mpls_port = match snapshot.options.release {
        Release::Current => port::MPLS,
        Release::R220 => port::MPLS_OLD,
    };
    let template = |ethernet: &[u8]| {
        EncapTemplate::new(kind, ethernet, source, destination, mpls_port, transport_label)
            .map_err(|_| invalid("the rewrite is too long"))
    };
    let (vif, first, underlay) = if spec.flags.contains(NexthopFlags::TUNNEL_UNDERLAY_ECMP) {
        let links = underlay_links(snapshot, spec, template)?;
        let (vif, first) =
            links.links.iter().flatten().next().copied().ok_or(CommandError::NoDevice("underlay link"))?;
        stored.interfaces.clone_from(&spec.interfaces);
        stored.link_valid.clone_from(&spec.link_valid);
        (vif, first, Some(Arc::new(links)))
    } else {
        let vif = interface(snapshot, spec, NO_INTERFACE)?;
        stored.interfaces = vec![vif];
        (vif, template(&spec.rewrite)?, None)
    };
    stored.rewrite.clone_from(&spec.rewrite);
    stored.inner_mac = spec.inner_mac;
    stored.pbb_mac = spec.pbb_mac;
    stored.crypt_interface = spec.crypt_interface;
    stored.transport_label = transport_label.unwrap_or(0);
    Ok(NexthopAction::Tunnel(Box::new(Tunnel {
        kind,
        vif,
        source,
        destination,
        template: first,
        transport_label,
        inner_mac,
        underlay,
    })))
}

fn underlay_links(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    template: impl Fn(&[u8]) -> Result<EncapTemplate, CommandError>,
) -> Result<UnderlayEcmp, CommandError> {
    let (Ok(vifs), Ok(valid)) =
        (<[VifId; 3]>::try_from(&spec.interfaces[..]), <[bool; 3]>::try_from(&spec.link_valid[..]))
    else {
        return Err(invalid("an underlay with several links has three of them"));
    };
    let length = spec.rewrite.len() / 3;
    if length == 0 || length * 3 != spec.rewrite.len() {
        return Err(invalid("the rewrites of the underlay links differ in length"));
    }
    let mut links = [const { None }; 3];
    for (i, bytes) in spec.rewrite.chunks_exact(length).enumerate() {
        if valid[i] && snapshot.vif(vifs[i]).is_some() {
            links[i] = Some((vifs[i], template(bytes)?));
        }
    }
    Ok(UnderlayEcmp { links })
}

fn udp_tunnel(spec: &NexthopSpec, stored: &mut NexthopSpec) -> Result<NexthopAction, CommandError> {
    let (source, destination) = ends(spec, stored)?;
    stored.source_port = spec.source_port;
    stored.destination_port = spec.destination_port;
    Ok(NexthopAction::UdpTunnel(UdpTunnel {
        source,
        destination,
        source_port: spec.source_port,
        destination_port: spec.destination_port,
    }))
}

fn pbb_tunnel(
    snapshot: &Snapshot,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
) -> Result<NexthopAction, CommandError> {
    if !spec.flags.contains(NexthopFlags::INDIRECT) {
        return Err(invalid("a PBB tunnel is indirect"));
    }
    let mac = spec.pbb_mac.non_zero().ok_or(invalid("a PBB tunnel needs a MAC"))?;
    let direct = match &spec.members[..] {
        [] => None,
        [Some(id)] => Some(
            *snapshot.nexthop_slots.get(id.index()).ok_or(invalid("the direct nexthop does not exist"))?,
        ),
        _ => return Err(invalid("there can be one direct nexthop")),
    };
    stored.pbb_mac = spec.pbb_mac;
    stored.members.clone_from(&spec.members);
    stored.labels.clone_from(&spec.labels);
    let label = spec.labels.first().and_then(|label| member_label(*label));
    Ok(NexthopAction::Pbb { mac, label, direct })
}

fn member_label(label: i32) -> Option<u32> {
    u32::try_from(label).ok().filter(|label| *label != Route::NO_LABEL)
}

fn composite(
    snapshot: &Snapshot,
    store: &NexthopStore,
    spec: &NexthopSpec,
    stored: &mut NexthopSpec,
) -> Result<NexthopAction, CommandError> {
    if spec.members.len() != spec.labels.len() {
        return Err(invalid("a composite has a label for each member"));
    }
    let member = |(id, label): (&Option<_>, &i32)| {
        let id: &vr_types::NexthopId = id.as_ref()?;
        let nexthop = *snapshot.nexthop_slots.get(id.index())?;
        Some(Member { nexthop, label: member_label(*label) })
    };
    let members: Vec<Option<Member>> = spec.members.iter().zip(&spec.labels).map(member).collect();
    for member in members.iter().flatten() {
        let part = store.get(member.nexthop).ok_or(invalid("a member does not exist"))?;
        check_member(spec, &part.spec)?;
    }
    let is_tree = NexthopFlags::COMPOSITE_FABRIC
        | NexthopFlags::COMPOSITE_EVPN
        | NexthopFlags::COMPOSITE_TOR
        | NexthopFlags::MCAST;
    if spec.flags.intersects(is_tree) && matches!(spec.family, NexthopFamily::Other(_)) {
        return Err(invalid("a replicating composite is of family inet or bridge"));
    }
    stored.members = spec.members.iter().zip(&members).map(|(id, member)| member.and(*id)).collect();
    stored.labels.clone_from(&spec.labels);
    stored.hash_fields = spec.hash_fields;
    Ok(NexthopAction::Composite(Arc::new(Composite { members, hash_fields: spec.hash_fields })))
}

fn check_member(composite: &NexthopSpec, member: &NexthopSpec) -> Result<(), CommandError> {
    let flags = composite.flags;
    let remote = NexthopFlags::COMPOSITE_FABRIC | NexthopFlags::COMPOSITE_EVPN | NexthopFlags::COMPOSITE_TOR;
    if flags.intersects(remote) {
        let udp = member.flags.contains(NexthopFlags::TUNNEL_UDP);
        if member.kind != NexthopKind::Tunnel || udp {
            return Err(invalid("members of this composite are tunnels"));
        }
        let vxlan = member.flags.contains(NexthopFlags::TUNNEL_VXLAN);
        if flags.contains(NexthopFlags::COMPOSITE_TOR) && !vxlan {
            return Err(invalid("members of a TOR composite are VXLAN tunnels"));
        }
    }
    if flags.contains(NexthopFlags::COMPOSITE_ENCAP) {
        let group = member.flags.contains(NexthopFlags::MCAST);
        let fits = match member.family {
            NexthopFamily::Inet => group && composite.family != NexthopFamily::Bridge,
            NexthopFamily::Bridge => !group && composite.family != NexthopFamily::Inet,
            NexthopFamily::Other(_) => false,
        };
        if member.kind != NexthopKind::Encap || !fits {
            return Err(invalid("members of an encap composite are encaps of its family"));
        }
    }
    if flags.contains(NexthopFlags::MCAST)
        && !(member.kind == NexthopKind::Composite
            && member.flags.intersects(remote | NexthopFlags::COMPOSITE_ENCAP))
    {
        return Err(invalid("members of a replication tree are composites"));
    }
    Ok(())
}
