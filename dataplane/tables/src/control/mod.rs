//! The writing side of the tables; its methods are the commands of the control protocol.

mod datapath;

pub use datapath::{AttachError, Datapath};
