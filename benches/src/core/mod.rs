//! What `bench-core` measures: established flows, packets of random flows.

mod frames;
mod memory;
mod report;
mod run;
mod scaling;
mod tables;

pub use memory::{available, print_memory};
pub use report::{Line, print_heading, print_ratio, write_json};
pub use run::{Bench, Run};
pub use scaling::{member, print_scaling};

use std::fmt;

use vr_types::TunnelKind;

/// Into or out of a tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From a VM to the fabric.
    Encap,
    /// From the fabric to a VM.
    Decap,
}

impl Direction {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Encap => "encap",
            Self::Decap => "decap",
        }
    }
}

/// What the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Traffic {
    /// UDP without checksum.
    Udp,
    /// TCP segments of established connections, each with another acknowledgement number.
    Tcp,
    /// The same with a partial checksum, as guests send them. Encapsulation only.
    TcpPartial,
    /// UDP with checksum, of flows that translate the guest's address and port.
    Nat,
    /// The same packets of flows that do not, among as many entries: what [`Traffic::Nat`] is compared with.
    Paired,
}

impl Traffic {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::TcpPartial => "tcp-partial",
            Self::Nat => "nat",
            Self::Paired => "not-nat",
        }
    }

    pub(crate) const fn is_tcp(self) -> bool {
        matches!(self, Self::Tcp | Self::TcpPartial)
    }

    /// Whether every flow has a reverse flow in the table.
    pub(crate) const fn has_reverse(self) -> bool {
        matches!(self, Self::Nat | Self::Paired)
    }
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// Direction.
    pub direction: Direction,
    /// Tunnel kind; VXLAN is bridged, the others are routed.
    pub tunnel: TunnelKind,
    /// Flow entries that packets are spread over.
    pub flows: u32,
    /// Routes, or bridge entries for VXLAN, that they are spread over.
    pub routes: u32,
    /// The packets.
    pub traffic: Traffic,
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.direction.name(), self.tunnel, self.flows, self.routes)?;
        if self.traffic == Traffic::Udp { Ok(()) } else { write!(f, " {}", self.traffic.name()) }
    }
}

/// Flows of the rows that only fit machines with some memory.
const MANY: u32 = 10_000_000;

impl Row {
    const fn new(
        direction: Direction,
        tunnel: TunnelKind,
        flows: u32,
        routes: u32,
        traffic: Traffic,
    ) -> Self {
        Self { direction, tunnel, flows, routes, traffic }
    }

    /// The rows with UDP, or the few of a quick run.
    #[must_use]
    pub fn all(quick: bool) -> Vec<Self> {
        let (flows, routes): (&[u32], &[u32]) =
            if quick { (&[10_000], &[1]) } else { (&[1, 10_000, 1_000_000], &[1, 100_000]) };
        let mut rows = Vec::new();
        for tunnel in [TunnelKind::MplsOverUdp, TunnelKind::MplsOverGre, TunnelKind::Vxlan] {
            if quick && tunnel == TunnelKind::MplsOverGre {
                continue;
            }
            for direction in [Direction::Encap, Direction::Decap] {
                for &routes in routes {
                    rows.extend(
                        flows.iter().map(|&flows| Self::new(direction, tunnel, flows, routes, Traffic::Udp)),
                    );
                }
                if !quick && tunnel != TunnelKind::MplsOverGre {
                    rows.push(Self::new(direction, tunnel, MANY, 1, Traffic::Udp));
                }
            }
        }
        rows
    }

    /// The rows with other packets.
    #[must_use]
    pub fn others(quick: bool) -> Vec<Self> {
        let flows: &[u32] = if quick { &[10_000] } else { &[10_000, 1_000_000] };
        let mut rows = Vec::new();
        for traffic in [Traffic::Tcp, Traffic::TcpPartial] {
            for direction in [Direction::Encap, Direction::Decap] {
                if traffic == Traffic::Tcp || direction == Direction::Encap {
                    let row = |&flows| Self::new(direction, TunnelKind::MplsOverUdp, flows, 1, traffic);
                    rows.extend(flows.iter().map(row));
                }
            }
        }
        rows
    }

    /// Pairs of rows: flows that translate, and flows that do not.
    #[must_use]
    pub fn pairs(quick: bool) -> Vec<[Self; 2]> {
        let flows: &[u32] = if quick { &[10_000] } else { &[10_000, 1_000_000] };
        let pair = |direction, flows| {
            [Traffic::Nat, Traffic::Paired]
                .map(|traffic| Self::new(direction, TunnelKind::MplsOverUdp, flows, 1, traffic))
        };
        [Direction::Encap, Direction::Decap]
            .into_iter()
            .flat_map(|direction| flows.iter().map(move |&flows| pair(direction, flows)))
            .collect()
    }

    /// What the two workers of [`print_scaling`] do.
    #[must_use]
    pub const fn scaling(flows: u32) -> Self {
        Self::new(Direction::Encap, TunnelKind::MplsOverUdp, flows, 1, Traffic::Udp)
    }
}
