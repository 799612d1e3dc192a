//! Workers: pinning, polling, handoff and counters.
