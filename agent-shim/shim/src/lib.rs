//! The agent's side of the control plane: sessions on the control socket, and the translation between
//! messages and the commands of [`vr_tables::control::Tables`].
//!
//! This is the only crate in which both vocabularies meet. [`handlers`] has one file per family of messages;
//! the table that says which handler a message has stands at the top of that module. [`Responder`] answers
//! one request frame, [`Server`] serves any number of clients on the socket `dpdk_netlink`, or on TCP for
//! clients of R2.20, whose values `sandesh::r220` translates.

mod about;
mod client;
mod convert;
pub mod handlers;
mod listener;
mod machine;
mod recorder;
mod refusals;
mod responder;
mod server;

pub use about::About;
pub use listener::SOCKET;
pub use machine::{Machine, MachinePort, MachineSource};
pub use recorder::Recorder;
pub use responder::Responder;
pub use server::{Polled, Server, ServerError};
