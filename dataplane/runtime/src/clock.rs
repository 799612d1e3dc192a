//! The monotonic clock.

use nix::time::{ClockId, clock_gettime};
use vr_forward::Now;

/// `CLOCK_MONOTONIC`, the clock of the steering program in the kernel.
#[must_use]
pub fn now() -> Now {
    // This clock exists on every system that runs this.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(std::time::Duration::ZERO, Into::into);
    Now(time.as_nanos() as u64)
}

#[cfg(test)]
mod tests {
    #[test]
    fn time_goes_on() {
        let before = super::now();
        std::thread::sleep(std::time::Duration::from_millis(2));
        assert!(super::now().0 - before.0 >= 2_000_000);
    }
}
