//! The read side of counters.
