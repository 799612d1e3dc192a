//! Input from interfaces of the host: `vhost0` and gateways (forwarding.md 1.3).

use vr_tables::vif::{Vif, VifFlags};

use super::{Full, Pkt};
use crate::verdict::Stop;

impl Full<'_> {
    pub(super) fn from_host(&mut self, pkt: &mut Pkt, vif: &Vif) -> Stop {
        self.stats.received(vif.id, pkt.frame.len());
        if vif.flags.contains(VifFlags::XCONNECT) {
            return self.cross_connect(pkt);
        }
        self.mirror_received(pkt, vif);
        self.fabric_input(pkt, vif)
    }
}
