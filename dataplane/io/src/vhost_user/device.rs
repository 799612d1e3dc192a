//! What the control thread and the workers share of one interface.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crossbeam::utils::CachePadded;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags};
use nix::sys::eventfd::{EfdFlags, EventFd};

use super::protocol::{PAIRS, feature};
use super::ring::Ring;

/// A place for a ring. Whoever holds the lock uses the ring; the control thread takes it out only so, and may unmap
/// its memory then.
#[derive(Default)]
pub(super) struct Lane(Mutex<Option<Ring>>);

/// How long a worker waits for another one that sends to the same ring, in looks. That one may have lost its
/// processor; what cannot be sent now is sent later.
const PATIENCE: u32 = 100;

impl Lane {
    /// The place, unless somebody uses it; for workers.
    #[inline]
    pub(super) fn try_lock(&self) -> Option<MutexGuard<'_, Option<Ring>>> {
        match self.0.try_lock() {
            Ok(guard) => Some(guard),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// The place, as soon as another worker has sent its batch.
    #[inline]
    pub(super) fn spin_lock(&self) -> Option<MutexGuard<'_, Option<Ring>>> {
        for _ in 0..PATIENCE {
            if let Some(guard) = self.try_lock() {
                return Some(guard);
            }
            std::hint::spin_loop();
        }
        None
    }

    /// The place; for the control thread, which may wait for the end of a batch.
    pub(super) fn lock(&self) -> MutexGuard<'_, Option<Ring>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What wakes the worker of one port.
pub(super) struct Waker {
    /// Has the descriptors of front ends, and the event.
    epoll: Epoll,
    event: EventFd,
}

impl Waker {
    fn new() -> nix::Result<Self> {
        let waker = Self {
            epoll: Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?,
            event: EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?,
        };
        waker.add(waker.event.as_fd())?;
        Ok(waker)
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }

    fn add(&self, fd: BorrowedFd<'_>) -> nix::Result<()> {
        self.epoll.add(fd, EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, 0))
    }
}

/// One interface: up to 16 pairs of rings, shared out among its ports.
pub(super) struct Device {
    /// From the guest.
    pub(super) from_guest: [CachePadded<Lane>; PAIRS],
    /// To the guest.
    pub(super) to_guest: [CachePadded<Lane>; PAIRS],
    /// Bits of the pairs in use.
    receiving: AtomicU32,
    sending: AtomicU32,
    /// What the guest has negotiated.
    features: AtomicU64,
    /// What it takes by that.
    partial_checksums: AtomicBool,
    super_frames: AtomicBool,
    pub(super) wakers: Vec<Waker>,
}

impl Device {
    pub(super) fn new(ports: usize) -> nix::Result<Self> {
        Ok(Self {
            from_guest: Default::default(),
            to_guest: Default::default(),
            receiving: AtomicU32::new(0),
            sending: AtomicU32::new(0),
            features: AtomicU64::new(0),
            partial_checksums: AtomicBool::new(false),
            super_frames: AtomicBool::new(false),
            wakers: (0..ports.clamp(1, PAIRS)).map(|_| Waker::new()).collect::<Result<_, _>>()?,
        })
    }

    /// Pairs, as bits, from which a port receives.
    #[inline]
    pub(super) fn receiving(&self) -> u32 {
        self.receiving.load(Ordering::Acquire)
    }

    /// Pairs, as bits, to which may be sent.
    #[inline]
    pub(super) fn sending(&self) -> u32 {
        self.sending.load(Ordering::Acquire)
    }

    /// Whether the guest takes partial checksums, and super-frames of TCP.
    pub(super) fn takes(&self) -> (bool, bool) {
        (self.partial_checksums.load(Ordering::Relaxed), self.super_frames.load(Ordering::Relaxed))
    }

    /// What the guest has negotiated; nothing while there is none.
    pub(super) fn features(&self) -> u64 {
        self.features.load(Ordering::Relaxed)
    }

    pub(super) fn set_features(&self, features: u64) {
        let has = |bits| features & bits == bits;
        let partial_checksums = has(feature::GUEST_CSUM);
        let super_frames = has(feature::GUEST_TSO4 | feature::GUEST_TSO6);
        self.features.store(features, Ordering::Relaxed);
        self.partial_checksums.store(partial_checksums, Ordering::Relaxed);
        self.super_frames.store(partial_checksums && super_frames, Ordering::Relaxed);
    }

    /// The waker of the port that receives from a pair.
    fn waker(&self, pair: usize) -> &Waker {
        &self.wakers[pair % self.wakers.len()]
    }

    /// Puts a ring in place, or takes it away; says where the one before would go on. The new one is made when no
    /// worker uses the old one any more, so that it sees all that was used.
    pub(super) fn replace(&self, number: usize, make: impl FnOnce() -> Option<Ring>) -> Option<u16> {
        let pair = number / 2;
        let (lane, bits) = if number.is_multiple_of(2) {
            (&self.to_guest[pair], &self.sending)
        } else {
            (&self.from_guest[pair], &self.receiving)
        };
        let mut place = lane.lock();
        let before = place.take();
        *place = make();
        let is_there = place.is_some();
        drop(place);
        if is_there {
            bits.fetch_or(1 << pair, Ordering::AcqRel);
            self.wake(pair);
        } else {
            bits.fetch_and(!(1 << pair), Ordering::AcqRel);
        }
        before.map(|ring| ring.base())
    }

    /// Takes all rings away.
    pub(super) fn clear(&self) {
        for number in 0..2 * PAIRS {
            self.replace(number, || None);
        }
    }

    /// A worker has taken the last of a pair whose front end is gone. The ring stays in its place: taking it out
    /// may unmap the guest's memory, which is for the control thread to do.
    pub(super) fn drained(&self, pair: usize) {
        self.receiving.fetch_and(!(1 << pair), Ordering::AcqRel);
    }

    /// Wakes the worker of a pair.
    pub(super) fn wake(&self, pair: usize) {
        // It fails when the counter is at its end: then the worker is awake.
        let _ = self.waker(pair).event.write(1);
    }

    /// A front end's descriptor wakes the worker of a pair; says whether it can.
    pub(super) fn watch(&self, pair: usize, kick: BorrowedFd<'_>) -> bool {
        self.waker(pair).add(kick).is_ok()
    }

    /// The descriptor is about to be closed. The front end has it as well, so the kernel would not take it out.
    pub(super) fn unwatch(&self, pair: usize, kick: BorrowedFd<'_>) {
        // It is not there when it was refused.
        let _ = self.waker(pair).epoll.delete(kick);
    }
}
