//! Frames that the agent injects (forwarding.md 1.4).

use vr_tables::stats::VifCounter;
use vr_tables::vif::{Vif, VifKind};
use vr_types::{DropReason, VifId, VrfId};

use super::trap::ETHERNET;
use super::{Full, Kind, Pkt};
use crate::bytes::{be16, be32};
use crate::verdict::Stop;

const SWITCH: u16 = 0;
const ROUTE: u16 = 1;

impl Full<'_> {
    pub(super) fn from_agent(&mut self, pkt: &mut Pkt, agent: &Vif) -> Stop {
        self.stats.received(agent.id, pkt.frame.len());
        let bytes = pkt.bytes();
        let header = ETHERNET;
        let (Some(vif), Some(vrf), Some(command), Some(param), Some(param1)) = (
            be16(bytes, header).map(VifId),
            be16(bytes, header + 2).map(VrfId),
            be16(bytes, header + 4),
            be32(bytes, header + 6),
            be32(bytes, header + 10),
        ) else {
            return Stop::Drop(DropReason::Pull);
        };
        if let Err(stop) = pkt.pull(ETHERNET + self.agent_header().len()) {
            return stop;
        }
        pkt.received = (pkt.frame.headroom() as u16, pkt.frame.len() as u32);
        if !self.may_inject(vif, vrf) {
            return Stop::Drop(DropReason::InvalidIf);
        }
        match command {
            ROUTE => {
                // Fabric rules must not apply to what the agent injects.
                let named = self.tables.vif(vif).filter(|vif| vif.kind != VifKind::Physical);
                pkt.vif = named.map_or(agent.id, |vif| vif.id);
                pkt.diagnostic = param == 1 && param1 == 1;
                self.guest_input(pkt, vrf)
            }
            SWITCH => {
                let Some(target) = self.tables.vif(vif) else { return Stop::Drop(DropReason::InvalidIf) };
                pkt.vrf = vrf;
                pkt.kind = Kind::Agent;
                pkt.network = (pkt.frame.headroom() + ETHERNET) as u16;
                self.send(pkt, target.id)
            }
            _ => {
                self.stats.vif(agent.id, VifCounter::InErrors, 1);
                Stop::Drop(DropReason::InvalidPacket)
            }
        }
    }
}
