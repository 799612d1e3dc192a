use std::fmt;
use std::os::fd::BorrowedFd;
use std::sync::Arc;

use vr_frame::{Batch, Frame, FramePool, GsoKind, Offload};

use crate::PortCounters;

/// Bytes of an Ethernet header without tags; shorter frames are malformed to every port.
pub const ETHERNET_HEADER: usize = 14;

/// One receive and transmit queue of an interface, owned by one worker.
///
/// No call blocks. What cannot be received or sent is dropped and counted, never an error to the worker.
pub trait Port: Send {
    /// What it is.
    fn kind(&self) -> PortKind;

    /// Receives into `batch` up to its remaining capacity. Buffers come from `pool`; when it is dry,
    /// nothing is received.
    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch);

    /// Takes all packets of `batch` for transmission, in order. What cannot be sent is freed to `pool` and
    /// counted.
    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch);

    /// Makes the kernel send what was taken and frees to `pool` what has been sent. To be called once a loop.
    /// Says whether frames still wait and the worker should come back soon instead of sleeping. Frames for a
    /// device that is down wait without that.
    fn flush(&mut self, pool: &mut FramePool) -> bool;

    /// Descriptor that is readable when there is something to receive; `None` when the port has to be polled.
    fn wait_fd(&self) -> Option<BorrowedFd<'_>>;

    /// Prepares for a sleep of the worker, which waits for [`Port::wait_fd`] then.
    fn rest(&mut self) -> Readiness {
        if self.wait_fd().is_some() { Readiness::Told } else { Readiness::Polled }
    }

    /// What may be transmitted. It may change while the port works.
    fn capabilities(&self) -> Capabilities;

    /// What happened so far; any thread may read it at any time.
    fn counters(&self) -> &Arc<PortCounters>;

    /// Closes the port and gives all its frames back to `pool`.
    fn close(self: Box<Self>, pool: &mut FramePool);
}

/// How a port wakes a worker that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// By its descriptor.
    Told,
    /// Not at all: the worker has to come back soon.
    Polled,
    /// There is something to receive: the worker should not sleep.
    Waiting,
}

/// Kind of a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PortKind {
    /// `AF_XDP` socket of a device's queue.
    AfXdp,
    /// `AF_PACKET` socket with virtio-net header.
    Packet,
    /// TAP device with virtio-net header.
    Tap,
    /// Rings in the memory of a virtual machine.
    VhostUser,
    /// Unix datagram socket to the agent.
    Pkt0,
    /// Queues in memory.
    Memory,
    /// Files in pcap format.
    Pcap,
}

impl PortKind {
    /// Its name in reports.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::AfXdp => "af_xdp",
            Self::Packet => "packet",
            Self::Tap => "tap",
            Self::VhostUser => "vhost-user",
            Self::Pkt0 => "pkt0",
            Self::Memory => "memory",
            Self::Pcap => "pcap",
        }
    }
}

impl fmt::Display for PortKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a port transmits. It drops and counts everything else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Frames whose checksum the receiver completes.
    pub partial_checksums: bool,
    /// TCP super-frames.
    pub tcp_super_frames: bool,
    /// UDP super-frames.
    pub udp_super_frames: bool,
    /// Most bytes of a frame, Ethernet header included. The device's MTU may be smaller.
    pub longest_frame: usize,
}

impl Capabilities {
    /// Frames that need nothing done, up to a length.
    pub(crate) const fn plain(longest_frame: usize) -> Self {
        Self { partial_checksums: false, tcp_super_frames: false, udp_super_frames: false, longest_frame }
    }

    /// Everything that fits into a buffer.
    pub(crate) const fn everything() -> Self {
        Self {
            partial_checksums: true,
            tcp_super_frames: true,
            udp_super_frames: true,
            longest_frame: vr_frame::Arena::SUPER_SIZE - vr_frame::Arena::HEADROOM,
        }
    }

    /// Whether a frame in this state can be transmitted; says nothing about its length.
    #[inline]
    #[must_use]
    pub const fn take(&self, offload: &Offload) -> bool {
        let checksum = self.partial_checksums || !offload.needs_csum;
        checksum
            && match offload.gso {
                GsoKind::None => true,
                GsoKind::TcpV4 | GsoKind::TcpV6 => self.tcp_super_frames,
                GsoKind::UdpL4 => self.udp_super_frames,
            }
    }
}

/// Why a frame is not transmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unfit {
    /// Shorter than an Ethernet header.
    Short,
    /// Longer than the port sends.
    Long,
    /// The port cannot do what its offload state asks for.
    Offload,
}

impl Capabilities {
    /// Looks a frame over before it is transmitted.
    #[inline]
    pub(crate) fn check(&self, frame: &Frame, offload: &Offload) -> Result<(), Unfit> {
        if !offload.is_plain() && !self.take(offload) {
            return Err(Unfit::Offload);
        }
        match frame.len() {
            0..ETHERNET_HEADER => Err(Unfit::Short),
            len if len > self.longest_frame => Err(Unfit::Long),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Capabilities;
    use vr_frame::{GsoKind, Offload};

    #[test]
    fn plain_ports_take_plain_frames_only() {
        let plain = Capabilities::plain(1792);
        assert!(plain.take(&Offload::NONE));
        assert!(plain.take(&Offload { csum_valid: true, ..Offload::NONE }));
        assert!(!plain.take(&Offload { needs_csum: true, ..Offload::NONE }));
        assert!(!plain.take(&Offload { gso: GsoKind::UdpL4, gso_size: 1000, ..Offload::NONE }));
    }

    #[test]
    fn super_frames_are_judged_by_kind() {
        let tap = Capabilities { udp_super_frames: false, ..Capabilities::everything() };
        let of = |gso| Offload { gso, gso_size: 1000, needs_csum: true, ..Offload::NONE };
        assert!(tap.take(&of(GsoKind::TcpV4)) && tap.take(&of(GsoKind::TcpV6)));
        assert!(!tap.take(&of(GsoKind::UdpL4)));
    }
}
