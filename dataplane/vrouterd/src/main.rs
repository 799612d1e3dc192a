//! The daemon: configuration, preflight, wiring and life cycle.

fn main() {}
