//! Frames that are too large for the underlay: super-frames are segmented, packets that allow it fragmented
//! (forwarding.md 8.1, 8.2, 8.7).

use vr_frame::{Arena, GsoKind, Offload};
use vr_tables::vif::Vif;
use vr_types::{DropReason, FlowIndex, Trap, TrapReason};
use vr_wire::encap;
use vr_wire::fragment::FragmentPlan;
use vr_wire::segment::GsoPlan;

use super::{Full, Kind, Pkt};
use crate::bytes::be16;
use crate::verdict::{Step, Stop};

/// Whether a packet of `size` bytes may enter a tunnel that has room for `room`: what is larger is fragmented
/// behind the tunnel where it allows that, else the agent is told. For super-frames, `size` is that of their
/// longest segment.
pub(super) fn check(pkt: &Pkt, size: usize, room: usize) -> Step {
    if size <= room || !pkt.kind.is_ip() {
        return Ok(());
    }
    let dont_fragment = pkt.kind == Kind::Inet6 || be16(pkt.l3(), 6).is_some_and(|field| field & 0x4000 != 0);
    if !dont_fragment {
        return Ok(());
    }
    if pkt.multicast {
        return Err(DropReason::McastDfBit.into());
    }
    let usable = room.saturating_sub(pkt.offset(pkt.network)) as u32;
    let mut trap = Trap::with(TrapReason::HandleDf, usable);
    trap.params[1] = pkt.flow.unwrap_or(FlowIndex::NONE).0;
    Err(Stop::Trap(trap))
}

/// How a super-frame is cut: as its sender asks, and where the segments may be smaller, so that they fit
/// `room` bytes.
pub(super) fn plan(pkt: &Pkt, room: Option<usize>) -> Step<GsoPlan> {
    let size = usize::from(pkt.offload.gso_size);
    let plan =
        GsoPlan::new(pkt.bytes(), pkt.offset(pkt.network), size).map_err(|_| DropReason::InvalidPacket)?;
    Ok(match room {
        Some(room) if may_shrink(pkt) => plan.limited_to(room).unwrap_or(plan),
        _ => plan,
    })
}

/// Whether the segments of a super-frame may be made smaller than asked: those of TCP over IPv4 are, also with DF.
fn may_shrink(pkt: &Pkt) -> bool {
    pkt.offload.gso == GsoKind::TcpV4
}

impl Full<'_> {
    /// Cuts a super-frame and takes each segment on by `way`.
    pub(super) fn for_each_segment(
        &mut self,
        pkt: &Pkt,
        plan: &GsoPlan,
        mut way: impl FnMut(&mut Self, &mut Pkt) -> Stop,
    ) -> Stop {
        if !self.may_make(plan.segments()) {
            return Stop::Drop(DropReason::NoMemory);
        }
        for index in 0..plan.segments() {
            let Some(mut segment) = self.blank(pkt, plan.longest()) else {
                return Stop::Drop(DropReason::NoMemory);
            };
            let Some(len) = plan.write(index, pkt.bytes(), segment.frame.bytes_mut()) else {
                return self.not_cut(segment);
            };
            segment.frame.truncate(len);
            segment.received = (segment.frame.headroom() as u16, len as u32);
            let end = way(self, &mut segment);
            self.finish(segment, end);
        }
        Stop::Replaced
    }

    /// Fragments a packet that has its outer headers and sends each fragment with a copy of them. Copies for
    /// analyzers are packets of ours, so they are fragmented also where they do not enter a tunnel.
    pub(super) fn fragment(&mut self, pkt: &Pkt, vif: &Vif) -> Stop {
        let outer = match pkt.kind {
            Kind::InetInTunnel => Some(pkt.offset(pkt.network)),
            Kind::Inet if pkt.mirror_copy => None,
            _ => return Stop::Drop(DropReason::InterfaceDrop),
        };
        let inner = pkt.offset(pkt.inner_network);
        let Ok(plan) = FragmentPlan::new(pkt.bytes(), inner, vif.mtu as usize) else {
            return Stop::Drop(DropReason::InterfaceDrop);
        };
        if !self.may_make(plan.fragments()) {
            return Stop::Drop(DropReason::NoMemory);
        }
        for index in 0..plan.fragments() {
            let Some(mut fragment) = self.blank(pkt, vif.mtu as usize) else {
                return Stop::Drop(DropReason::NoMemory);
            };
            let written = plan.write(index, pkt.bytes(), fragment.frame.bytes_mut());
            fragment.frame.truncate(written.unwrap_or(0));
            if outer.is_some_and(|outer| encap::fit_lengths(fragment.frame.bytes_mut(), outer).is_err()) {
                return self.not_cut(fragment);
            }
            self.stats.sent(vif.id, fragment.frame.len());
            self.finish(fragment, Stop::Send(vif.id));
        }
        Stop::Replaced
    }

    /// Whether so many packets may be made of one. All that are made in one batch take at most half of the frames
    /// that were free: a few super-frames in tiny segments would leave none to receive into, for anybody.
    pub(super) fn may_make(&mut self, packets: usize) -> bool {
        let left = self.parts.get_or_insert_with(|| self.pool.available() / 2);
        let may = packets <= *left;
        *left -= if may { packets } else { 0 };
        may
    }

    /// A packet of `len` bytes that are yet to be written, in the state and at the position of another.
    fn blank(&mut self, pkt: &Pkt, len: usize) -> Option<Pkt> {
        let headroom = pkt.frame.headroom();
        let mut frame = self.pool.frame_for((headroom + len).saturating_sub(Arena::HEADROOM))?;
        if frame.set_window(headroom, len).is_none() {
            self.pool.free(frame);
            return None;
        }
        Some(pkt.with_frame(frame, Offload::NONE))
    }

    /// Headers that a plan was made for but cannot be written.
    fn not_cut(&mut self, part: Pkt) -> Stop {
        self.pool.free(part.frame);
        Stop::Drop(DropReason::InvalidPacket)
    }
}
