//! The time stamp counter.
#![allow(unsafe_code, reason = "reading the counter is an intrinsic")]

use std::time::{Duration, Instant};

/// The counter now. Its rate is constant and not the core's clock.
#[inline]
#[must_use]
pub fn now() -> u64 {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: every processor of this architecture has the instruction.
    unsafe {
        core::arch::x86_64::_rdtsc()
    }
    #[cfg(not(target_arch = "x86_64"))]
    {
        static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
        START.get_or_init(Instant::now).elapsed().as_nanos() as u64
    }
}

/// Counts per nanosecond, measured against the system's clock.
#[must_use]
pub fn per_nanosecond() -> f64 {
    let (clock, counter) = (Instant::now(), now());
    std::thread::sleep(Duration::from_millis(100));
    (now() - counter) as f64 / clock.elapsed().as_nanos() as f64
}
