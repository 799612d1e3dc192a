//! Copies for an analyzer (forwarding.md 9.1).

use super::{Model, Packet};
use crate::packets;
use crate::world::{ANALYZER, FABRIC, GUEST_MAC, NODE, NODE_MAC, PEER_MAC, ROUTED};

/// Metadata of nothing.
const NO_METADATA: [u8; 2] = [0xff, 0];
/// Where analyzers listen.
const PORT: u16 = 8099;

impl Model {
    /// The only mirror is number 0. It gets the frame as it came in, or what was in its tunnel with the Ethernet header
    /// that it is about to get; behind UDP, whose source port and checksum are left zero.
    pub(super) fn mirror(&mut self, packet: &Packet, number: u8) {
        if number != 0 {
            return;
        }
        let guest = packet.nexthop.and_then(|nexthop| ROUTED.iter().position(|routed| *routed == nexthop));
        let frame = match guest {
            _ if packet.vif != FABRIC => packet.frame.clone(),
            Some(guest) if packet.start == packet.ip => packets::ethernet(
                GUEST_MAC[guest],
                vr_types::Mac::VIRTUAL_ROUTER,
                false,
                &packet.frame[packet.start..],
            ),
            _ => packet.frame[packet.start..].to_vec(),
        };
        self.ip_id = self.ip_id.wrapping_add(1).max(1);
        let len = (8 + NO_METADATA.len() + frame.len()) as u16;
        let mut header = vec![0x45, 0];
        header.extend((20 + len).to_be_bytes());
        header.extend(self.ip_id.to_be_bytes());
        header.extend([0, 0, 63, packets::UDP, 0, 0]);
        header.extend(NODE);
        header.extend(ANALYZER);
        let sum = vr_wire::checksum::of(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        let [port, len] = [PORT, len].map(u16::to_be_bytes);
        let udp = [0, 0, port[0], port[1], len[0], len[1], 0, 0];
        let outer = packets::ethernet(PEER_MAC, NODE_MAC, false, &header);
        self.send(FABRIC, [&outer[..], &udp, &NO_METADATA, &frame].concat());
    }
}
