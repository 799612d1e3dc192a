//! The loop of a worker.

use std::sync::Arc;
use std::time::Duration;

use vr_forward::{Forwarder, Now, Output};
use vr_frame::{Batch, FramePool, Packet};
use vr_io::Readiness;
use vr_tables::stats::WorkerStats;
use vr_types::{DropReason, FlowIndex, VifId, WorkerId};

use crate::clock;
use crate::mailbox::{Command, Mailbox};
use crate::poller::Poller;
use crate::polling::{LONGEST_SLEEP, Polling, Rest};
use crate::slots::{Slots, Way};

/// How often held packets are looked at, nanoseconds.
const TICK: u64 = 10_000_000;
/// The longest sleep while a port has to be polled, or the kernel has not taken everything.
const SHORT_SLEEP: Duration = Duration::from_millis(1);
/// Commands executed in one pass: packets go on while the agent programs.
pub(crate) const COMMANDS: usize = 64;
/// Packets taken from the handoff ring in one pass.
const HANDED: usize = vr_frame::BATCH;

/// One worker: lives in its thread.
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) mailboxes: Arc<[Mailbox]>,
    pub(crate) forwarder: Forwarder,
    pub(crate) pool: FramePool,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) polling: Polling,
    pub(crate) poller: Poller,
    pub(crate) slots: Slots,
    pub(crate) batch: Batch,
    pub(crate) out: Output,
    /// Packets that all go to one interface, on their way.
    pub(crate) moving: Vec<Packet>,
    /// Flows that were set, whose packets are about to be released.
    pub(crate) changed: Vec<FlowIndex>,
    /// The pieces of one packet, on their way.
    pub(crate) pieces: Vec<Packet>,
    pub(crate) last_tick: Now,
    /// The poller has looked since the last pass.
    pub(crate) looked: bool,
}

impl Worker {
    /// Runs until it is told to stop; gives its pool back.
    pub(crate) fn run(mut self) -> FramePool {
        let mailboxes = Arc::clone(&self.mailboxes);
        let Some(own) = mailboxes.get(self.id.index()) else { return self.pool };
        let (mut now, mut last_work) = (clock::now(), clock::now());
        loop {
            own.status.beat(now);
            let Some(commands) = self.commands(own, now) else { break };
            let packets = self.receive_all(own, now);
            let handed = self.take_handed(own);
            self.tick(own, now);
            let left = self.slots.flush(&mut self.pool);

            let end = clock::now();
            let busy = packets > 0 || handed || commands;
            own.status.passed(busy, packets, end.0.saturating_sub(now.0));
            if busy {
                last_work = end;
            }
            now = if !busy && self.polling.rest(end.0.saturating_sub(last_work.0)) == Rest::Sleep {
                self.sleep(own, left, end)
            } else {
                end
            };
        }
        self.close()
    }

    /// Does what the control thread asks for; `None` at the end, else whether there was anything.
    fn commands(&mut self, own: &Mailbox, now: Now) -> Option<bool> {
        let mut done = 0;
        while done < COMMANDS
            && let Some(command) = own.next_command()
        {
            done += 1;
            if !matches!(command, Command::FlowChanged(_)) {
                // These packets go by the ports as they were.
                self.release(own, now);
            }
            match command {
                Command::Attach { vif, queue } => self.slots.attach(vif, queue, &self.poller),
                // Who asked may have stopped waiting.
                Command::Route { vif, to, done } => {
                    self.slots.route(vif, to);
                    let _ = done.send(());
                }
                Command::Detach { vif, done } => {
                    self.slots.detach(vif, &self.poller, &mut self.pool);
                    let _ = done.send(());
                }
                Command::Renumber { paused, go_on } => {
                    let _ = paused.send(());
                    // As long as the others take to stop. Without a word the control thread is gone, and so is what
                    // it was about to publish.
                    if let Ok(moves) = go_on.recv() {
                        self.slots.renumber(&moves);
                    }
                }
                Command::FlowChanged(flow) => self.changed.push(flow),
                Command::Stop => return None,
            }
        }
        self.release(own, now);
        Some(done > 0)
    }

    /// Lets the packets go that have waited for the flows that were set.
    fn release(&mut self, own: &Mailbox, now: Now) {
        if self.changed.is_empty() {
            return;
        }
        self.forwarder.expect_release(&self.changed);
        for flow in self.changed.drain(..) {
            self.forwarder.release_held(flow, now, &mut self.pool, &mut self.out);
        }
        self.deliver(own);
    }

    /// One batch from every port that has something. Says how many packets there were.
    fn receive_all(&mut self, own: &Mailbox, now: Now) -> u64 {
        let mut packets = 0;
        let mut number = 0;
        while let Some(place) = self.slots.cheap(number) {
            packets += self.receive(place, own, now);
            number += 1;
        }
        if self.slots.any_asks() {
            if !std::mem::take(&mut self.looked) {
                own.status.looked();
                self.poller.look(Duration::ZERO);
            }
            for found in 0..self.poller.found() {
                if let Some(place) = self.poller.slot(found).filter(|place| !self.slots.is_cheap(*place)) {
                    packets += self.receive(place, own, now);
                }
            }
        }
        packets
    }

    /// One batch from a port.
    #[inline]
    fn receive(&mut self, place: usize, own: &Mailbox, now: Now) -> u64 {
        let Some(slot) = self.slots.get(place) else { return 0 };
        slot.queue.port.receive(&mut self.pool, &mut self.batch);
        let (vif, count) = (slot.vif, self.batch.len() as u64);
        if count > 0 {
            self.forwarder.process(vif, &mut self.batch, now, &mut self.pool, &mut self.out);
            self.deliver(own);
        }
        count
    }

    /// Hands what the pipeline has made to ports and other workers.
    #[inline]
    fn deliver(&mut self, own: &Mailbox) {
        if let Some(vif) = self.out.single_target()
            && let Way::Here(place) = self.slots.way(vif)
        {
            self.out.append_to(&mut self.moving);
            if self
                .slots
                .get(usize::from(place))
                .is_some_and(|slot| self.moving.iter().all(|p| slot.takes(p)))
            {
                return self.slots.put_all(place, &mut self.moving, &mut self.pool);
            }
            let mut moving = std::mem::take(&mut self.moving);
            for packet in moving.drain(..) {
                self.send(vif, packet, own);
            }
            self.moving = moving;
            return;
        }
        let mut out = std::mem::take(&mut self.out);
        for (vif, packet) in out.drain() {
            self.send(vif, packet, own);
        }
        self.out = out;
    }

    /// Hands one packet on.
    fn send(&mut self, vif: VifId, packet: Packet, own: &Mailbox) {
        match self.slots.way(vif) {
            Way::Here(place) => self.send_here(place, vif, packet),
            Way::Worker(worker) => {
                let Some(other) = self.mailboxes.get(worker.index()) else {
                    return self.discard(vif, packet);
                };
                match other.handoff.push(vif, packet) {
                    Ok(()) => {
                        own.status.handed_off();
                        other.bell.ring();
                    }
                    Err(packet) => {
                        own.status.handoff_full();
                        self.discard(vif, packet);
                    }
                }
            }
            Way::None => self.discard(vif, packet),
        }
    }

    /// Hands a packet to a queue of this worker; what its port cannot take is done in software before.
    fn send_here(&mut self, place: u16, vif: VifId, packet: Packet) {
        if self.slots.get(usize::from(place)).is_some_and(|slot| slot.takes(&packet)) {
            return self.slots.put(place, packet, &mut self.pool);
        }
        let mut pieces = std::mem::take(&mut self.pieces);
        if let Err(reason) = vr_forward::make_plain(packet, &mut self.pool, &mut pieces) {
            self.stats.dropped(vif, reason);
        }
        for piece in pieces.drain(..) {
            self.slots.put(place, piece, &mut self.pool);
        }
        self.pieces = pieces;
    }

    #[cold]
    fn discard(&mut self, vif: VifId, packet: Packet) {
        self.stats.dropped(vif, DropReason::InterfaceTxDiscard);
        self.pool.free(packet.frame);
    }

    /// Sends what other workers have left.
    fn take_handed(&mut self, own: &Mailbox) -> bool {
        for taken in 0..HANDED {
            let Some((vif, packet)) = own.handoff.pop() else { return taken > 0 };
            match self.slots.way(vif) {
                Way::Here(place) => self.send_here(place, vif, packet),
                // The port has moved or is gone; going on would let packets circle.
                Way::Worker(_) | Way::None => self.discard(vif, packet),
            }
        }
        true
    }

    fn tick(&mut self, own: &Mailbox, now: Now) {
        if now.0.saturating_sub(self.last_tick.0) < TICK {
            return;
        }
        self.last_tick = now;
        self.forwarder.tick(now, &mut self.pool, &mut self.out);
        self.deliver(own);
        self.slots.count_losses(&self.stats);
        self.pool.collect();
        own.status.has_free(self.pool.available());
    }

    /// Sleeps until something happens, if the ports allow it; says what time it is then.
    fn sleep(&mut self, own: &Mailbox, left: bool, now: Now) -> Now {
        let rest = self.slots.rest();
        if rest == Readiness::Waiting {
            return now;
        }
        let polled = left || rest == Readiness::Polled;
        let patience = if polled { SHORT_SLEEP } else { LONGEST_SLEEP };
        own.status.looked();
        own.bell.sleep(
            || own.is_empty(),
            || {
                self.looked = true;
                self.poller.look(patience)
            },
        );
        let woken = clock::now();
        own.status.slept(woken.0.saturating_sub(now.0));
        woken
    }

    /// Gives all frames back.
    fn close(mut self) -> FramePool {
        self.slots.close(&self.poller, &mut self.pool);
        for (_, packet) in self.out.drain() {
            self.pool.free(packet.frame);
        }
        self.forwarder.close(&mut self.pool);
        self.pool
    }
}
