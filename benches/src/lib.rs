//! Benchmarks of the forwarder without devices.
//!
//! `bench-core` measures the pipeline on memory ports: TSC cycles and nanoseconds per packet from port
//! receive to port transmit.

pub mod alloc;
pub mod core;
pub mod tsc;
