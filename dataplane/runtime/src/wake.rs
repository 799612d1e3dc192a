//! Waking a worker that sleeps, and only then.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::atomic::{AtomicBool, Ordering, fence};

use nix::sys::eventfd::{EfdFlags, EventFd};

/// A worker's bell. Who leaves something for the worker rings it afterwards; that costs a system call only
/// while the worker sleeps.
pub(crate) struct Bell {
    event: EventFd,
    asleep: AtomicBool,
}

impl Bell {
    pub(crate) fn new() -> nix::Result<Self> {
        let event = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { event, asleep: AtomicBool::new(false) })
    }

    /// Wakes the worker if it sleeps. To be called behind what it shall find.
    #[inline]
    pub(crate) fn ring(&self) {
        // Orders what was left before the look at the flag; pairs with the fence of `sleep`. Either this sees
        // the flag, or the sleeper's last look sees what was left.
        fence(Ordering::SeqCst);
        if self.asleep.load(Ordering::Relaxed) {
            self.wake();
        }
    }

    #[cold]
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::AcqRel) {
            // It can only fail when the counter is at its end: then the worker wakes anyway.
            let _ = self.event.write(1);
        }
    }

    /// Runs `wait` unless `nothing_left` says that there is something to do. It has to return when the bell's
    /// descriptor is readable, and to say whether that is.
    pub(crate) fn sleep(&self, nothing_left: impl FnOnce() -> bool, wait: impl FnOnce() -> bool) {
        self.asleep.store(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
        let heard = nothing_left() && wait();
        // Who takes the flag writes to the descriptor a moment later, perhaps behind this: the next sleep hears it.
        if !self.asleep.swap(false, Ordering::AcqRel) || heard {
            let _ = self.event.read();
        }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::Bell;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    fn wait(bell: &Bell, milliseconds: u16) -> bool {
        let mut fds = [PollFd::new(bell.fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(milliseconds)).unwrap() > 0
    }

    #[test]
    fn a_bell_is_silent_while_the_worker_is_awake() {
        let bell = Bell::new().unwrap();
        bell.ring();
        assert!(!wait(&bell, 0));
        bell.sleep(
            || true,
            || {
                bell.ring();
                wait(&bell, 0)
            },
        );
        assert!(!wait(&bell, 0), "the ring was heard and is over");
        bell.sleep(|| false, || panic!("there was something to do"));
    }

    #[test]
    fn a_ring_that_comes_behind_a_sleep_ends_one_more_only() {
        let bell = Bell::new().unwrap();
        // What `wake` does when the sleeper goes on between its two steps.
        bell.sleep(|| true, || !bell.asleep.swap(false, Ordering::AcqRel));
        bell.event.write(1).unwrap();
        bell.sleep(|| true, || wait(&bell, 0));
        assert!(!wait(&bell, 0), "the worker would never sleep again");
    }

    #[test]
    fn no_ring_is_lost() {
        const RINGS: u32 = 20_000;
        let bell = Arc::new(Bell::new().unwrap());
        let left = Arc::new(AtomicU32::new(0));
        let sleeper = {
            let (bell, left) = (Arc::clone(&bell), Arc::clone(&left));
            std::thread::spawn(move || {
                let (mut taken, mut overslept) = (0, 0);
                while taken < RINGS {
                    taken += left.swap(0, Ordering::Relaxed);
                    bell.sleep(
                        || left.load(Ordering::Relaxed) == 0 && taken < RINGS,
                        || {
                            let heard = wait(&bell, 2000);
                            overslept += u32::from(!heard);
                            heard
                        },
                    );
                }
                overslept
            })
        };
        for _ in 0..RINGS {
            left.fetch_add(1, Ordering::Relaxed);
            bell.ring();
        }
        assert_eq!(sleeper.join().unwrap(), 0, "sleeps that a ring should have ended");
    }
}
