//! Benchmarks of the forwarder without devices.
//!
//! `bench-core` measures the pipeline on memory ports: TSC cycles and nanoseconds per packet from port
//! receive to port transmit. `bench-control` measures how fast objects are programmed through the control socket, and
//! that forwarding does not suffer; and how fast flows are set up by way of an agent.

pub mod alloc;
pub mod control;
pub mod core;
mod datagram;
mod flow_request;
mod serving;
pub mod setup;
mod thread_clock;
pub mod tsc;
