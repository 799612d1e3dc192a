//! Being asked to end.

use std::os::fd::{AsFd, BorrowedFd};

use anyhow::Context;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};

/// A descriptor that becomes readable when the daemon shall end.
pub(crate) struct Signals(SignalFd);

impl Signals {
    /// Takes the signals over. Has to come before any thread is started, for threads inherit that they are blocked.
    pub(crate) fn take() -> anyhow::Result<Self> {
        let set: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
        set.thread_block().context("blocking signals")?;
        let flags = SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK;
        SignalFd::with_flags(&set, flags).map(Self).context("making a descriptor for signals")
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// The name of the signal that has come, if one has.
    pub(crate) fn received(&self) -> Option<&'static str> {
        let signal = self.0.read_signal().ok()??;
        Signal::try_from(signal.ssi_signo as i32).ok().map(Signal::as_str)
    }
}
