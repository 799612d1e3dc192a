//! The forwarding pipeline: one file per stage, no I/O.
