//! Ports: where frames come from and where they go.
//!
//! A [`Port`] is one receive and transmit queue of an interface, owned by one worker. Every kind of device has
//! its own: [`AfXdp`](afxdp) for fabric devices, [`PacketPort`] for the host end of a pod's veth, [`TapPort`],
//! [`VhostUserPort`] for virtual machines, [`Pkt0Port`] to the agent, and [`MemoryPort`], [`ReplayPort`] and [`PcapPort`] for tests and benches. A
//! device with several queues is opened into several ports.
//!
//! Checksum and segmentation state travels beside a frame as [`Offload`](vr_frame::Offload). What a port can
//! take is in its [`Capabilities`]; what it cannot take it drops and counts, so completing checksums and
//! cutting super-frames is for the pipeline, before it transmits.
//!
//! Receiving and sending do not allocate, lock or format. [`PortCounters`] are read while the port works.

pub mod afxdp;
mod claims;
mod counters;
mod error;
mod landing;
mod memory;
mod mmsg;
pub mod netdev;
mod packet;
mod pcap;
mod pkt0;
mod port;
mod replay;
mod sys;
mod tap;
mod vhost_user;
mod vnet;

pub use counters::{KernelStatistics, PortCounters, PortFigures};
pub use error::PortError;
pub use memory::MemoryPort;
pub use packet::{PacketConfig, PacketFilter, PacketPort};
pub use pcap::PcapPort;
pub use pkt0::{LONGEST_PKT0_FRAME, Pkt0Port, Pkt0Socket};
pub use port::{Capabilities, ETHERNET_HEADER, Port, PortKind, Readiness};
pub use replay::ReplayPort;
pub use tap::{TapConfig, TapPort};
pub use vhost_user::{VhostUser, VhostUserConfig, VhostUserGuest, VhostUserPort, VhostUserRole};
