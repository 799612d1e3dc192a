//! The full path: one packet at a time, every rule of forwarding.md. It is the reference; the fast lanes
//! give the same result for the packets that they take, and leave all others untouched to this path.

mod admission;
mod agent;
mod arp;
mod bridging;
mod compile;
mod composite;
mod deliver;
mod drop_log;
mod ecmp;
mod encap;
mod evict;
mod fabric;
mod flow;
mod flow_key;
mod fragments;
mod guest;
mod hold;
mod hold_queue;
mod host;
mod ip;
mod local;
mod mirror;
mod monitor;
mod mss;
mod nat;
mod neighbour;
mod nexthop;
mod oversize;
mod pkt;
mod quoted;
mod restart;
mod tcp;
mod transport;
mod trap;
mod tunnel;
mod tunnel_in;
mod uplinks;

pub(crate) use compile::Redirection;
pub(crate) use fragments::{Datagram, Fragments};
pub(crate) use hold_queue::HoldQueues;
pub(crate) use pkt::{Kind, Pkt, Resume};

use vr_frame::{FramePool, Packet};
use vr_tables::Snapshot;
use vr_tables::bridge::BridgeTable;
use vr_tables::flow::FlowTable;
use vr_tables::stats::{VifCounter, VrfCounter, WorkerStats};
use vr_tables::vif::{Vif, VifFlags, VifKind};
use vr_types::{DropReason, VifId, VrfId, WorkerId};

use crate::verdict::Stop;
use crate::{HoldCounters, Now, Output};

/// What one worker keeps between packets.
#[derive(Default)]
pub(crate) struct Memory {
    pub(crate) held: HoldQueues,
    pub(crate) fragments: Fragments,
    /// The tables that these belong to.
    pub(crate) incarnation: u32,
    /// Identification of outer headers whose payload has none.
    pub(crate) ip_id: u16,
}

/// The tables and the worker's own things, for the time of one batch.
pub(crate) struct Full<'a> {
    pub(crate) tables: &'a Snapshot,
    pub(crate) bridge: &'a BridgeTable,
    pub(crate) flows: &'a FlowTable,
    pub(crate) stats: &'a WorkerStats,
    pub(crate) holds: &'a HoldCounters,
    pub(crate) worker: WorkerId,
    pub(crate) now: Now,
    pub(crate) pool: &'a mut FramePool,
    pub(crate) out: &'a mut Output,
    pub(crate) memory: &'a mut Memory,
    /// How many segments, fragments and flooded copies may still be made in this batch, once the first one was.
    pub(crate) parts: Option<usize>,
}

impl Full<'_> {
    /// Takes a packet through the pipeline.
    pub(crate) fn receive(&mut self, from: VifId, packet: Packet) {
        let Some(vif) = self.tables.vif(from) else {
            self.stats.dropped(from, DropReason::InterfaceRxDiscard);
            self.pool.free(packet.frame);
            return;
        };
        let mut pkt = Pkt::new(packet, from, vif.vrf);
        self.monitor(&pkt, vif);
        let end = match vif.kind {
            VifKind::Physical => self.from_fabric(&mut pkt, vif),
            VifKind::Host | VifKind::XenLinkLocal | VifKind::Gateway => self.from_host(&mut pkt, vif),
            VifKind::Virtual => self.from_guest(&mut pkt, vif),
            VifKind::Agent => self.from_agent(&mut pkt, vif),
            _ => Stop::Drop(DropReason::InvalidIf),
        };
        self.finish(pkt, end);
        self.release_fragments();
    }

    /// Ends a packet's way.
    pub(crate) fn finish(&mut self, pkt: Pkt, end: Stop) {
        match end {
            Stop::Drop(reason) => self.drop(pkt, reason),
            Stop::Trap(trap) => self.trap(pkt, &trap),
            Stop::Send(vif) => self.emit(vif, pkt),
            Stop::Replaced => self.pool.free(pkt.frame),
            Stop::Hold(flow, resume) => self.hold(pkt, flow, resume),
            Stop::AwaitFirstFragment(datagram, resume) => self.await_first_fragment(pkt, datagram, resume),
        }
    }

    pub(crate) fn drop(&mut self, pkt: Pkt, reason: DropReason) {
        self.stats.dropped(pkt.vif, reason);
        if self.stats.drop_log.is_on() {
            self.log_drop(&pkt, reason);
        }
        self.pool.free(pkt.frame);
    }

    /// A copy of a packet in a buffer of its own, with all bytes that it had when it was received.
    pub(crate) fn duplicate(&mut self, pkt: &Pkt) -> Option<Pkt> {
        let start = usize::from(pkt.received.0).min(pkt.frame.headroom());
        let end = (usize::from(pkt.received.0) + pkt.received.1 as usize)
            .max(pkt.frame.headroom() + pkt.frame.len());
        let source = pkt.frame.buffer_bytes(start, end - start)?;
        let mut frame = self.pool.frame_for(end.saturating_sub(vr_frame::Arena::HEADROOM))?;
        if frame.set_window(start, end - start).is_none() {
            self.pool.free(frame);
            return None;
        }
        frame.bytes_mut().copy_from_slice(source);
        // The window of the original lies inside what was just copied.
        let _ = frame.set_window(pkt.frame.headroom(), pkt.frame.len());
        Some(pkt.with_frame(frame, pkt.offload))
    }

    /// Hands a frame to the other side of a cross-connect, as it was received.
    pub(crate) fn cross_connect(&mut self, pkt: &mut Pkt) -> Stop {
        let Some(peer) = self.other_side(pkt) else {
            self.stats.vif(pkt.vif, VifCounter::InErrors, 1);
            return Stop::Drop(DropReason::InterfaceDrop);
        };
        pkt.rewind();
        self.send(pkt, peer)
    }

    pub(crate) fn count_vrf(&self, vrf: VrfId, counter: VrfCounter) {
        self.stats.vrf(vrf, counter);
    }

    pub(crate) fn ingress_has(&self, pkt: &Pkt, flags: VifFlags) -> bool {
        self.tables.vif(pkt.vif).is_some_and(|vif| vif.flags.contains(flags))
    }

    pub(crate) fn ingress_kind(&self, pkt: &Pkt) -> Option<VifKind> {
        self.tables.vif(pkt.vif).map(|vif| vif.kind)
    }

    pub(crate) fn from_underlay(&self, pkt: &Pkt) -> bool {
        self.ingress_kind(pkt) == Some(VifKind::Physical)
    }

    /// MTU of an interface without its Ethernet header (forwarding.md 1.8).
    pub(crate) fn mtu(vif: &Vif) -> usize {
        match vif.kind {
            VifKind::Physical => (vif.mtu as usize).saturating_sub(14),
            _ => vif.mtu as usize,
        }
    }
}
