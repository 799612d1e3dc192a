//! Interfaces of the forwarder (forwarding.md 1).

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use vr_types::{Mac, MirrorId, NexthopId, VifId, VrfId};

use crate::fat_flow::FatRules;
use crate::flow::Source;

/// Type of an interface; the numbers are those of messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum VifKind {
    /// `vhost0`: the host's side.
    Host = 0,
    /// `pkt0`: the agent.
    Agent = 1,
    /// The underlay.
    Physical = 2,
    /// A pod or VM.
    Virtual = 3,
    /// Xen link local host interface.
    XenLinkLocal = 4,
    /// The host's side of a simple gateway.
    Gateway = 5,
    /// VLAN sub-interface of another interface.
    VirtualVlan = 6,
    /// Statistics pseudo device.
    Stats = 7,
    /// Tagged physical; nobody uses it.
    Vlan = 8,
    /// Receives copies of what another interface receives and sends.
    Monitoring = 9,
}

impl VifKind {
    /// The kind with this number.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        Some(match number {
            0 => Self::Host,
            1 => Self::Agent,
            2 => Self::Physical,
            3 => Self::Virtual,
            4 => Self::XenLinkLocal,
            5 => Self::Gateway,
            6 => Self::VirtualVlan,
            7 => Self::Stats,
            8 => Self::Vlan,
            9 => Self::Monitoring,
            _ => return None,
        })
    }

    /// An interface of the host's kernel: `vhost0`, a gateway, Xen's.
    #[inline]
    #[must_use]
    pub const fn is_host_side(self) -> bool {
        matches!(self, Self::Host | Self::XenLinkLocal | Self::Gateway)
    }

    /// An interface of a guest.
    #[inline]
    #[must_use]
    pub const fn is_guest(self) -> bool {
        matches!(self, Self::Virtual | Self::VirtualVlan)
    }

    /// MTU of an interface whose request carries none, Ethernet header included.
    #[must_use]
    pub const fn default_mtu(self) -> u32 {
        match self {
            Self::Virtual => 9160,
            _ => 1514,
        }
    }
}

bitflags::bitflags! {
    /// Flags of an interface (forwarding.md 1.2).
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct VifFlags: u32 {
        /// Flow lookup for unicast untagged IP from this interface.
        const POLICY = 0x1;
        /// Cross-connect mode.
        const XCONNECT = 0x2;
        /// VLAN to VRF table is in force.
        const SERVICE_IF = 0x4;
        /// Mirror what is received.
        const MIRROR_RX = 0x8;
        /// Mirror what is sent.
        const MIRROR_TX = 0x10;
        /// The device completes inner checksums of tunnels. Owned by the forwarder.
        const TX_CSUM_OFFLOAD = 0x20;
        /// Layer 3.
        const L3 = 0x40;
        /// Layer 2.
        const L2 = 0x80;
        /// Trap DHCP.
        const DHCP = 0x100;
        /// Physical interface of the host's `vhost0`.
        const VHOST_PHYS = 0x200;
        /// Accept frames for other MACs.
        const PROMISCUOUS = 0x400;
        /// Untagged frames count as VLAN 0 when sub-interfaces are looked up.
        const NATIVE_VLAN_TAG = 0x800;
        /// Answer ARP only for gateway nexthops.
        const NO_ARP_PROXY = 0x1000;
        /// Informational.
        const PMD = 0x2000;
        /// Informational.
        const FILTERING_OFFLOAD = 0x4000;
        /// A monitoring interface copies this one.
        const MONITORED = 0x8000;
        /// Flood unknown unicast from this interface.
        const UNKNOWN_UC_FLOOD = 0x1_0000;
        /// VLAN offload. Owned by the forwarder.
        const VLAN_OFFLOAD = 0x2_0000;
        /// Refuse packets that need a new flow.
        const DROP_NEW_FLOWS = 0x4_0000;
        /// Learn source MACs.
        const MAC_LEARN = 0x8_0000;
        /// Answer every ARP request with the interface's MAC.
        const MAC_PROXY = 0x10_0000;
        /// E-Tree root.
        const ETREE_ROOT = 0x20_0000;
        /// The guest wants receive offload. Owned by the forwarder.
        const GRO_NEEDED = 0x40_0000;
        /// Mergeable receive buffers negotiated. Owned by the forwarder.
        const MRG_RXBUF = 0x80_0000;
        /// Mirror without the sub-interface's tag.
        const MIRROR_NOTAG = 0x100_0000;
        /// Trap IGMP.
        const IGMP = 0x200_0000;
        /// Test mode: the device is a vhost-user front end.
        const MOCK_DEVICE = 0x400_0000;
        /// Left side of a host based service.
        const HBS_LEFT = 0x800_0000;
        /// Right side of a host based service.
        const HBS_RIGHT = 0x1000_0000;
        /// Allow bridging from the fabric back to a tunnel.
        const FABRIC_GATEWAY = 0x2000_0000;
        /// MAC and IP learning.
        const MAC_IP_LEARNING = 0x4000_0000;
    }
}

impl VifFlags {
    /// Flags that requests cannot change.
    pub const OWNED: Self =
        Self::TX_CSUM_OFFLOAD.union(Self::VLAN_OFFLOAD).union(Self::GRO_NEEDED).union(Self::MRG_RXBUF);
}

/// What the pipeline needs of an interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vif {
    /// Its number.
    pub id: VifId,
    /// Its type.
    pub kind: VifKind,
    /// Another one after each change.
    pub version: u16,
    /// Its flags.
    pub flags: VifFlags,
    /// VRF of packets from it; [`VrfId::NONE`] if the request named none.
    pub vrf: VrfId,
    /// VRF for group MACs from it; [`VrfId::NONE`] for the same.
    pub mcast_vrf: VrfId,
    /// Flow key nexthop of packets from it; it need not exist.
    pub nexthop: NexthopId,
    /// Its MAC.
    pub mac: Mac,
    /// MTU with the Ethernet header.
    pub mtu: u32,
    /// Mirror entry of port mirroring.
    pub mirror: MirrorId,
    /// QoS map, negative for none.
    pub qos_map: i16,
    /// VLAN that it receives as a sub-interface.
    pub vlan: u16,
    /// VLAN that it pushes as a sub-interface; 0 for none.
    pub outer_vlan: u16,
    /// The interface below a sub-interface, or [`VifId::NONE`].
    pub parent: VifId,
    /// IPv4 address, unspecified if none.
    pub ip: Ipv4Addr,
    /// IPv6 address, unspecified if none.
    pub ip6: Ipv6Addr,
    /// What is rarely needed.
    pub details: Arc<VifDetails>,
}

impl Vif {
    /// Where packets from the interface come from, as flows remember it.
    #[inline]
    #[must_use]
    pub const fn source(&self) -> Source {
        Source::interface(self.id, self.version)
    }
}

/// VRF and flow key nexthop of one VLAN of a service interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceVlan {
    /// The VRF.
    pub vrf: VrfId,
    /// The flow key nexthop.
    pub nexthop: NexthopId,
}

/// Aggregation of flows as configured; kept and returned as given (forwarding.md 6.11).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FatFlow {
    /// Rules: port, protocol, ignored address, aggregation.
    pub rules: Vec<u32>,
    /// Excluded IPv4 prefixes: length in the upper, raw address in the lower half.
    pub exclude_ip: Vec<u64>,
    /// Excluded IPv6 prefixes: first eight bytes, last eight bytes, length.
    pub exclude_ip6: Vec<(u64, u64, u16)>,
    /// Source prefix of each rule: first and last eight bytes, mask length, aggregate length.
    pub source: Vec<(u64, u64, u8, u8)>,
    /// Destination prefix of each rule, as `source`.
    pub destination: Vec<(u64, u64, u8, u8)>,
}

/// The part of an interface that no packet needs at speed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VifDetails {
    /// Name, at most 63 bytes.
    pub name: String,
    /// Transport of the request, 0 to 3.
    pub transport: u8,
    /// Device number of the request.
    pub os_index: u32,
    /// Source MACs of a VLAN sub-interface.
    pub source_macs: Vec<Mac>,
    /// VLAN to VRF table of a service interface.
    pub service_vlans: Vec<Option<ServiceVlan>>,
    /// Whether the device is known to be down.
    pub is_down: bool,
    /// The monitoring interface that gets copies, while the flag says that there is one.
    pub monitor: Option<VifId>,
    /// Sub-interfaces: VLAN, source MAC (zero for any), number.
    pub sub_interfaces: Vec<(u16, Mac, VifId)>,
    /// PBB service.
    pub isid: u32,
    /// PBB MAC.
    pub pbb_mac: Mac,
    /// Metadata prepended to mirrored copies of received frames.
    pub mirror_in: Vec<u8>,
    /// Metadata prepended to mirrored copies of sent frames.
    pub mirror_out: Vec<u8>,
    /// Flow aggregation.
    pub fat_flow: FatFlow,
    /// The same for the pipeline; `None` without rules.
    pub fat_rules: Option<Arc<FatRules>>,
    /// Loopback address, host order as the agent sends it.
    pub loopback_ip: u32,
    /// Hardware queues as given.
    pub hw_queues: Vec<i16>,
    /// Role of the guest's vhost-user socket as given.
    pub vhostuser_mode: u8,
}
