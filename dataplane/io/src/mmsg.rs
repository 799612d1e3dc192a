//! Bursts of datagrams by one system call.
#![allow(unsafe_code, reason = "system calls that read and write through addresses")]

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};

use vr_frame::{BATCH, Frame, FramePool, Packet};

use crate::landing::Landing;
use crate::sys;

/// What the kernel tells beside a datagram (`struct tpacket_auxdata`), with its control header.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
struct Control([u8; CONTROL]);

const AUXDATA: u32 = mem::size_of::<libc::tpacket_auxdata>() as u32;
// SAFETY: arithmetic only.
const CONTROL: usize = unsafe { libc::CMSG_SPACE(AUXDATA) } as usize;

/// Least datagrams that are asked for at once.
const FEWEST: usize = 4;

/// Receives bursts of datagrams.
pub(crate) struct Receiver {
    header: usize,
    landings: Vec<Landing>,
    iovecs: Vec<[libc::iovec; 2]>,
    controls: Vec<Control>,
    messages: Vec<libc::mmsghdr>,
    /// How many datagrams are asked for at once. Buffers have to be got for all of them, so it follows what
    /// comes.
    burst: usize,
    /// How many landings have buffers.
    prepared: usize,
}

// SAFETY: the addresses in `iovecs` and `messages` are written before and used only during a system call that
// borrows the value exclusively.
unsafe impl Send for Receiver {}

/// A datagram that was received.
pub(crate) enum Datagram {
    /// All of it, header included, and the control data.
    Whole(Frame, Option<libc::tpacket_auxdata>),
    /// It did not fit and is lost; no super-frame was free for it.
    NoBuffer,
    /// It did not fit into any buffer and is lost.
    TooLong,
}

impl Receiver {
    /// A receiver of datagrams that begin with `header` bytes which are no part of the frame; `auxdata` says
    /// whether the socket sends control data.
    pub(crate) fn new(header: usize, auxdata: bool) -> Self {
        let controls = if auxdata { vec![Control([0; CONTROL]); BATCH] } else { Vec::new() };
        // SAFETY: all zero bytes are a value of these types.
        let (iovec, message): (libc::iovec, libc::mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self {
            header,
            landings: (0..BATCH).map(|_| Landing::default()).collect(),
            iovecs: vec![[iovec; 2]; BATCH],
            controls,
            messages: vec![message; BATCH],
            burst: FEWEST,
            prepared: 0,
        }
    }

    /// How many datagrams the next call should ask for, if there is room for `room`.
    pub(crate) const fn wanted(&self, room: usize) -> usize {
        if room < self.burst { room } else { self.burst }
    }

    /// Receives at most `wanted` datagrams by one system call. Returns how many it got, and how many it had
    /// asked for: fewer than `wanted` when buffers are short, and none when the pool is dry.
    pub(crate) fn receive(
        &mut self,
        fd: BorrowedFd<'_>,
        pool: &mut FramePool,
        wanted: usize,
    ) -> io::Result<(usize, usize)> {
        let asked = self.prepare(pool, wanted.min(BATCH));
        if asked == 0 {
            return Ok((0, 0));
        }
        for (i, message) in self.messages[..asked].iter_mut().enumerate() {
            self.iovecs[i] = self.landings[i].iovecs();
            let header = &mut message.msg_hdr;
            header.msg_iov = self.iovecs[i].as_mut_ptr();
            header.msg_iovlen = if self.landings[i].has_spill() { 2 } else { 1 };
            if let Some(control) = self.controls.get_mut(i) {
                header.msg_control = (&raw mut control.0).cast();
                header.msg_controllen = CONTROL as _;
            }
        }
        let (messages, count) = (self.messages.as_mut_ptr(), asked as u32);
        // SAFETY: the messages and what they point to live in `self`; the kernel writes within their lengths.
        let got = sys::check(unsafe {
            libc::recvmmsg(fd.as_raw_fd(), messages, count, libc::MSG_DONTWAIT, std::ptr::null_mut())
        })? as usize;
        self.adapt(got, asked);
        Ok((got, asked))
    }

    /// Gets buffers for at most `wanted` datagrams; says for how many.
    fn prepare(&mut self, pool: &mut FramePool, wanted: usize) -> usize {
        for i in 0..wanted {
            self.prepared = self.prepared.max(i + 1);
            if !self.landings[i].prepare(pool, self.header) {
                return i;
            }
            // With a few super-frames left, no datagram may come where none is. With none at all, short ones
            // can still be received.
            if i > 0 && !self.landings[i].has_spill() && self.landings[0].has_spill() {
                return i;
            }
        }
        wanted
    }

    fn adapt(&mut self, got: usize, asked: usize) {
        if got == asked {
            self.burst = (self.burst * 4).min(BATCH);
        } else if got < self.burst / 4 {
            self.burst = (self.burst / 2).max(FEWEST);
        }
    }

    /// Datagram `index` of the last burst.
    pub(crate) fn take(&mut self, index: usize) -> Datagram {
        let message = &self.messages[index];
        if message.msg_hdr.msg_flags & libc::MSG_TRUNC != 0 {
            let full = self.landings[index].has_spill();
            return if full { Datagram::TooLong } else { Datagram::NoBuffer };
        }
        let auxdata = auxdata(&message.msg_hdr);
        match self.landings[index].take(self.header, message.msg_len as usize) {
            Some(frame) => Datagram::Whole(frame, auxdata),
            None => Datagram::TooLong,
        }
    }

    /// Gives back the buffers that nothing came for.
    pub(crate) fn give_back(&mut self, pool: &mut FramePool) {
        for landing in &mut self.landings[..mem::take(&mut self.prepared)] {
            landing.give_back(pool);
        }
    }
}

/// The control data of a message, if it is there and whole.
fn auxdata(message: &libc::msghdr) -> Option<libc::tpacket_auxdata> {
    if message.msg_control.is_null() {
        return None;
    }
    // SAFETY: control and its length are as the kernel left them in a buffer of ours, aligned as it has to be.
    let control = unsafe { libc::CMSG_FIRSTHDR(message).as_ref() }?;
    let whole = control.cmsg_level == libc::SOL_PACKET
        && control.cmsg_type == libc::PACKET_AUXDATA
        // SAFETY: arithmetic only.
        && control.cmsg_len as usize >= unsafe { libc::CMSG_LEN(AUXDATA) } as usize;
    // SAFETY: the data is as long as the type and any bits are a value of it.
    whole.then(|| unsafe { libc::CMSG_DATA(control).cast::<libc::tpacket_auxdata>().read_unaligned() })
}

/// Sends bursts of datagrams.
pub(crate) struct Sender<const HEADER: usize> {
    packets: Vec<Packet>,
    headers: Vec<[u8; HEADER]>,
    iovecs: Vec<[libc::iovec; 2]>,
    messages: Vec<libc::mmsghdr>,
}

// SAFETY: as for `Receiver`.
unsafe impl<const HEADER: usize> Send for Sender<HEADER> {}

/// What to do after a datagram was refused.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// This one is lost.
    One,
    /// All others would be refused as well, and are lost too.
    Rest,
    /// All others would be refused as well; none is lost.
    Later,
    /// It may be taken now.
    Again,
}

impl<const HEADER: usize> Sender<HEADER> {
    /// Sends by sockets that are bound to a device, or connected.
    pub(crate) fn new() -> Self {
        // SAFETY: all zero bytes are a value of these types.
        let (iovec, message): (libc::iovec, libc::mmsghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        Self {
            packets: Vec::with_capacity(BATCH),
            headers: vec![[0; HEADER]; BATCH],
            iovecs: vec![[iovec; 2]; BATCH],
            messages: vec![message; BATCH],
        }
    }

    /// Takes packets, no more than a batch holds.
    pub(crate) fn load(&mut self, packets: impl Iterator<Item = Packet>) {
        self.packets.extend(packets);
    }

    /// Packets that are to be sent later.
    pub(crate) fn left(&mut self) -> std::vec::Drain<'_, Packet> {
        self.packets.drain(..)
    }

    /// Sends all packets that were loaded, each behind its header, and frees them, except those that are to be sent
    /// later. `refused` decides what follows from an error, with how many packets it would cost to give up. Returns
    /// packets, bytes and system calls.
    pub(crate) fn send(
        &mut self,
        fd: BorrowedFd<'_>,
        pool: &mut FramePool,
        header: impl Fn(&Packet) -> [u8; HEADER],
        mut refused: impl FnMut(&io::Error, u64) -> Refusal,
    ) -> (u64, u64, u64) {
        let count = self.packets.len();
        self.fill(header);
        let (mut next, mut packets, mut bytes, mut calls) = (0, 0, 0, 0);
        while next < count {
            calls += 1;
            match self.send_from(fd, next, count) {
                Ok(sent) => {
                    let sent = &self.packets[next..next + sent];
                    packets += sent.len() as u64;
                    bytes += sent.iter().map(|packet| packet.frame.len() as u64).sum::<u64>();
                    next += sent.len();
                }
                Err(error) if error.raw_os_error() == Some(libc::EINTR) => {}
                Err(error) => match refused(&error, (count - next) as u64) {
                    Refusal::One => next += 1,
                    Refusal::Rest => next = count,
                    Refusal::Later => break,
                    Refusal::Again => {}
                },
            }
        }
        for packet in self.packets.drain(..next) {
            pool.free(packet.frame);
        }
        (packets, bytes, calls)
    }

    fn fill(&mut self, header: impl Fn(&Packet) -> [u8; HEADER]) {
        for (i, packet) in self.packets.iter_mut().enumerate() {
            self.headers[i] = header(packet);
            let bytes = packet.frame.bytes_mut();
            let body = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
            let head = libc::iovec { iov_base: self.headers[i].as_mut_ptr().cast(), iov_len: HEADER };
            self.iovecs[i] = [head, body];
            // The kernel takes a single part in a shorter way.
            let parts = &mut self.iovecs[i][usize::from(HEADER == 0)..];
            let message = &mut self.messages[i].msg_hdr;
            message.msg_iov = parts.as_mut_ptr();
            message.msg_iovlen = parts.len() as _;
        }
    }

    fn send_from(&mut self, fd: BorrowedFd<'_>, next: usize, count: usize) -> io::Result<usize> {
        let messages = &mut self.messages[next..count];
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        // SAFETY: the messages point to headers and frames that live in `self`.
        let sent = sys::check(unsafe {
            libc::sendmmsg(fd.as_raw_fd(), messages.as_mut_ptr(), messages.len() as u32, flags)
        })?;
        Ok(sent as usize)
    }
}
