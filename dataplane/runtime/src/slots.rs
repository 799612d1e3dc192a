//! The queues of one worker, and where packets for an interface go.

use vr_frame::{Batch, FramePool, Packet};
use vr_io::{Capabilities, PortKind, Readiness};
use vr_tables::stats::WorkerStats;
use vr_types::{DropReason, VifId, WorkerId};

use crate::moves::Moves;
use crate::poller::Poller;
use crate::port::{KernelMac, Queue};

/// How many queues are asked at once what they have lost.
const ASKED_AT_ONCE: usize = 64;

/// A queue with the packets that wait for the end of the pass.
pub(crate) struct Slot {
    pub(crate) vif: VifId,
    pub(crate) queue: Queue,
    pub(crate) outgoing: Batch,
    capabilities: Capabilities,
    /// It may have frames to send or to free: it is flushed at the end of the pass.
    dirty: bool,
    /// Looking for frames costs no system call, so it is always polled.
    is_cheap: bool,
    /// What the port had lost on the way out when it was asked last.
    lost: u64,
}

impl Slot {
    fn new(vif: VifId, queue: Queue) -> Self {
        let capabilities = queue.port.capabilities();
        let is_cheap = matches!(queue.port.kind(), PortKind::AfXdp | PortKind::Memory | PortKind::VhostUser)
            || queue.port.wait_fd().is_none();
        Self { vif, queue, outgoing: Batch::new(), capabilities, dirty: false, is_cheap, lost: 0 }
    }

    /// Whether the port sends the packet as it is.
    #[inline]
    pub(crate) fn takes(&self, packet: &Packet) -> bool {
        packet.offload.is_plain() || self.capabilities.take(&packet.offload)
    }

    /// Counts as drops what the port has lost on the way out since it was asked last.
    fn count_losses(&mut self, stats: &WorkerStats) {
        let lost = self.queue.port.counters().tx_dropped();
        let reason = match self.queue.port.kind() {
            PortKind::Pkt0 => DropReason::InterfaceTxDiscard,
            _ => DropReason::InterfaceDrop,
        };
        stats.dropped_many(self.vif, reason, lost.wrapping_sub(self.lost));
        self.lost = lost;
    }

    /// Sends what waits.
    fn transmit(&mut self, pool: &mut FramePool) {
        if let Some(mac) = self.queue.kernel_mac.as_ref().map(KernelMac::get) {
            for packet in self.outgoing.iter_mut() {
                if let Some(destination) = packet.frame.bytes_mut().first_chunk_mut::<6>()
                    && destination[0] & 1 == 0
                {
                    *destination = mac.0;
                }
            }
        }
        self.queue.port.transmit(pool, &mut self.outgoing);
        // Another guest may have come.
        self.capabilities = self.queue.port.capabilities();
    }
}

/// Where packets for an interface go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Way {
    /// Nowhere: the interface has no port.
    #[default]
    None,
    /// To a queue of this worker.
    Here(u16),
    /// To a worker that has a queue.
    Worker(WorkerId),
}

/// The queues of one worker.
pub(crate) struct Slots {
    places: Vec<Option<Slot>>,
    ways: Vec<Way>,
    /// Slots whose `dirty` is set.
    to_flush: Vec<u16>,
    /// Slots that are always polled.
    cheap: Vec<u16>,
    /// Any of the others, which tell by their descriptors.
    any_asks: bool,
    /// The slot that is asked next what it has lost.
    next_asked: usize,
}

impl Slots {
    /// No queue yet.
    pub(crate) const fn new() -> Self {
        Self {
            places: Vec::new(),
            ways: Vec::new(),
            to_flush: Vec::new(),
            cheap: Vec::new(),
            any_asks: false,
            next_asked: 0,
        }
    }

    /// A slot that is always polled, by its number among these.
    #[inline]
    pub(crate) fn cheap(&self, number: usize) -> Option<usize> {
        self.cheap.get(number).copied().map(usize::from)
    }

    /// Whether a slot is among these: its descriptor ends a sleep and is no reason to ask it once more.
    #[inline]
    pub(crate) fn is_cheap(&self, place: usize) -> bool {
        self.places.get(place).and_then(Option::as_ref).is_some_and(|slot| slot.is_cheap)
    }

    #[inline]
    pub(crate) fn get(&mut self, place: usize) -> Option<&mut Slot> {
        self.places.get_mut(place)?.as_mut()
    }

    /// Prepares all queues for a sleep; says what kind of sleep they allow.
    pub(crate) fn rest(&mut self) -> Readiness {
        let mut all = Readiness::Told;
        for slot in self.places.iter_mut().flatten() {
            match slot.queue.port.rest() {
                Readiness::Told => {}
                Readiness::Polled => all = Readiness::Polled,
                Readiness::Waiting => return Readiness::Waiting,
            }
        }
        all
    }

    /// Whether any queue has to be asked by a system call.
    pub(crate) const fn any_asks(&self) -> bool {
        self.any_asks
    }

    /// Takes note of what the queues that there are now have in common.
    fn survey(&mut self) {
        let there =
            || self.places.iter().enumerate().filter_map(|(place, slot)| Some((place, slot.as_ref()?)));
        self.cheap = there().filter(|(_, slot)| slot.is_cheap).map(|(place, _)| place as u16).collect();
        self.any_asks = there().any(|(_, slot)| !slot.is_cheap);
    }

    #[inline]
    pub(crate) fn way(&self, vif: VifId) -> Way {
        self.ways.get(vif.index()).copied().unwrap_or_default()
    }

    fn set_way(&mut self, vif: VifId, way: Way) {
        if self.ways.len() <= vif.index() {
            self.ways.resize(vif.index() + 1, Way::None);
        }
        self.ways[vif.index()] = way;
    }

    /// Takes over a queue.
    pub(crate) fn attach(&mut self, vif: VifId, queue: Queue, poller: &Poller) {
        let sends = queue.sends;
        let slot = Slot::new(vif, queue);
        let place = self.places.iter().position(Option::is_none).unwrap_or_else(|| {
            self.places.push(None);
            self.places.len() - 1
        });
        if let Some(fd) = slot.queue.port.wait_fd()
            && let Err(error) = poller.add(fd, place, slot.queue.port.kind() == PortKind::VhostUser)
        {
            tracing::error!(%vif, %error, "a port cannot be waited for; its packets come late");
        }
        self.places[place] = Some(slot);
        self.to_flush.reserve(self.places.len());
        if sends && !matches!(self.way(vif), Way::Here(_)) {
            self.set_way(vif, Way::Here(place as u16));
        }
        self.survey();
    }

    /// Packets for an interface go to another worker, unless there is a queue of this one.
    pub(crate) fn route(&mut self, vif: VifId, to: Option<WorkerId>) {
        if !matches!(self.way(vif), Way::Here(_)) {
            self.set_way(vif, to.map_or(Way::None, Way::Worker));
        }
    }

    /// Interfaces have other numbers from now on.
    pub(crate) fn renumber(&mut self, moves: &Moves) {
        for slot in self.places.iter_mut().flatten() {
            slot.vif = moves.of(slot.vif);
        }
        let ways: Vec<(VifId, Way)> = moves.iter().map(|(old, new)| (new, self.way(old))).collect();
        for (old, _) in moves.iter() {
            self.set_way(old, Way::None);
        }
        for (new, way) in ways {
            self.set_way(new, way);
        }
    }

    /// Closes all queues of an interface.
    pub(crate) fn detach(&mut self, vif: VifId, poller: &Poller, pool: &mut FramePool) {
        self.set_way(vif, Way::None);
        let places = &self.places;
        self.to_flush.retain(|place| {
            places.get(usize::from(*place)).and_then(Option::as_ref).is_some_and(|slot| slot.vif != vif)
        });
        for place in &mut self.places {
            if let Some(mut slot) = place.take_if(|slot| slot.vif == vif) {
                slot.transmit(pool);
                if let Some(fd) = slot.queue.port.wait_fd() {
                    poller.remove(fd);
                }
                slot.queue.port.close(pool);
            }
        }
        self.survey();
    }

    /// Closes everything.
    pub(crate) fn close(&mut self, poller: &Poller, pool: &mut FramePool) {
        let vifs: Vec<VifId> = self.places.iter().flatten().map(|slot| slot.vif).collect();
        for vif in vifs {
            self.detach(vif, poller, pool);
        }
    }

    /// Puts a packet that the port takes behind those that wait for the end of the pass.
    #[inline]
    pub(crate) fn put(&mut self, place: u16, packet: Packet, pool: &mut FramePool) {
        let Some(slot) = self.places.get_mut(usize::from(place)).and_then(Option::as_mut) else {
            return pool.free(packet.frame);
        };
        if slot.outgoing.is_full() {
            slot.transmit(pool);
        }
        if let Err(packet) = slot.outgoing.push(packet) {
            pool.free(packet.frame);
        }
        self.mark(place);
    }

    /// Puts packets that need nothing done behind those that wait; there are no more than a batch holds.
    #[inline]
    pub(crate) fn put_all(&mut self, place: u16, packets: &mut Vec<Packet>, pool: &mut FramePool) {
        if let Some(slot) = self.places.get_mut(usize::from(place)).and_then(Option::as_mut) {
            if slot.outgoing.append(packets) {
                return self.mark(place);
            }
            slot.transmit(pool);
            if slot.outgoing.append(packets) {
                return self.mark(place);
            }
        }
        for packet in packets.drain(..) {
            self.put(place, packet, pool);
        }
    }

    #[inline]
    fn mark(&mut self, place: u16) {
        if let Some(slot) = self.places.get_mut(usize::from(place)).and_then(Option::as_mut)
            && !slot.dirty
        {
            slot.dirty = true;
            self.to_flush.push(place);
        }
    }

    /// Counts as drops what ports have lost on the way out; some ports by each call, in turn.
    pub(crate) fn count_losses(&mut self, stats: &WorkerStats) {
        for _ in 0..ASKED_AT_ONCE.min(self.places.len()) {
            self.next_asked = (self.next_asked + 1) % self.places.len();
            if let Some(slot) = self.places.get_mut(self.next_asked).and_then(Option::as_mut) {
                slot.count_losses(stats);
            }
        }
    }

    /// Sends everything that waits. Says whether frames are left that the kernel has not taken.
    pub(crate) fn flush(&mut self, pool: &mut FramePool) -> bool {
        let Self { places, to_flush, .. } = self;
        to_flush.retain(|place| {
            let Some(slot) = places.get_mut(usize::from(*place)).and_then(Option::as_mut) else {
                return false;
            };
            slot.transmit(pool);
            slot.dirty = slot.queue.port.flush(pool);
            slot.dirty
        });
        !to_flush.is_empty()
    }
}
