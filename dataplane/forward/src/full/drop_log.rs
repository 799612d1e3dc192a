//! Dropped packets are noted for the operator (forwarding.md 9.8).

use vr_tables::drop_log::{Dropped, HEAD};
use vr_types::DropReason;

use super::{Full, Kind, Pkt};

impl Full<'_> {
    /// Notes a packet that is dropped now.
    pub(super) fn log_drop(&self, pkt: &Pkt, reason: DropReason) {
        let logging = self.tables.options.drop_log;
        if reason.is_bookkeeping() || logging.only.is_some_and(|only| only != reason) {
            return;
        }
        let mut head = [0; HEAD];
        let bytes = if logging.minimal { &[] } else { first_bytes(pkt) };
        head[..bytes.len()].copy_from_slice(bytes);
        let nexthop = pkt.nexthop.and_then(|slot| self.tables.nexthop(slot));
        self.stats.drop_log.write(&Dropped {
            at: self.now.0,
            reason,
            kind: number(pkt.kind),
            vif: pkt.vif,
            nexthop: nexthop.map_or(0, |nexthop| nexthop.id.0),
            length: pkt.received.1.min(u32::from(u16::MAX)) as u16,
            head,
            head_len: bytes.len() as u8,
        });
    }
}

/// From the innermost IP header on; of other packets from the start of the frame as received.
fn first_bytes(pkt: &Pkt) -> &[u8] {
    let start = match pkt.kind {
        Kind::Inet | Kind::Inet6 | Kind::InetInTunnel | Kind::Inet6InTunnel => pkt.inner_network,
        Kind::Arp | Kind::OtherInTunnel | Kind::Agent | Kind::Unknown => pkt.received.0,
    };
    let end = pkt.frame.headroom() + pkt.frame.len();
    let length = end.saturating_sub(usize::from(start)).min(HEAD);
    pkt.frame.buffer_bytes(usize::from(start), length).unwrap_or_default()
}

/// Number of the type in messages (constants.tsv, `packet_type`).
const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::Arp => 1,
        Kind::Inet => 2,
        Kind::Inet6 => 3,
        Kind::InetInTunnel => 4,
        Kind::Inet6InTunnel => 5,
        Kind::Agent => 6,
        Kind::OtherInTunnel | Kind::Unknown => 8,
    }
}
