//! Input from interfaces of the host: `vhost0`, gateways, and what stands for an uplink (forwarding.md 1.3).

use vr_tables::vif::{Vif, VifFlags};

use super::{Full, Pkt};
use crate::verdict::Stop;

impl Full<'_> {
    pub(super) fn from_host(&mut self, pkt: &mut Pkt, vif: &Vif) -> Stop {
        self.stats.received(vif.id, pkt.frame.len());
        let stands_for_uplink = self.tables.roles.uplink_of(vif.id).is_some();
        if vif.flags.contains(VifFlags::XCONNECT) || stands_for_uplink {
            return self.cross_connect(pkt);
        }
        self.mirror_received(pkt, vif);
        self.fabric_input(pkt, vif)
    }
}
