//! A stand-in for the vrouter agent, with an encoder of its own.
//!
//! It programs a vrouter over the control socket in the order that an agent uses (control.md 7), and answers flow
//! misses on pkt0 (control.md 6). Its encoder is written from the specification and shares nothing with the vrouter's.

pub mod agent;
pub mod control;
pub mod flows;
pub mod message;
pub mod netlink;
pub mod object;
pub mod packet;
pub mod program;
mod requests;
mod rules;
pub mod service;
pub mod startup;
pub mod statistics;
pub mod table;
pub mod topology;

pub use agent::Agent;
pub use control::{Answer, Control};
pub use message::Message;
pub use object::Object;
