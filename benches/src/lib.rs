//! Benchmarks of the forwarder without devices.
//!
//! `bench-core` measures the pipeline on memory ports: TSC cycles and nanoseconds per packet from port
//! receive to port transmit. `bench-control` measures how fast objects are programmed through the control socket, and
//! that forwarding does not suffer.

pub mod alloc;
pub mod control;
pub mod core;
pub mod tsc;
