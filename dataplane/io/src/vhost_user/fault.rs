//! What happens when a front end shortens a file that we have mapped.
//!
//! Access behind the end of a mapped file ends the process (`SIGBUS`), and looking at the file's size before each
//! access cannot prevent that. Refusing files that are not sealed against it would refuse all front ends there are:
//! QEMU and test rigs share plain files. So the signal is caught: the whole mapping is replaced by memory of our own,
//! which reads as zeroes, and the front end has lost its packets. Faults elsewhere stay what they were.
#![allow(unsafe_code, reason = "a signal handler")]

use std::mem;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Mappings of all front ends together.
const MOST: usize = 4096;

struct Guarded {
    start: AtomicUsize,
    /// 0 while the place is free.
    end: AtomicUsize,
    taken: AtomicBool,
}

static GUARDED: [Guarded; MOST] = [const {
    Guarded { start: AtomicUsize::new(0), end: AtomicUsize::new(0), taken: AtomicBool::new(false) }
}; MOST];
/// The handler that was there before.
static BEFORE: OnceLock<libc::sigaction> = OnceLock::new();

/// Keeps a mapping guarded as long as it lives.
pub(super) struct Guard(usize);

impl Guard {
    /// Guards the mapping from `start` on; `None` when there are too many.
    pub(super) fn new(start: usize, len: usize) -> Option<Self> {
        install();
        let free = |guarded: &Guarded| {
            guarded.taken.compare_exchange(false, true, Ordering::AcqRel, Ordering::Relaxed).is_ok()
        };
        let place = GUARDED.iter().position(free)?;
        GUARDED[place].start.store(start, Ordering::Relaxed);
        // Releases the start to the handler.
        GUARDED[place].end.store(start + len, Ordering::Release);
        Some(Self(place))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        GUARDED[self.0].end.store(0, Ordering::Release);
        GUARDED[self.0].taken.store(false, Ordering::Release);
    }
}

fn install() {
    BEFORE.get_or_init(|| {
        // SAFETY: all zero bytes are an action; the handler is async-signal-safe: it reads atomics and makes
        // system calls.
        unsafe {
            let mut action: libc::sigaction = mem::zeroed();
            let mut before: libc::sigaction = mem::zeroed();
            let handler: extern "C" fn(i32, *mut libc::siginfo_t, *mut libc::c_void) = handle;
            action.sa_sigaction = handler as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGBUS, &raw const action, &raw mut before);
            before
        }
    });
}

extern "C" fn handle(signal: i32, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel passes the fault's description.
    let address = unsafe { (*info).si_addr() } as usize;
    for guarded in &GUARDED {
        let end = guarded.end.load(Ordering::Acquire);
        let start = guarded.start.load(Ordering::Relaxed);
        if (start..end).contains(&address) && replace(start, end - start) {
            return;
        }
    }
    if let Some(before) = BEFORE.get() {
        // SAFETY: the action was the kernel's own word. The access is repeated behind the return and faults again.
        unsafe { libc::sigaction(signal, std::ptr::from_ref(before), std::ptr::null_mut()) };
    }
}

/// Puts memory of our own where a mapping was.
fn replace(start: usize, len: usize) -> bool {
    let protection = libc::PROT_READ | libc::PROT_WRITE;
    let flags = libc::MAP_FIXED | libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
    // SAFETY: the range is a guarded mapping, which its owner unmaps only when nobody uses it any more; here
    // somebody does.
    let place = unsafe { libc::mmap(start as *mut libc::c_void, len, protection, flags, -1, 0) };
    place != libc::MAP_FAILED
}
