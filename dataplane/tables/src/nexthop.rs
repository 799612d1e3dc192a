//! Nexthops (forwarding.md 4): what the pipeline does with a packet once its way is known.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;
use vr_types::{Mac, NexthopId, TunnelKind, VifId, VrfId};
use vr_wire::encap::EncapTemplate;

/// Position of a nexthop object. An object outlives its id while routes refer to it: a nexthop that is
/// deleted and added again under the same id is another object, and routes keep the one that they were
/// given.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct NexthopSlot(pub u32);

impl NexthopSlot {
    /// The built-in discard nexthop.
    pub const DISCARD: Self = Self(0);

    /// Position in the table.
    #[inline]
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Debug for NexthopSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NexthopSlot({})", self.0)
    }
}

bitflags::bitflags! {
    /// Flags of a nexthop, numbered as the current release does (forwarding.md 4.0).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct NexthopFlags: u32 {
        /// Complete; without it packets are dropped.
        const VALID = 0x1;
        /// Flow lookup needed.
        const POLICY = 0x2;
        /// MPLS over GRE.
        const TUNNEL_GRE = 0x8;
        /// Plain UDP, for mirrored packets.
        const TUNNEL_UDP = 0x10;
        /// Multicast rewrite, or root of a replication tree.
        const MCAST = 0x20;
        /// MPLS over UDP.
        const TUNNEL_UDP_MPLS = 0x40;
        /// VXLAN.
        const TUNNEL_VXLAN = 0x80;
        /// Policy only for flows of link-local services.
        const RELAXED_POLICY = 0x100;
        /// Composite of tree neighbours.
        const COMPOSITE_FABRIC = 0x200;
        /// Composite of which one member is chosen.
        const COMPOSITE_ECMP = 0x400;
        /// Labelled unicast ECMP.
        const COMPOSITE_LU_ECMP = 0x800;
        /// Composite of EVPN peers.
        const COMPOSITE_EVPN = 0x1000;
        /// Composite of local interfaces.
        const COMPOSITE_ENCAP = 0x2000;
        /// Composite of top of rack switches.
        const COMPOSITE_TOR = 0x4000;
        /// Route again after VRF translation.
        const ROUTE_LOOKUP = 0x8000;
        /// Flood unknown unicast.
        const UNKNOWN_UC_FLOOD = 0x1_0000;
        /// Tunnel source is the mirrored interface's address.
        const TUNNEL_SIP_COPY = 0x2_0000;
        /// Force a flow lookup.
        const FLOW_LOOKUP = 0x4_0000;
        /// PBB tunnel.
        const TUNNEL_PBB = 0x8_0000;
        /// Learn source MACs.
        const MAC_LEARN = 0x10_0000;
        /// E-Tree root.
        const ETREE_ROOT = 0x20_0000;
        /// Points to another nexthop.
        const INDIRECT = 0x40_0000;
        /// A control word precedes the inner frame.
        const L2_CONTROL_DATA = 0x80_0000;
        /// Traffic has to be encrypted.
        const CRYPT_TRAFFIC = 0x100_0000;
        /// VXLAN for routed packets.
        const L3_VXLAN = 0x200_0000;
        /// Two labels.
        const TUNNEL_MPLS_O_MPLS = 0x400_0000;
        /// Drop group frames from unknown tree neighbours.
        const VALIDATE_MCAST_SRC = 0x800_0000;
        /// Several underlay links.
        const TUNNEL_UNDERLAY_ECMP = 0x1000_0000;
    }
}

/// Address family of a nexthop: which header its packets start with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NexthopFamily {
    /// IPv4 or IPv6 packets.
    Inet,
    /// Ethernet frames.
    Bridge,
    /// Neither; packets are dropped where the family matters.
    Other(u8),
}

impl NexthopFamily {
    /// The family with this number.
    #[must_use]
    pub const fn from_number(number: u8) -> Self {
        match number {
            vr_types::family::INET => Self::Inet,
            vr_types::family::BRIDGE => Self::Bridge,
            other => Self::Other(other),
        }
    }
}

/// Bytes written in front of a packet that goes to a local interface.
pub type Rewrite = ArrayVec<u8, 32>;

/// A local interface.
#[derive(Clone, Debug)]
pub struct Encap {
    /// Where the packet goes.
    pub vif: VifId,
    /// Layer 2 header to write.
    pub rewrite: Rewrite,
}

/// A tunnel that carries a label or VNI.
#[derive(Clone, Debug)]
pub struct Tunnel {
    /// Encapsulation.
    pub kind: TunnelKind,
    /// Underlay interface.
    pub vif: VifId,
    /// Our end.
    pub source: IpAddr,
    /// The peer's end.
    pub destination: IpAddr,
    /// Outer headers, ready to be copied.
    pub template: EncapTemplate,
    /// Second label of MPLS over MPLS.
    pub transport_label: Option<u32>,
    /// Inner destination MAC of L3 VXLAN.
    pub inner_mac: Mac,
    /// More links than one.
    pub underlay: Option<Arc<UnderlayEcmp>>,
}

/// Up to three underlay links of one tunnel; a slot without a usable link is `None`.
#[derive(Clone, Debug)]
pub struct UnderlayEcmp {
    /// By physical index.
    pub links: [Option<(VifId, EncapTemplate)>; 3],
}

/// A plain UDP tunnel for mirrored packets; routed by its destination.
#[derive(Clone, Copy, Debug)]
pub struct UdpTunnel {
    /// Our end.
    pub source: IpAddr,
    /// The analyzer.
    pub destination: IpAddr,
    /// Source port, host order.
    pub source_port: u16,
    /// Destination port, host order.
    pub destination_port: u16,
}

/// One member of a composite; its position is its ECMP index.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The nexthop.
    pub nexthop: NexthopSlot,
    /// Label to push, if there is one.
    pub label: Option<u32>,
}

/// Several nexthops.
#[derive(Clone, Debug, Default)]
pub struct Composite {
    /// By position; `None` where the named nexthop did not exist.
    pub members: Vec<Option<Member>>,
    /// Fields that choose the member, 0 for all.
    pub hash_fields: u8,
}

/// What a nexthop does.
#[derive(Clone, Debug)]
pub enum NexthopAction {
    /// Stored without being valid.
    Invalid,
    /// Drop.
    Discard,
    /// For the host, by this interface.
    Receive(VifId),
    /// To a local interface.
    Encap(Encap),
    /// Into a tunnel.
    Tunnel(Box<Tunnel>),
    /// Into a mirror tunnel.
    UdpTunnel(UdpTunnel),
    /// Into a provider backbone frame.
    Pbb {
        /// Destination backbone MAC.
        mac: Mac,
        /// Label of the direct nexthop.
        label: Option<u32>,
        /// Where the result goes.
        direct: Option<NexthopSlot>,
    },
    /// Ask the agent for the underlay neighbour.
    Resolve,
    /// Several nexthops.
    Composite(Arc<Composite>),
    /// Go on in another VRF.
    VrfTranslate,
    /// Our MAC: route the packet.
    L2Receive,
}

/// A nexthop as the pipeline sees it.
#[derive(Clone, Debug)]
pub struct Nexthop {
    /// Id under which the agent knows it.
    pub id: NexthopId,
    /// Its flags.
    pub flags: NexthopFlags,
    /// What its packets start with.
    pub family: NexthopFamily,
    /// Its VRF, [`VrfId::NONE`] if it has none.
    pub vrf: VrfId,
    /// What it does.
    pub action: NexthopAction,
}

impl Nexthop {
    /// Nexthop 0.
    #[must_use]
    pub fn discard() -> Self {
        Self {
            id: NexthopId::DISCARD,
            flags: NexthopFlags::VALID,
            family: NexthopFamily::Inet,
            vrf: VrfId::FABRIC,
            action: NexthopAction::Discard,
        }
    }

    /// The local interface or underlay link that it leads to, if it is of a kind that has one.
    #[must_use]
    pub fn vif(&self) -> Option<VifId> {
        match &self.action {
            NexthopAction::Receive(vif) => Some(*vif),
            NexthopAction::Encap(encap) => Some(encap.vif),
            NexthopAction::Tunnel(tunnel) => Some(tunnel.vif),
            _ => None,
        }
    }

    /// Whether a flow lookup is due before the nexthop is used.
    #[inline]
    #[must_use]
    pub const fn wants_flow(&self) -> bool {
        self.flags.intersects(NexthopFlags::POLICY.union(NexthopFlags::FLOW_LOOKUP))
    }
}
