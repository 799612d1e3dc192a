//! Workers: the threads that forward, and how the control thread talks to them.
//!
//! A worker owns its queues of ports, its pool of buffers and its pipeline, and runs to completion: it receives a
//! batch from a port, takes it through the [`Forwarder`](vr_forward::Forwarder) and hands the results to the ports
//! that they go to (`worker.rs` shows the loop). A packet for a port of another worker travels through that
//! worker's ring. A worker without work sleeps as its [`Polling`] policy says, and is woken by its descriptors or
//! by its bell.
//!
//! [`Workers`] is the control thread's side: it opens ports with a [`PortFactory`], gives them to workers and
//! implements [`Datapath`](vr_tables::control::Datapath). [`Monitor`] reads what workers and ports count, without
//! stopping anybody.

pub mod clock;
pub mod cpus;
mod handoff;
mod mailbox;
mod monitor;
mod moves;
mod poller;
mod polling;
mod port;
mod slots;
mod status;
mod wake;
mod worker;
mod workers;

pub use monitor::{Monitor, PortEntry};
pub use polling::Polling;
pub use port::{KernelMac, Opened, PortFactory, Queue};
pub use workers::{StartError, Workers, WorkersConfig};
