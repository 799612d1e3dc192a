//! Copies of all frames of an interface, for `vifdump` (forwarding.md 1.9).

use vr_tables::vif::{Vif, VifFlags};
use vr_types::VifId;

use super::{Full, Pkt};

impl Full<'_> {
    /// Gives a finished frame to the port of an interface.
    pub(super) fn emit(&mut self, to: VifId, pkt: Pkt) {
        if let Some(vif) = self.tables.vif(to) {
            self.monitor(&pkt, vif);
        }
        self.out.push(to, pkt.into_packet());
    }

    /// A copy for the interface that watches this one, as the port receives or sends the frame. Without a free buffer
    /// there is none.
    pub(super) fn monitor(&mut self, pkt: &Pkt, vif: &Vif) {
        if !vif.flags.contains(VifFlags::MONITORED) {
            return;
        }
        let Some(monitor) = vif.details.monitor else { return };
        if let Some(copy) = self.duplicate(pkt) {
            self.stats.sent(monitor, copy.frame.len());
            self.out.push(monitor, copy.into_packet());
        }
    }
}
