//! Interfaces of virtual machines: the back end of vhost-user (control.md 4.3, test-rig.md 3).
//!
//! [`VhostUser`] is one thread for all interfaces of the process. It finds front ends, speaks with them
//! ([`session`]), maps their memory ([`memory`]) and hands rings to the ports ([`device`]): each ring lies in a place
//! with a lock that a worker tries once per batch, and whoever wants to unmap memory first takes the rings out. A
//! [`VhostUserPort`] polls rings ([`ring`]) and copies packets, once, in both directions.
//!
//! The protocol is spoken by this module itself. The crates of rust-vmm read messages in one piece or give up, bind
//! the order of messages more tightly than front ends of test rigs do, and bring an event loop per interface.
//!
//! What a front end may do to us: nothing but lose its own packets. Lengths, addresses, indices and chains are
//! checked each time they are read, chains are bounded, what is said about checksums is compared with the packet
//! ([`crate::claims`]), events are raised without waiting ([`call`]), a ring with an impossible index is left alone, files
//! that are shortened behind our back read as zeroes ([`fault`]).

mod call;
mod chain;
mod connection;
mod device;
mod endpoint;
mod fault;
mod guest;
mod interface;
mod log;
mod memory;
mod port;
mod protocol;
mod ring;
mod session;
mod store;
#[cfg(test)]
mod tests;
mod thread;
mod watcher;

pub use guest::VhostUserGuest;
pub use port::VhostUserPort;
pub use thread::{VhostUser, VhostUserConfig, VhostUserRole};
