//! The device's side of a split virtqueue (virtio 1.2, 2.7).
//!
//! Everything in the ring is the guest's word: indices, descriptors and chains are read once, checked and never
//! trusted to be the same when they are read again.
#![allow(unsafe_code, reason = "memory that others share")]

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering, fence};

use super::call::raise;
use super::chain::{Chains, MOST_PIECES};
use super::log::DirtyLog;
use super::memory::GuestMemory;
use super::protocol::RingAddresses;

const DESCRIPTOR: u64 = 16;
const NEXT: u16 = 1;
/// A table of descriptors elsewhere; never negotiated.
const INDIRECT: u16 = 4;
/// In the available ring: do not interrupt. In the used ring: do not notify.
const QUIET: u16 = 1;
/// No chain of an honest guest has more bytes.
const LONGEST_CHAIN: usize = 1 << 20;

/// How a ring is made.
pub(super) struct RingConfig {
    pub(super) memory: Arc<GuestMemory>,
    pub(super) size: u16,
    pub(super) addresses: RingAddresses,
    pub(super) log: Option<Arc<DirtyLog>>,
    /// Where to tell that buffers were used.
    pub(super) call: Option<Arc<OwnedFd>>,
    /// Whether the front end tells when buffers are available.
    pub(super) told: bool,
    /// Bytes of the header before each packet.
    pub(super) header: usize,
    /// A packet may use several chains.
    pub(super) mergeable: bool,
}

/// What [`Ring::next`] has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// No chain is available.
    Nothing,
    /// One was added.
    Chain,
    /// One that breaks the rules, by its first descriptor; nothing of it was added.
    Malformed(u16),
}

/// What has to be done before a worker may sleep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Rest {
    /// There is something to receive.
    Waiting,
    /// The front end does not tell.
    Polled,
    /// The front end tells.
    Told,
}

/// Who writes.
#[derive(Clone, Copy)]
enum Side {
    /// The guest.
    Available,
    /// This module.
    Used,
}

/// Places of the numbers at the beginning of both.
const FLAGS: usize = 0;
const INDEX: usize = 1;

/// One ring.
pub(super) struct Ring {
    config: RingConfig,
    descriptors: NonNull<u8>,
    available: NonNull<u16>,
    used: NonNull<u16>,
    next_available: u16,
    next_used: u16,
    /// The front end is gone; what it has posted up to here is taken still.
    end: Option<u16>,
    /// The front end was told to tell.
    armed: bool,
    /// The guest has broken the ring; it is left alone.
    broken: bool,
    /// Descriptors that were read so far.
    #[cfg(test)]
    pub(super) steps: usize,
}

// SAFETY: the pointers are into memory that the ring keeps mapped.
unsafe impl Send for Ring {}

impl Ring {
    /// A ring at these addresses, if they are the front end's memory and aligned. It goes on where it was left.
    pub(super) fn new(config: RingConfig) -> Option<Self> {
        let size = u64::from(config.size);
        if !config.size.is_power_of_two() {
            return None;
        }
        let part = |address, len, align: usize| {
            let start = config.memory.user(address, len)?.start();
            (start.as_ptr().addr() % align == 0).then_some(start)
        };
        let RingAddresses { descriptors, available, used, .. } = config.addresses;
        let descriptors = part(descriptors, size * DESCRIPTOR, 8)?;
        let available = part(available, 4 + 2 * size, 2)?.cast();
        let used = part(used, 4 + 8 * size, 4)?.cast();
        let mut ring = Self {
            config,
            descriptors,
            available,
            used,
            next_available: 0,
            next_used: 0,
            end: None,
            armed: false,
            broken: false,
            #[cfg(test)]
            steps: 0,
        };
        // Buffers are used in order, so this is also the next available one, whatever base the front end has named:
        // after a crash of ours it knows less.
        ring.next_used = ring.cell(Side::Used, INDEX).load(Ordering::Acquire);
        ring.next_available = ring.next_used;
        ring.set_quiet(true);
        Some(ring)
    }

    /// Where the ring goes on.
    pub(super) const fn base(&self) -> u16 {
        self.next_available
    }

    pub(super) const fn header(&self) -> usize {
        self.config.header
    }

    pub(super) const fn mergeable(&self) -> bool {
        self.config.mergeable
    }

    pub(super) fn log(&self) -> Option<&DirtyLog> {
        self.config.log.as_deref()
    }

    /// One of the two numbers at the beginning of the available or the used ring.
    fn cell(&self, side: Side, number: usize) -> &AtomicU16 {
        let start = match side {
            Side::Available => self.available,
            Side::Used => self.used,
        };
        // SAFETY: aligned, inside the ring's memory, which is mapped as long as this value lives; the guest's
        // access is like that of another thread by an atomic.
        unsafe { AtomicU16::from_ptr(start.add(number).as_ptr()) }
    }

    fn set_quiet(&mut self, quiet: bool) {
        self.armed = !quiet;
        self.cell(Side::Used, FLAGS).store(if quiet { QUIET } else { 0 }, Ordering::Relaxed);
    }

    /// How many chains are available.
    #[inline]
    fn waiting(&mut self) -> u16 {
        let index = self.end.unwrap_or_else(|| self.cell(Side::Available, INDEX).load(Ordering::Acquire));
        let waiting = index.wrapping_sub(self.next_available);
        if waiting > self.config.size {
            self.broken = true;
        }
        if self.broken { 0 } else { waiting }
    }

    /// The front end is gone: nothing that it posts from now on counts. Says whether something is left.
    pub(super) fn finish(&mut self) -> bool {
        let waiting = self.waiting();
        self.end = Some(self.next_available.wrapping_add(waiting));
        waiting > 0
    }

    /// Whether the front end is gone and nothing is left.
    pub(super) fn is_finished(&self) -> bool {
        self.end.is_some_and(|end| self.broken || end == self.next_available)
    }

    /// Prepares for a sleep.
    pub(super) fn rest(&mut self) -> Rest {
        if self.end.is_some() {
            return Rest::Waiting;
        }
        if self.broken {
            return Rest::Told;
        }
        if self.config.told && !self.armed {
            self.set_quiet(false);
            // Either the guest sees the flag behind its index, or this sees its index.
            fence(Ordering::SeqCst);
        }
        match self.waiting() {
            0 if self.config.told => Rest::Told,
            0 => Rest::Polled,
            _ => Rest::Waiting,
        }
    }

    /// Packets come: the front end need not tell.
    #[inline]
    pub(super) fn disarm(&mut self) {
        if self.armed {
            self.set_quiet(true);
        }
    }

    /// Adds the next available chain to `chains`.
    #[inline]
    pub(super) fn next(&mut self, chains: &mut Chains) -> Next {
        if self.waiting() == 0 {
            return Next::Nothing;
        }
        let place = usize::from(self.next_available & (self.config.size - 1));
        // SAFETY: inside the ring.
        let head = unsafe { self.available.add(2 + place).read_volatile() };
        if head >= self.config.size {
            self.broken = true;
            return Next::Nothing;
        }
        self.next_available = self.next_available.wrapping_add(1);
        if self.walk(head, chains) { Next::Chain } else { Next::Malformed(head) }
    }

    /// A descriptor is at least one piece, so no honest chain has more of them than a packet may have pieces.
    fn walk(&mut self, head: u16, chains: &mut Chains) -> bool {
        chains.begin(head);
        let mut number = head;
        for _ in 0..MOST_PIECES.min(self.config.size.into()) {
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let (address, len, flags, next) = self.descriptor(number);
            if flags & INDIRECT != 0
                || !chains.push(&self.config.memory, address, len)
                || chains.len() > LONGEST_CHAIN
            {
                return false;
            }
            if flags & NEXT == 0 {
                return true;
            }
            if next >= self.config.size {
                return false;
            }
            number = next;
        }
        false
    }

    fn descriptor(&self, number: u16) -> (u64, u32, u16, u16) {
        // SAFETY: the number is below the ring's size, so this is inside the table, aligned to eight bytes.
        let [address, rest] = unsafe {
            let place = self.descriptors.add(usize::from(number) * DESCRIPTOR as usize).cast::<u64>();
            [place.read_volatile(), place.add(1).read_volatile()]
        };
        let [l0, l1, l2, l3, f0, f1, n0, n1] = rest.to_ne_bytes();
        let len = u32::from_ne_bytes([l0, l1, l2, l3]);
        (address, len, u16::from_ne_bytes([f0, f1]), u16::from_ne_bytes([n0, n1]))
    }

    /// Takes back that chains from `base` on were taken.
    #[inline]
    pub(super) fn rewind(&mut self, base: u16) {
        self.next_available = base;
    }

    /// Gives a chain back, of which `len` bytes were written. The guest sees it after [`Ring::publish`].
    #[inline]
    pub(super) fn give_back(&mut self, head: u16, len: usize) {
        let place = usize::from(self.next_used & (self.config.size - 1));
        // SAFETY: inside the used ring, whose entries are aligned to four bytes.
        unsafe {
            self.used.add(2 + 4 * place).cast::<[u32; 2]>().write_volatile([u32::from(head), len as u32]);
        };
        if let (Some(log), Some(start)) = (&self.config.log, self.config.addresses.log) {
            log.mark(start.wrapping_add(4 + 8 * place as u64), 8);
        }
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Shows the guest what was given back, and tells the front end unless it does not want that. Says whether it
    /// did.
    pub(super) fn publish(&mut self) -> bool {
        self.cell(Side::Used, INDEX).store(self.next_used, Ordering::Release);
        if let (Some(log), Some(start)) = (&self.config.log, self.config.addresses.log) {
            log.mark(start, 4);
        }
        let Some(call) = &self.config.call else { return false };
        // Either the guest sees the index behind its flag, or this sees the flag.
        fence(Ordering::SeqCst);
        if self.cell(Side::Available, FLAGS).load(Ordering::Relaxed) & QUIET != 0 {
            return false;
        }
        raise(call.as_fd());
        true
    }
}
