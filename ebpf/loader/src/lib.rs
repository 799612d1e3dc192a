//! Loads, attaches and pins the steering program.
//!
//! [`Steer`] puts the XDP program on a fabric device, so that tunnel packets reach the `AF_XDP` sockets of the
//! dataplane and everything else the kernel. [`Swallow`] puts the tc program on the host end of a pod's veth, so
//! that the kernel does not handle again what an `AF_PACKET` socket has copied.
//!
//! With [`SteerOptions::pair`] the address of the host is on vhost0, and two more programs join the fabric device and
//! the pair of vhost0 whenever there is no dataplane.
//!
//! # What happens when the daemon dies
//!
//! With [`Persistence::Pinned`], the default, the programs stay: the kernel takes the sockets of a dead process
//! out of the map, so tunnel packets are dropped and counted (nobody answers that a port is unreachable), host
//! traffic goes on to the kernel, and pods do not regain the kernel's path. The next process of the same
//! instance replaces the program atomically and inherits the endpoints. With the address of the host on vhost0 its
//! traffic goes on between vhost0 and the fabric device. With [`Persistence::Process`] the
//! programs go with the process: host traffic goes on as well, but the kernel sees tunnel packets.
//!
//! The program comes as a committed object (`steer.bpf.o`), so no eBPF tool is needed here; `ebpf/README.md`
//! says how it is made.
#![allow(unsafe_code, reason = "bpf(2), and memory shared with the kernel")]

#[cfg(not(target_endian = "little"))]
compile_error!("the steering program is built for little-endian machines only");

mod bpf;
mod cleanup;
mod device;
mod error;
mod heartbeat;
mod object;
mod pins;
mod steer;
mod swallow;
mod tc;

pub use cleanup::{detach_all, probe};
pub use error::SteerError;
pub use heartbeat::{Heartbeat, monotonic_ns};
pub use object::OBJECT;
pub use pins::Persistence;
pub use steer::{AttachMode, Attachment, ModeChoice, Steer, SteerOptions};
pub use steer_abi::{Counter, SteerMeta, Tunnel, TunnelSet};
pub use swallow::{Swallow, SwallowOptions};
pub use tc::{HookChoice, SwallowHook};
