//! A small front end of vhost-user: the guest's side, with its manners to choose.
//!
//! It reaches its memory by reading and writing the file, so that it needs no mapping.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Read};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::eventfd::{EfdFlags, EventFd};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

pub const CSUM: u64 = 1;
pub const GUEST_CSUM: u64 = 1 << 1;
pub const GUEST_TSO: u64 = 3 << 7;
pub const HOST_TSO: u64 = 3 << 11;
pub const MRG_RXBUF: u64 = 1 << 15;
pub const MQ: u64 = 1 << 22;
pub const PROTOCOL_FEATURES: u64 = 1 << 30;

/// Where the guest's memory begins, for it and for its process.
const BASE: u64 = 0x1_0000_0000;
/// Parts of a ring, by their distance from its begin.
const AVAILABLE: u64 = 0x8_0000;
const USED: u64 = 0x9_1000;
const STRIDE: u64 = 0x10_0000;

/// Behind the rings, for each of them: buffers for what is received, or of what is sent.
const BUFFERS: u64 = 0x800_0000;
const LONGEST: u64 = 0x2_0000;
/// Packets that wait at the most.
const SLOTS: u16 = 512;

/// How a front end behaves.
#[derive(Clone, Debug)]
pub struct Manners {
    /// What it negotiates; without, it does not say so.
    pub features: Option<u64>,
    /// Pairs of rings.
    pub pairs: u16,
    /// Descriptors of a ring.
    pub ring: u16,
    /// It tells when it has posted something.
    pub kicks: bool,
    /// It reads the reply about features.
    pub reads: bool,
    /// Buffers for what it receives, of each pair: how many, and of how many bytes.
    pub buffers: (u16, u32),
}

impl Default for Manners {
    fn default() -> Self {
        Self { features: Some(0), pairs: 1, ring: 256, kicks: true, reads: true, buffers: (64, 2048) }
    }
}

struct Ring {
    base: u64,
    available: u16,
    used: u16,
    kick: EventFd,
    call: EventFd,
}

pub struct FrontEnd {
    stream: UnixStream,
    manners: Manners,
    pub memory: File,
    /// To the guest, from the guest, in turn.
    rings: Vec<Ring>,
    /// Bytes of the header before packets.
    header: usize,
    pub offered: Option<u64>,
}

fn event() -> EventFd {
    EventFd::from_flags(EfdFlags::EFD_NONBLOCK).unwrap()
}

/// Waits for somebody to connect.
pub fn accept(listener: &UnixListener, patience: Duration) -> Option<UnixStream> {
    listener.set_nonblocking(true).unwrap();
    let end = Instant::now() + patience;
    while Instant::now() < end {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).unwrap();
                return Some(stream);
            }
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    None
}

impl FrontEnd {
    /// Listens at `path`, waits for the back end and shakes hands.
    pub fn listen(path: &Path, manners: &Manners) -> Self {
        let _ = std::fs::remove_file(path);
        let listener = UnixListener::bind(path).unwrap();
        let stream = accept(&listener, Duration::from_secs(5)).expect("nobody connects");
        Self::start(stream, manners)
    }

    /// Shakes hands.
    pub fn start(stream: UnixStream, manners: &Manners) -> Self {
        let memory = File::from(memfd_create("vrx-guest", MFdFlags::MFD_CLOEXEC).unwrap());
        let count = u64::from(manners.pairs) * 2;
        // Sparse: only what is used takes memory.
        memory.set_len(count * (STRIDE + BUFFERS)).unwrap();
        let features = manners.features.unwrap_or(0);
        let rings = (0..count)
            .map(|number| Ring { base: number * STRIDE, available: 0, used: 0, kick: event(), call: event() })
            .collect();
        let mut front_end = Self {
            stream,
            manners: manners.clone(),
            memory,
            rings,
            header: if features & MRG_RXBUF != 0 { 12 } else { 10 },
            offered: None,
        };
        front_end.shake_hands();
        front_end
    }

    fn shake_hands(&mut self) {
        self.message(3, &[], &[]);
        self.message(1, &[], &[]);
        if self.manners.reads {
            self.offered = Some(u64::from_ne_bytes(self.reply(1).try_into().unwrap()));
        }
        if let Some(features) = self.manners.features {
            self.message(2, &features.to_ne_bytes(), &[]);
        }
        let size = self.memory.metadata().unwrap().len();
        let table = [1_u64, BASE, size, BASE, 0].map(u64::to_ne_bytes).concat();
        self.message(5, &table, &[self.memory.as_raw_fd()]);
        let (count, len) = self.manners.buffers;
        for number in 0..self.rings.len() {
            if number % 2 == 0 {
                for buffer in 0..count {
                    let at = self.buffers(number) + u64::from(buffer) * u64::from(len);
                    self.post_receive(number / 2, buffer, at, len);
                }
            }
            self.set_up(number);
        }
        if self.manners.reads {
            // The answer comes when all of that is done.
            self.message(17, &[], &[]);
            self.reply(17);
        }
    }

    /// Where the buffers of a ring are.
    fn buffers(&self, number: usize) -> u64 {
        self.rings.len() as u64 * STRIDE + number as u64 * BUFFERS
    }

    fn set_up(&mut self, number: usize) {
        let state = |value: u16| [(number as u32).to_ne_bytes(), u32::from(value).to_ne_bytes()].concat();
        let descriptor = (number as u64).to_ne_bytes();
        let ring = &self.rings[number];
        let (kick, call) = (ring.kick.as_raw_fd(), ring.call.as_raw_fd());
        let start = BASE + ring.base + 8;
        let addresses = [start, BASE + ring.base + USED, BASE + ring.base + AVAILABLE, 0];
        let addresses = [&state(0)[..], &addresses.map(u64::to_ne_bytes).concat()].concat();
        self.message(8, &state(self.manners.ring), &[]);
        self.message(10, &state(0), &[]);
        self.message(13, &descriptor, &[call]);
        self.message(9, &addresses, &[]);
        self.message(12, &descriptor, &[kick]);
        if self.manners.features.is_some_and(|features| features & PROTOCOL_FEATURES != 0) {
            self.message(18, &state(1), &[]);
        }
    }

    /// Sends a message; the back end may have gone.
    pub fn message(&self, request: u32, payload: &[u8], files: &[RawFd]) {
        let bytes = [&[request, 1, payload.len() as u32].map(u32::to_ne_bytes).concat(), payload].concat();
        let rights = [ControlMessage::ScmRights(files)];
        let control = if files.is_empty() { &rights[..0] } else { &rights[..] };
        let _ = sendmsg::<()>(
            self.stream.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
    }

    /// The payload of the reply to a request.
    pub fn reply(&mut self, request: u32) -> Vec<u8> {
        let mut header = [0; 12];
        self.stream.read_exact(&mut header).unwrap();
        assert_eq!(header[..4], request.to_ne_bytes());
        let len = u32::from_ne_bytes([header[8], header[9], header[10], header[11]]);
        let mut payload = vec![0; len as usize];
        self.stream.read_exact(&mut payload).unwrap();
        payload
    }

    /// Asks where a ring goes on, which stops it.
    pub fn stop(&mut self, number: usize) -> u16 {
        self.message(11, &[(number as u32).to_ne_bytes(), [0; 4]].concat(), &[]);
        u16::from_ne_bytes(self.reply(11)[4..6].try_into().unwrap())
    }

    fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut bytes = [0; N];
        self.memory.read_exact_at(&mut bytes, at).unwrap();
        bytes
    }

    fn describe(&self, ring: usize, number: u16, (at, len, flags, next): (u64, u32, u16, u16)) {
        let ends = [len.to_ne_bytes(), (u32::from(flags) | u32::from(next) << 16).to_ne_bytes()].concat();
        let bytes = [&(BASE + at).to_ne_bytes()[..], &ends].concat();
        let place = self.rings[ring].base + 8 + u64::from(number) * 16;
        self.memory.write_all_at(&bytes, place).unwrap();
    }

    fn make_available(&mut self, number: usize, head: u16) {
        let size = self.manners.ring;
        let ring = &mut self.rings[number];
        let place = ring.base + AVAILABLE + 4 + 2 * u64::from(ring.available % size);
        self.memory.write_all_at(&head.to_ne_bytes(), place).unwrap();
        ring.available = ring.available.wrapping_add(1);
        self.memory.write_all_at(&ring.available.to_ne_bytes(), ring.base + AVAILABLE + 2).unwrap();
        let is_quiet = self.read::<2>(self.rings[number].base + USED) != [0; 2];
        if self.manners.kicks && !is_quiet {
            self.rings[number].kick.write(1).unwrap();
        }
    }

    fn post_receive(&mut self, pair: usize, number: u16, at: u64, len: u32) {
        self.describe(2 * pair, number, (at, len, 2, 0));
        self.make_available(2 * pair, number);
    }

    /// Headers have so many bytes, whatever was negotiated on this connection.
    pub fn expect_header(&mut self, bytes: usize) {
        self.header = bytes;
    }

    /// Posts a packet behind a header, in one descriptor, which is said to be written to, as rigs do. Waits for
    /// room.
    pub fn send(&mut self, pair: usize, header: &[u8; 10], packet: &[u8]) {
        let number = 2 * pair + 1;
        let slots = self.manners.ring.min(SLOTS);
        while self.rings[number].available.wrapping_sub(self.taken(pair)) == slots {
            std::thread::yield_now();
        }
        let slot = self.rings[number].available % slots;
        let at = self.buffers(number) + u64::from(slot) * LONGEST;
        let mut bytes = header.to_vec();
        bytes.resize(self.header, 0);
        bytes.extend_from_slice(packet);
        self.memory.write_all_at(&bytes, at).unwrap();
        self.describe(number, slot, (at, bytes.len() as u32, 2, 0));
        self.make_available(number, slot);
    }

    /// Posts chains of nothing but one empty descriptor, where packets are expected.
    pub fn send_nothing(&mut self, pair: usize, count: u16) {
        self.describe(2 * pair + 1, 0, (0, 0, 0, 0));
        for _ in 0..count {
            self.make_available(2 * pair + 1, 0);
        }
    }

    /// How many packets of a pair the back end has taken.
    pub fn taken(&self, pair: usize) -> u16 {
        u16::from_ne_bytes(self.read(self.rings[2 * pair + 1].base + USED + 2))
    }

    /// Packets that have come, each with its header; their buffers are posted again.
    pub fn receive(&mut self, pair: usize) -> Vec<Vec<u8>> {
        let number = 2 * pair;
        let mut packets: Vec<Vec<u8>> = Vec::new();
        let mut missing = 0;
        loop {
            let base = self.rings[number].base;
            let index = u16::from_ne_bytes(self.read(base + USED + 2));
            if index == self.rings[number].used {
                assert_eq!(missing, 0, "a part of a packet is missing");
                return packets;
            }
            let place = u64::from(self.rings[number].used % self.manners.ring);
            let entry: [u8; 8] = self.read(base + USED + 4 + 8 * place);
            let id = u16::from_ne_bytes([entry[0], entry[1]]);
            let len = u32::from_ne_bytes([entry[4], entry[5], entry[6], entry[7]]) as usize;
            let address = u64::from_ne_bytes(self.read(base + 8 + u64::from(id) * 16)) - BASE;
            let mut bytes = vec![0; len];
            self.memory.read_exact_at(&mut bytes, address).unwrap();
            if missing == 0 {
                missing = if self.header == 12 { u16::from_ne_bytes([bytes[10], bytes[11]]) } else { 1 };
                packets.push(bytes);
            } else {
                packets.last_mut().unwrap().extend(bytes);
            }
            missing -= 1;
            self.rings[number].used = self.rings[number].used.wrapping_add(1);
            self.make_available(number, id);
        }
    }

    /// How often the back end has told that something has come since the last call.
    pub fn calls(&self, number: usize) -> u64 {
        self.rings[number].call.read().unwrap_or(0)
    }

    /// Whether the back end has closed the connection. Replies that were not read are lost.
    pub fn is_gone(&self) -> bool {
        let mut lost = [0; 256];
        loop {
            match recv(self.stream.as_raw_fd(), &mut lost, MsgFlags::MSG_DONTWAIT) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error != Errno::EAGAIN,
            }
        }
    }
}
