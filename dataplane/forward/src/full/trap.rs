//! Packets for the agent (forwarding.md 1.4, control.md 6).

use vr_frame::Offload;
use vr_tables::stats::VifCounter;
use vr_types::{DropReason, Release, Trap, TrapReason};
use vr_wire::agent_header::{AgentHeader, Form};

use super::{Full, Pkt};
use crate::bytes::put;

/// Bytes of an Ethernet header.
pub(super) const ETHERNET: usize = 14;
/// Longest frame that the agent takes.
const LONGEST: usize = 9060 - Form::Current.len() - ETHERNET;

impl Full<'_> {
    /// The agent header that the agent's release has.
    pub(super) const fn agent_header(&self) -> Form {
        match self.tables.options.release {
            Release::Current => Form::Current,
            Release::R220 => Form::R220,
        }
    }

    /// Gives the frame, as it was received, to the agent.
    pub(super) fn trap(&mut self, mut pkt: Pkt, trap: &Trap) {
        let agent = self.tables.vif(self.tables.roles.agent).filter(|_| self.may_ask(&pkt));
        let Some(agent) = agent else {
            return self.drop(pkt, DropReason::TrapNoIf);
        };
        pkt.rewind();
        let cut = trap.reason.may_be_cut()
            && (pkt.offload.is_super_frame()
                || matches!(trap.reason, TrapReason::HandleDf | TrapReason::ZeroTtl));
        pkt.frame.truncate(if cut { Trap::CUT_LENGTH } else { LONGEST });
        pkt.offload = Offload::NONE;
        let form = self.agent_header();
        if pkt.frame.push(form.len() + ETHERNET).is_none() {
            self.stats.vif(agent.id, VifCounter::OutErrors, 1);
            return self.drop(pkt, DropReason::Push);
        }
        let header = AgentHeader::for_trap(pkt.vif, pkt.vrf, trap).to_bytes();
        let bytes = pkt.frame.bytes_mut();
        put(bytes, 0, agent.mac.0);
        put(bytes, 6, agent.mac.0);
        put(bytes, 12, 0x0800u16.to_be_bytes());
        for (place, byte) in bytes[ETHERNET..].iter_mut().zip(&header[..form.len()]) {
            *place = *byte;
        }
        self.stats.sent(agent.id, pkt.frame.len());
        self.emit(agent.id, pkt);
    }
}
