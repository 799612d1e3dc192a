//! The port: packets between rings and frames.
#![allow(unsafe_code, reason = "memory that others share")]

use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vr_frame::{Arena, Batch, FramePool, Packet};

use super::chain::Chains;
use super::device::Device;
use super::guest::VhostUserGuest;
use super::protocol::PAIRS;
use super::ring::{Next, Rest, Ring};
use super::thread::Registration;
use crate::claims::decode;
use crate::counters::Cells;
use crate::vnet::{self, VNET_HEADER};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortKind, Readiness};

/// The longest header before a packet: with the number of buffers (virtio 1.2, 5.1.6).
const LONGEST_HEADER: usize = VNET_HEADER + 2;
/// Bytes of the longest packet.
const LONGEST: usize = Arena::SUPER_SIZE - Arena::HEADROOM;

/// One share of the pairs of rings of a vhost-user interface.
///
/// It receives from every n-th pair, n being the number of the interface's ports, and sends to one pair. While
/// nobody is at the other side it drops what it shall send.
pub struct VhostUserPort {
    pub(super) device: Arc<Device>,
    number: usize,
    /// The pair from which it receives first.
    turn: usize,
    chains: Chains,
    /// Packets to send that have found the ring in another worker's hands.
    waiting: Batch,
    counters: Arc<PortCounters>,
    /// The interface ends with the last of its ports.
    _registration: Arc<Registration>,
}

/// What has become of a packet to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sent {
    Whole,
    /// The guest has no buffers left.
    Full,
    /// The guest's buffers are too small.
    TooLong,
    /// The guest's buffers break the rules.
    Malformed,
}

/// What has come out of a ring.
pub(super) enum Received {
    Nothing,
    Packet(Packet),
    /// It was dropped and counted.
    Dropped,
}

impl VhostUserPort {
    pub(super) fn new(device: Arc<Device>, number: usize, registration: Arc<Registration>) -> Self {
        let (chains, counters) = (Chains::new(), Arc::default());
        Self { device, number, turn: 0, chains, waiting: Batch::new(), counters, _registration: registration }
    }

    /// What is known of the guest behind the interface.
    #[must_use]
    pub fn guest(&self) -> VhostUserGuest {
        VhostUserGuest::new(&self.device)
    }

    /// The pairs from which this port receives and which are in use.
    #[inline]
    fn pairs(&self) -> impl Iterator<Item = usize> + use<> {
        let (in_use, ports, number) = (self.device.receiving(), self.device.wakers.len(), self.number);
        let first = (in_use >> number) != 0;
        let range = if first { number..PAIRS } else { 0..0 };
        range.step_by(ports).filter(move |pair| in_use & 1 << pair != 0)
    }

    /// The pair to which this port sends.
    fn sending_pair(&self) -> Option<usize> {
        let mut in_use = self.device.sending();
        let skip = self.number as u32 % in_use.count_ones().max(1);
        for _ in 0..skip {
            in_use &= in_use - 1;
        }
        (in_use != 0).then(|| in_use.trailing_zeros() as usize)
    }

    /// Sends what has waited, and then these.
    fn send_all(&mut self, pool: &mut FramePool, packets: impl Iterator<Item = Packet>) {
        let capabilities = self.capabilities();
        let pair = self.sending_pair();
        let Self { device, chains, counters, waiting, .. } = self;
        let Some(pair) = pair else {
            return counters.cells().tx_errors.add(drop_all(pool, waiting.drain().chain(packets)));
        };
        let Some(mut place) = device.to_guest[pair].spin_lock() else {
            for packet in packets {
                if let Err(packet) = waiting.push(packet) {
                    counters.cells().tx_full.add(1);
                    pool.free(packet.frame);
                }
            }
            return;
        };
        let packets = waiting.drain().chain(packets);
        match place.as_mut() {
            Some(ring) => send_to(ring, chains, counters, capabilities, pool, packets),
            None => counters.cells().tx_errors.add(drop_all(pool, packets)),
        }
    }
}

/// Receives from one ring; says how many chains it took. Those that are dropped count as well, so that a flood of
/// them does not keep the worker here.
fn receive_from(
    ring: &mut Ring,
    chains: &mut Chains,
    counters: &PortCounters,
    pool: &mut FramePool,
    batch: &mut Batch,
    budget: usize,
) -> usize {
    let cells = counters.cells();
    let (mut packets, mut bytes, mut taken) = (0, 0, 0);
    while taken < budget {
        match receive(ring, chains, pool, cells) {
            Received::Nothing => break,
            Received::Dropped => {}
            Received::Packet(packet) => {
                packets += 1;
                bytes += packet.frame.len() as u64;
                if let Err(packet) = batch.push(packet) {
                    pool.free(packet.frame);
                }
            }
        }
        taken += 1;
    }
    if taken > 0 {
        ring.disarm();
        cells.rx_syscalls.add(u64::from(ring.publish()));
        counters.received(packets, bytes);
    }
    taken
}

fn send_to(
    ring: &mut Ring,
    chains: &mut Chains,
    counters: &PortCounters,
    capabilities: Capabilities,
    pool: &mut FramePool,
    outgoing: impl Iterator<Item = Packet>,
) {
    let cells = counters.cells();
    let (mut packets, mut bytes) = (0, 0);
    let mut refusal = None;
    for packet in outgoing {
        match capabilities.check(&packet.frame, &packet.offload) {
            Ok(()) => match send_unless_refused(ring, chains, &packet, &mut refusal) {
                Sent::Whole => {
                    packets += 1;
                    bytes += packet.frame.len() as u64;
                }
                Sent::Full => cells.tx_full.add(1),
                Sent::TooLong => cells.tx_too_long.add(1),
                Sent::Malformed => cells.tx_errors.add(1),
            },
            Err(unfit) => counters.unfit(unfit),
        }
        pool.free(packet.frame);
    }
    counters.sent(packets, bytes);
    // Also when nothing was sent: chains that break the rules were given back.
    cells.tx_syscalls.add(u64::from(ring.publish()));
}

/// As [`send`]. Buffers that were too few for one packet are not looked through again for one that is as long; an
/// empty ring is looked at each time, which costs nothing.
pub(super) fn send_unless_refused(
    ring: &mut Ring,
    chains: &mut Chains,
    packet: &Packet,
    refusal: &mut Option<(usize, Sent)>,
) -> Sent {
    let len = packet.frame.len();
    if let Some((refused, sent)) = *refusal
        && len >= refused
    {
        return sent;
    }
    let sent = send(ring, chains, packet);
    *refusal = match sent {
        Sent::Full | Sent::TooLong if !chains.heads().is_empty() => Some((len, sent)),
        Sent::Full | Sent::TooLong => *refusal,
        // Other buffers come first now.
        Sent::Whole | Sent::Malformed => None,
    };
    sent
}

/// Frees all packets; says how many there were.
#[cold]
fn drop_all(pool: &mut FramePool, packets: impl Iterator<Item = Packet>) -> u64 {
    packets.map(|packet| pool.free(packet.frame)).count() as u64
}

/// One packet from the guest.
pub(super) fn receive(ring: &mut Ring, chains: &mut Chains, pool: &mut FramePool, cells: &Cells) -> Received {
    let base = ring.base();
    chains.clear();
    let head = match ring.next(chains) {
        Next::Nothing => return Received::Nothing,
        Next::Malformed(head) => {
            cells.rx_bad_descriptors.add(1);
            ring.give_back(head, 0);
            return Received::Dropped;
        }
        Next::Chain => chains.heads().first().map_or(0, |(head, _)| *head),
    };
    let header = ring.header();
    let counter = match chains.len().checked_sub(header) {
        None | Some(..ETHERNET_HEADER) => &cells.rx_malformed,
        Some(len) if len > LONGEST => &cells.rx_too_long,
        Some(len) => match pool.frame_for(len) {
            None if pool.available() == 0 => {
                // It stays with the guest until frames come back.
                ring.rewind(base);
                return Received::Nothing;
            }
            None => &cells.rx_no_buffer,
            Some(mut frame) => {
                let mut vnet = [0; LONGEST_HEADER];
                let whole = frame.extend(len).is_some() && {
                    let mut cursor = chains.cursor();
                    // SAFETY: the ring keeps the memory mapped.
                    unsafe {
                        cursor.read(&mut vnet[..header]) + cursor.read(frame.bytes_mut()) == header + len
                    }
                };
                ring.give_back(head, 0);
                let start = vnet.first_chunk().copied().unwrap_or_default();
                let Some(offload) = decode(start, frame.bytes()).filter(|_| whole) else {
                    cells.rx_malformed.add(1);
                    pool.free(frame);
                    return Received::Dropped;
                };
                return Received::Packet(Packet { frame, offload });
            }
        },
    };
    counter.add(1);
    ring.give_back(head, 0);
    Received::Dropped
}

/// One packet to the guest.
pub(super) fn send(ring: &mut Ring, chains: &mut Chains, packet: &Packet) -> Sent {
    let base = ring.base();
    let header = ring.header();
    let needed = header + packet.frame.len();
    chains.clear();
    while chains.len() < needed {
        if !chains.heads().is_empty() && (!ring.mergeable() || chains.is_full()) {
            ring.rewind(base);
            return Sent::TooLong;
        }
        match ring.next(chains) {
            Next::Chain => {}
            Next::Nothing => {
                ring.rewind(base);
                return Sent::Full;
            }
            Next::Malformed(_) => {
                // The chain begun last is the malformed one.
                for (head, _) in chains.heads() {
                    ring.give_back(*head, 0);
                }
                return Sent::Malformed;
            }
        }
    }
    let mut vnet = [0; LONGEST_HEADER];
    vnet[..VNET_HEADER].copy_from_slice(&vnet::encode(&packet.offload, packet.frame.bytes()));
    vnet[VNET_HEADER..].copy_from_slice(&(chains.heads().len() as u16).to_ne_bytes());
    let mut cursor = chains.cursor();
    // SAFETY: the ring keeps the memory mapped.
    unsafe {
        cursor.write(&vnet[..header], ring.log());
        cursor.write(packet.frame.bytes(), ring.log());
    }
    let mut left = needed;
    for (head, len) in chains.heads() {
        let filled = left.min(*len);
        ring.give_back(*head, filled);
        left -= filled;
    }
    Sent::Whole
}

impl Port for VhostUserPort {
    fn kind(&self) -> PortKind {
        PortKind::VhostUser
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        // One for all pairs, whatever they hold.
        let mut budget = batch.remaining_capacity();
        let turn = self.turn;
        for pair in self.pairs().filter(|pair| *pair >= turn).chain(self.pairs().filter(|pair| *pair < turn))
        {
            if budget == 0 {
                // It is the first one the next time: no pair keeps the others from being served.
                self.turn = pair;
                return;
            }
            let Self { device, chains, counters, .. } = self;
            // The control thread changes the ring just now: the next pass finds it.
            let Some(mut place) = device.from_guest[pair].try_lock() else { continue };
            let Some(ring) = place.as_mut() else { continue };
            budget -= receive_from(ring, chains, counters, pool, batch, budget);
            if ring.is_finished() {
                device.drained(pair);
            }
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        self.send_all(pool, batch.drain());
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        if !self.waiting.is_empty() {
            self.send_all(pool, std::iter::empty());
        }
        !self.waiting.is_empty()
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.device.wakers[self.number].fd())
    }

    fn rest(&mut self) -> Readiness {
        let mut readiness = Readiness::Told;
        for pair in self.pairs() {
            let Some(mut place) = self.device.from_guest[pair].try_lock() else { return Readiness::Waiting };
            match place.as_mut().map_or(Rest::Told, Ring::rest) {
                Rest::Waiting => return Readiness::Waiting,
                Rest::Polled => readiness = Readiness::Polled,
                Rest::Told => {}
            }
        }
        readiness
    }

    fn capabilities(&self) -> Capabilities {
        let (partial_checksums, tcp_super_frames) = self.device.takes();
        Capabilities { partial_checksums, tcp_super_frames, udp_super_frames: false, longest_frame: LONGEST }
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn close(mut self: Box<Self>, pool: &mut FramePool) {
        self.counters.cells().tx_full.add(drop_all(pool, self.waiting.drain()));
    }
}
