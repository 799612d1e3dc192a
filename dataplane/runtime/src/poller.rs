//! Which ports have something, by one system call for all of them.

use std::os::fd::BorrowedFd;
use std::time::Duration;

use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

/// Descriptors reported by one call at the most; the kernel goes on behind them with the next call.
const EVENTS: usize = 64;
/// What stands for the bell.
const BELL: u64 = u64::MAX;

/// The descriptors that a worker waits for.
pub(crate) struct Poller {
    epoll: Epoll,
    events: [EpollEvent; EVENTS],
    found: usize,
}

impl Poller {
    /// A poller that knows the bell of its worker.
    pub(crate) fn new(bell: BorrowedFd<'_>) -> nix::Result<Self> {
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(bell, EpollEvent::new(EpollFlags::EPOLLIN, BELL))?;
        Ok(Self { epoll, events: [EpollEvent::empty(); EVENTS], found: 0 })
    }

    /// From now on the slot is reported when `fd` is readable; with `once`, for each time that it becomes so.
    pub(crate) fn add(&self, fd: BorrowedFd<'_>, slot: usize, once: bool) -> nix::Result<()> {
        let how = if once { EpollFlags::EPOLLIN | EpollFlags::EPOLLET } else { EpollFlags::EPOLLIN };
        self.epoll.add(fd, EpollEvent::new(how, slot as u64))
    }

    /// The descriptor is about to be closed.
    pub(crate) fn remove(&self, fd: BorrowedFd<'_>) {
        // It is there, or it was refused when it was added.
        let _ = self.epoll.delete(fd);
    }

    /// Looks which slots are readable, and waits for the first of them if `patience` says so. Says whether the bell
    /// is among what it has found.
    pub(crate) fn look(&mut self, patience: Duration) -> bool {
        let millis = patience.as_millis().min(u128::from(u16::MAX)) as u16;
        self.found = self.epoll.wait(&mut self.events, EpollTimeout::from(millis)).unwrap_or(0);
        self.events.iter().take(self.found).any(|event| event.data() == BELL)
    }

    /// How many descriptors the last call of [`Poller::look`] has found.
    pub(crate) const fn found(&self) -> usize {
        self.found
    }

    /// The slot of one of these; none for the bell.
    pub(crate) fn slot(&self, found: usize) -> Option<usize> {
        let slot = self.events.get(found)?.data();
        (slot != BELL).then_some(slot as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::Poller;
    use crate::wake::Bell;
    use nix::sys::eventfd::EventFd;
    use std::os::fd::AsFd;
    use std::time::Duration;

    #[test]
    fn what_is_readable_is_reported_by_its_slot() {
        let bell = Bell::new().unwrap();
        let mut poller = Poller::new(bell.fd()).unwrap();
        let (quiet, loud) = (EventFd::new().unwrap(), EventFd::new().unwrap());
        poller.add(quiet.as_fd(), 3, false).unwrap();
        poller.add(loud.as_fd(), 5, false).unwrap();
        assert!(!poller.look(Duration::ZERO));
        assert_eq!(poller.found(), 0);
        loud.write(1).unwrap();
        poller.look(Duration::from_secs(1));
        assert_eq!((poller.found(), poller.slot(0)), (1, Some(5)));
        poller.remove(loud.as_fd());
        bell.sleep(
            || true,
            || {
                bell.ring();
                let heard = poller.look(Duration::ZERO);
                assert_eq!((heard, poller.found(), poller.slot(0)), (true, 1, None), "the bell is no slot");
                heard
            },
        );
        poller.look(Duration::ZERO);
        assert_eq!(poller.found(), 0);
    }

    #[test]
    fn what_is_reported_once_is_not_read() {
        let bell = Bell::new().unwrap();
        let mut poller = Poller::new(bell.fd()).unwrap();
        let event = EventFd::new().unwrap();
        let inner = Poller::new(event.as_fd()).unwrap();
        poller.add(inner.epoll.0.as_fd(), 7, true).unwrap();
        for _ in 0..3 {
            event.write(1).unwrap();
            poller.look(Duration::from_secs(1));
            assert_eq!((poller.found(), poller.slot(0)), (1, Some(7)));
            poller.look(Duration::ZERO);
            assert_eq!(poller.found(), 0);
        }
    }
}
