use core::fmt;

/// Encapsulation between nodes (forwarding.md 4.10).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum TunnelKind {
    /// MPLS in GRE (RFC 4023).
    MplsOverGre,
    /// MPLS in UDP (RFC 7510), destination port 6635, or 51234 of older releases.
    MplsOverUdp,
    /// VXLAN (RFC 7348), destination port 4789.
    Vxlan,
}

impl TunnelKind {
    /// Every kind.
    pub const ALL: [Self; 3] = [Self::MplsOverGre, Self::MplsOverUdp, Self::Vxlan];

    /// Bytes that this kind adds in front of the payload behind an IPv4 underlay header, that header
    /// included and the outer Ethernet header not (forwarding.md 8.1).
    #[must_use]
    pub const fn overhead(self) -> usize {
        match self {
            Self::MplsOverGre => 28,
            Self::MplsOverUdp => 32,
            Self::Vxlan => 36,
        }
    }
}

impl fmt::Display for TunnelKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::MplsOverGre => "mplsogre",
            Self::MplsOverUdp => "mplsoudp",
            Self::Vxlan => "vxlan",
        })
    }
}
