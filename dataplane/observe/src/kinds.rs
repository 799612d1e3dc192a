//! Ports summed up by kind.

use crate::Port;

/// What all ports of one kind did together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KindFigures {
    /// Kind of port.
    pub kind: String,
    /// Frames received and sent.
    pub packets: u64,
    /// System calls made for them.
    pub syscalls: u64,
}

impl KindFigures {
    /// The kinds in the order in which they first appear.
    pub(crate) fn of(ports: &[Port]) -> Vec<Self> {
        let mut kinds: Vec<Self> = Vec::new();
        for port in ports {
            let place = kinds.iter().position(|kind| kind.kind == port.kind).unwrap_or_else(|| {
                kinds.push(Self { kind: port.kind.clone(), packets: 0, syscalls: 0 });
                kinds.len() - 1
            });
            kinds[place].packets += port.rx_packets + port.tx_packets;
            kinds[place].syscalls += port.rx_syscalls + port.tx_syscalls;
        }
        kinds
    }

    /// System calls for each packet; 0 without packets.
    #[must_use]
    pub fn syscalls_per_packet(&self) -> f64 {
        if self.packets == 0 { 0.0 } else { self.syscalls as f64 / self.packets as f64 }
    }
}
