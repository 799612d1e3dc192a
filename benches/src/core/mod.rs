//! What `bench-core` measures: one worker, established flows, packets of random flows.

mod frames;
mod node;
mod report;
mod run;

pub use report::{Line, print_heading, write_json};
pub use run::{Bench, Run};

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
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.direction.name(), self.tunnel, self.flows, self.routes)
    }
}

impl Row {
    /// All rows, or the few of a quick run.
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
                    rows.extend(flows.iter().map(|&flows| Self { direction, tunnel, flows, routes }));
                }
            }
        }
        rows
    }
}
