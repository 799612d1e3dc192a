/// Why a packet is given to the agent (control.md 6.3). The numbers travel in the agent header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum TrapReason {
    /// ARP or neighbour discovery that the agent should see.
    Arp = 2,
    /// Layer 2 control frame.
    L2Protocols = 3,
    /// Packet routed to a nexthop on pkt0.
    Nexthop = 4,
    /// Underlay neighbour unknown.
    Resolve = 5,
    /// First packet of a new flow entry.
    FlowMiss = 6,
    /// DHCP, router solicitation, IGMP.
    L3Protocols = 7,
    /// Diagnostic packet reached its destination.
    Diag = 8,
    /// Too large for the tunnel and not to be fragmented.
    HandleDf = 11,
    /// TTL expired.
    ZeroTtl = 12,
    /// ICMP error about a tunnel packet.
    IcmpError = 13,
    /// First queued packet of an entry that the agent put back to HOLD.
    FlowActionHold = 15,
    /// VXLAN packet with the router alert bit.
    RouterAlert = 16,
    /// Source MAC learnt.
    MacLearn = 17,
    /// Learnt MAC seen elsewhere.
    MacMove = 18,
    /// MAC and IP learning.
    MacIpLearning = 19,
    /// BFD packet for the agent.
    Bfd = 20,
}

impl TrapReason {
    /// Whether the copy for the agent is cut to [`Trap::CUT_LENGTH`] when the packet has to be copied
    /// (forwarding.md 1.4).
    #[must_use]
    pub const fn may_be_cut(self) -> bool {
        matches!(
            self,
            Self::Nexthop
                | Self::Resolve
                | Self::FlowMiss
                | Self::FlowActionHold
                | Self::HandleDf
                | Self::ZeroTtl
                | Self::MacLearn
                | Self::MacMove
        )
    }
}

/// A trap with the parameter words of the agent header; unused words are zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trap {
    /// Why.
    pub reason: TrapReason,
    /// `cmd_param` to `cmd_param_4`.
    pub params: [u32; 5],
    /// `cmd_param_5`: the generation id of flow traps.
    pub param5: u8,
}

impl Trap {
    /// Bytes kept of a frame whose copy is cut (forwarding.md 1.4).
    pub const CUT_LENGTH: usize = 190;

    /// A trap without parameters.
    #[must_use]
    pub const fn new(reason: TrapReason) -> Self {
        Self { reason, params: [0; 5], param5: 0 }
    }

    /// A trap with one parameter word.
    #[must_use]
    pub const fn with(reason: TrapReason, param: u32) -> Self {
        Self { reason, params: [param, 0, 0, 0, 0], param5: 0 }
    }
}
