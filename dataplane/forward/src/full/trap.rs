//! Packets for the agent (forwarding.md 1.4, control.md 6).

use vr_frame::Offload;
use vr_types::{DropReason, Trap};

use super::{Full, Pkt};
use crate::bytes::put;

/// Bytes of the agent header, current release.
pub(super) const AGENT_HEADER: usize = 30;
/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Longest frame that the agent takes.
const LONGEST: usize = 9060 - AGENT_HEADER - ETHERNET;

impl Full<'_> {
    /// Gives the frame, as it was received, to the agent.
    pub(super) fn trap(&mut self, mut pkt: Pkt, trap: &Trap) {
        let Some(agent) = self.tables.vif(self.tables.roles.agent) else {
            return self.drop(pkt, DropReason::TrapNoIf);
        };
        pkt.rewind();
        let cut = trap.reason.may_be_cut()
            && (pkt.offload.is_super_frame()
                || matches!(trap.reason, vr_types::TrapReason::HandleDf | vr_types::TrapReason::ZeroTtl));
        pkt.frame.truncate(if cut { Trap::CUT_LENGTH } else { LONGEST });
        pkt.offload = Offload::NONE;
        if pkt.frame.push(AGENT_HEADER + ETHERNET).is_none() {
            return self.drop(pkt, DropReason::Push);
        }
        let (vif, vrf) = (pkt.vif, pkt.vrf);
        let bytes = pkt.frame.bytes_mut();
        put(bytes, 0, agent.mac.0);
        put(bytes, 6, agent.mac.0);
        put(bytes, 12, 0x0800u16.to_be_bytes());
        put(bytes, 14, vif.0.to_be_bytes());
        put(bytes, 16, vrf.0.to_be_bytes());
        put(bytes, 18, (trap.reason as u16).to_be_bytes());
        for (i, param) in trap.params.iter().enumerate() {
            put(bytes, 20 + 4 * i, param.to_be_bytes());
        }
        put(bytes, 40, [trap.param5, 0, 0, 0]);
        self.stats.sent(agent.id, pkt.frame.len());
        self.out.push(agent.id, pkt.into_packet());
    }
}
