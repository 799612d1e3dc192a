//! Frames to and from the agent (control.md 6.1).

mod socket;

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use vr_frame::{BATCH, Batch, FramePool, Packet};

use crate::counters::Cells;
use crate::mmsg::{Datagram, Receiver, Refusal, Sender};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortKind, sys};

pub use socket::Pkt0Socket;

/// Bytes of the longest frame that the agent takes; longer traps are cut (control.md 6.2).
pub const LONGEST_PKT0_FRAME: usize = 9060;

/// Frames that wait until the agent has read others. For an agent that is not connected to our socket, the kernel keeps
/// only `net.unix.max_dgram_qlen` of them, usually 10, however large the buffers of the sockets are.
const WAITING: usize = 1024;
/// Super-frames among these; a pool has few.
const WAITING_SUPERS: usize = 8;

/// Frames to and from the agent, as datagrams between two sockets in one directory.
///
/// Our socket is connected to the agent's, which saves the kernel the search for its path with every datagram. When a
/// datagram is refused it is connected anew: the agent may have come back.
pub struct Pkt0Port {
    fd: OwnedFd,
    receiver: Receiver,
    sender: Sender<0>,
    /// Where the agent is.
    agents: libc::sockaddr_un,
    /// What the agent's socket has no room for yet, in order.
    waiting: VecDeque<Packet>,
    counters: Arc<PortCounters>,
}

impl Pkt0Port {
    /// Name of our socket in the directory.
    pub const OURS: &str = "dpdk_pkt0";
    /// Name of the agent's.
    pub const AGENTS: &str = "agent_pkt0";

    /// A port that sends to `agents`.
    fn over(fd: OwnedFd, agents: libc::sockaddr_un) -> Self {
        Self {
            fd,
            receiver: Receiver::new(0, false),
            sender: Sender::new(),
            agents,
            waiting: VecDeque::with_capacity(WAITING + BATCH),
            counters: Arc::default(),
        }
    }

    /// Sends what waits, as far as the agent's socket takes it.
    fn send_waiting(&mut self, pool: &mut FramePool) {
        let counters = &self.counters;
        let mut tried = false;
        while !self.waiting.is_empty() {
            let count = self.waiting.len().min(BATCH);
            self.sender.load(self.waiting.drain(..count));
            let refused = |error: &io::Error, rest| {
                if is_full(error) {
                    Refusal::Later
                } else if !tried && socket::connect(self.fd.as_fd(), &self.agents).is_ok() {
                    tried = true;
                    Refusal::Again
                } else {
                    // It is not there, or has just gone.
                    counters.cells().tx_errors.add(rest);
                    Refusal::Rest
                }
            };
            let (packets, bytes, calls) = self.sender.send(self.fd.as_fd(), pool, |_| [], refused);
            counters.sent(packets, bytes);
            counters.cells().tx_syscalls.add(calls);
            let mut full = false;
            for packet in self.sender.left().rev() {
                full = true;
                self.waiting.push_front(packet);
            }
            if full {
                return;
            }
        }
    }

    /// Drops the latest of those that wait when they are too many, or the pool needs their buffers.
    fn trim(&mut self, pool: &mut FramePool) {
        let most = WAITING.min(pool.available());
        let mut supers = 0;
        let mut fits = |packet: &Packet| {
            supers += usize::from(packet.frame.is_super());
            supers <= WAITING_SUPERS
        };
        let fitting = self.waiting.iter().take(most).take_while(|packet| fits(packet)).count();
        self.counters.cells().tx_full.add((self.waiting.len() - fitting) as u64);
        for packet in self.waiting.drain(fitting..) {
            pool.free(packet.frame);
        }
    }
}

impl Port for Pkt0Port {
    fn kind(&self) -> PortKind {
        PortKind::Pkt0
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let cells = self.counters.cells();
        let wanted = self.receiver.wanted(batch.remaining_capacity());
        let got = match self.receiver.receive(self.fd.as_fd(), pool, wanted) {
            Ok((got, asked)) => {
                cells.rx_syscalls.add(u64::from(asked > 0));
                got
            }
            Err(error) => {
                cells.rx_syscalls.add(1);
                cells.rx_errors.add(u64::from(!sys::is_transient(&error)));
                0
            }
        };
        for index in 0..got {
            if let Some(packet) = accept(self.receiver.take(index), cells, pool) {
                self.counters.received(1, packet.frame.len() as u64);
                if let Err(packet) = batch.push(packet) {
                    pool.free(packet.frame);
                }
            }
        }
        self.receiver.give_back(pool);
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let capabilities = self.capabilities();
        for mut packet in batch.drain() {
            packet.frame.truncate(LONGEST_PKT0_FRAME);
            match capabilities.check(&packet.frame, &packet.offload) {
                Ok(()) => self.waiting.push_back(packet),
                Err(unfit) => {
                    self.counters.unfit(unfit);
                    pool.free(packet.frame);
                }
            }
        }
        self.send_waiting(pool);
        self.trim(pool);
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        self.send_waiting(pool);
        !self.waiting.is_empty()
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    /// Traps go as they came: the agent takes partial checksums as they are, and super-frames are cut.
    fn capabilities(&self) -> Capabilities {
        Capabilities { longest_frame: LONGEST_PKT0_FRAME, ..Capabilities::everything() }
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    /// The socket stays.
    fn close(mut self: Box<Self>, pool: &mut FramePool) {
        self.counters.cells().tx_full.add(self.waiting.len() as u64);
        for packet in self.waiting.drain(..) {
            pool.free(packet.frame);
        }
    }
}

/// The packet that a datagram is, if it is one.
fn accept(datagram: Datagram, cells: &Cells, pool: &mut FramePool) -> Option<Packet> {
    match datagram {
        Datagram::Whole(frame, _) if frame.len() > LONGEST_PKT0_FRAME => {
            cells.rx_too_long.add(1);
            pool.free(frame);
        }
        Datagram::Whole(frame, _) if frame.len() < ETHERNET_HEADER => {
            cells.rx_malformed.add(1);
            pool.free(frame);
        }
        Datagram::Whole(frame, _) => return Some(Packet::plain(frame)),
        Datagram::NoBuffer => cells.rx_no_buffer.add(1),
        Datagram::TooLong => cells.rx_too_long.add(1),
    }
    None
}

/// Whether the agent is there, but slow: its queue is full.
#[cold]
fn is_full(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::ENOBUFS))
}
