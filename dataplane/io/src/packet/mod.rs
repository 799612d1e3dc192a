//! `AF_PACKET` with the virtio-net header: the host end of a pod's veth, or any device.

mod filter;
mod socket;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use vr_frame::{Batch, Frame, FramePool, Packet};

use crate::claims;
use crate::counters::Cells;
use crate::mmsg::{Datagram, Receiver, Refusal, Sender};
use crate::vnet::{self, VNET_HEADER};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind, sys};

pub use filter::PacketFilter;
use socket::PacketSocket;

/// Which device to open, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketConfig {
    /// The device.
    pub interface: String,
    /// How many ports share its traffic; the kernel spreads it by the hash of the flow.
    pub queues: u16,
    /// Receive also unicast frames for other addresses than the device's. It ends with the port.
    pub promiscuous: bool,
    /// Which frames are received.
    pub filter: PacketFilter,
    /// Bytes of kernel memory for frames that wait to be received, per queue; super-frames are large.
    pub buffer: usize,
}

impl PacketConfig {
    /// One queue on a device, promiscuous, with a buffer of 4 MiB.
    #[must_use]
    pub fn new(interface: &str) -> Self {
        let (filter, buffer) = (PacketFilter::Everything, 4 << 20);
        Self { interface: interface.to_owned(), queues: 1, promiscuous: true, filter, buffer }
    }
}

/// A device's frames by an `AF_PACKET` socket.
///
/// Checksum and segmentation state comes and goes in a virtio-net header, and VLAN tags that the kernel takes
/// out are put back. The socket gets a copy of what the device receives: somebody has to keep the kernel from
/// handling it as well. Its own transmissions do not come back.
pub struct PacketPort {
    socket: Arc<PacketSocket>,
    receiver: Receiver,
    sender: Sender<VNET_HEADER>,
    capabilities: Capabilities,
    counters: Arc<PortCounters>,
}

impl PacketPort {
    /// Opens a device: one port per queue.
    ///
    /// # Errors
    /// [`PortError`] when there is no such device or the process may not.
    pub fn open(config: &PacketConfig) -> Result<Vec<Self>, PortError> {
        let sockets = socket::open(config)?;
        Ok(sockets.into_iter().map(Self::new).collect())
    }

    /// A port over a socket that [`PacketPort::open`] has made, in this process or in its predecessor.
    #[must_use]
    pub fn from_fd(fd: OwnedFd) -> Self {
        Self::new(PacketSocket::new(fd))
    }

    fn new(socket: PacketSocket) -> Self {
        let socket = Arc::new(socket);
        Self {
            counters: Arc::new(PortCounters::with_kernel(&socket)),
            receiver: Receiver::new(VNET_HEADER, true),
            sender: Sender::new(),
            capabilities: Capabilities {
                udp_super_frames: socket::takes_udp_super_frames(),
                ..Capabilities::everything()
            },
            socket,
        }
    }
}

/// What a whole datagram becomes; `Err` returns the frame of a malformed one.
fn packet(mut frame: Frame, auxdata: Option<libc::tpacket_auxdata>) -> Result<Packet, Frame> {
    let Some(header) = frame.bytes().first_chunk().copied() else { return Err(frame) };
    if frame.pull(VNET_HEADER).is_none() || frame.len() < ETHERNET_HEADER {
        return Err(frame);
    }
    let Some(mut offload) = vnet::decode(header, frame.len()) else { return Err(frame) };
    if !claims::is_sound(&offload, frame.bytes()) {
        return Err(frame);
    }
    if let Some(auxdata) = auxdata {
        offload.csum_valid |= auxdata.tp_status & libc::TP_STATUS_CSUM_VALID != 0;
        if auxdata.tp_status & libc::TP_STATUS_VLAN_VALID != 0 {
            let told = auxdata.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let tpid = if told { auxdata.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
            if !vnet::insert_tag(&mut frame, &mut offload, tpid, auxdata.tp_vlan_tci) {
                return Err(frame);
            }
        }
    }
    Ok(Packet { frame, offload })
}

impl Port for PacketPort {
    fn kind(&self) -> PortKind {
        PortKind::Packet
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let cells = self.counters.cells();
        let (mut packets, mut bytes) = (0, 0);
        // Also what is not accepted counts: a guest that sends nothing else must not keep the worker here.
        let mut budget = batch.remaining_capacity();
        loop {
            let wanted = self.receiver.wanted(budget);
            if wanted == 0 {
                break;
            }
            let (got, asked) = match self.receiver.receive(self.socket.as_fd(), pool, wanted) {
                Ok((_, 0)) => break,
                Ok(result) => result,
                Err(error) => {
                    cells.rx_syscalls.add(1);
                    cells.rx_errors.add(u64::from(!sys::is_transient(&error)));
                    break;
                }
            };
            cells.rx_syscalls.add(1);
            budget -= got;
            for index in 0..got {
                if let Some(packet) = accept(self.receiver.take(index), cells, pool) {
                    packets += 1;
                    bytes += packet.frame.len() as u64;
                    if let Err(packet) = batch.push(packet) {
                        pool.free(packet.frame);
                    }
                }
            }
            if got < asked {
                break;
            }
        }
        self.receiver.give_back(pool);
        if packets > 0 {
            self.counters.received(packets, bytes);
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let (counters, cells) = (&self.counters, self.counters.cells());
        let capabilities = self.capabilities;
        self.sender.load(batch.drain().filter_map(|packet| {
            match capabilities.check(&packet.frame, &packet.offload) {
                Ok(()) => Some(packet),
                Err(unfit) => {
                    counters.unfit(unfit);
                    pool.free(packet.frame);
                    None
                }
            }
        }));
        let header = |packet: &Packet| vnet::encode(&packet.offload, packet.frame.bytes());
        let refused = |error: &io::Error, rest| refused(error, rest, cells);
        let (packets, bytes, calls) = self.sender.send(self.socket.as_fd(), pool, header, refused);
        counters.sent(packets, bytes);
        cells.tx_syscalls.add(calls);
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn close(self: Box<Self>, _: &mut FramePool) {
        // The last figures, before the socket is gone.
        let _ = self.counters.figures();
    }
}

/// The packet that a datagram is, if it is one.
fn accept(datagram: Datagram, cells: &Cells, pool: &mut FramePool) -> Option<Packet> {
    match datagram {
        Datagram::Whole(frame, auxdata) => match packet(frame, auxdata) {
            Ok(packet) => return Some(packet),
            Err(frame) => {
                pool.free(frame);
                cells.rx_malformed.add(1);
            }
        },
        Datagram::NoBuffer => cells.rx_no_buffer.add(1),
        Datagram::TooLong => cells.rx_too_long.add(1),
    }
    None
}

#[cold]
fn refused(error: &io::Error, rest: u64, cells: &Cells) -> Refusal {
    match error.raw_os_error() {
        Some(libc::EAGAIN) => {
            cells.tx_full.add(rest);
            return Refusal::Rest;
        }
        Some(libc::ENETDOWN | libc::ENXIO | libc::ENODEV) => {
            cells.tx_errors.add(rest);
            return Refusal::Rest;
        }
        Some(libc::ENOBUFS) => cells.tx_full.add(1),
        Some(libc::EMSGSIZE) => cells.tx_too_long.add(1),
        _ => cells.tx_errors.add(1),
    }
    Refusal::One
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::os::unix::net::UnixDatagram;

    use vr_frame::{BATCH, Batch, PoolSet, PoolSizes};

    use super::PacketPort;
    use crate::Port;

    /// The kernel is played by a socket that sends whatever one likes.
    #[test]
    fn what_a_kernel_would_not_send_is_counted() {
        let (kernel, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut port = Box::new(PacketPort::from_fd(ours.into()));
        let mut pool = PoolSet::new(1, PoolSizes { packets: 64, supers: 64 }).unwrap().1.remove(0);
        let mut batch = Batch::new();
        let mut bytes: Vec<u8> =
            (0..100_000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let (mut packets, mut dropped) = (0, 0);
        for len in (0..40).chain([1800, 9000, 66_000, 80_000, 100_000]) {
            for header in [[0, 0], [1, 1], [0, 3], [0xff, 0xff]] {
                bytes[..2].copy_from_slice(&header);
                kernel.send(&bytes[..len]).unwrap();
                port.receive(&mut pool, &mut batch);
                packets += batch.len() as u64;
                dropped += 1 - batch.len() as u64;
                for packet in batch.drain() {
                    let offload = &packet.offload;
                    let end = usize::from(offload.csum_start) + usize::from(offload.csum_offset) + 2;
                    assert!(packet.frame.len() == len - 10, "all but the header");
                    assert!(!offload.needs_csum || end <= packet.frame.len());
                    assert!(!offload.is_super_frame() || offload.gso_size > 0);
                    pool.free(packet.frame);
                }
            }
        }
        let figures = port.counters().figures();
        assert_eq!((figures.rx_packets, figures.rx_dropped(), figures.rx_errors), (packets, dropped, 0));
        assert!(packets >= 16 && figures.rx_too_long == 8, "{figures:?}");
        port.close(&mut pool);
        assert_eq!(pool.available(), 64);
    }

    #[test]
    fn malformed_datagrams_do_not_keep_the_worker() {
        let (kernel, ours) =
            (UdpSocket::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
        for _ in 0..2 * BATCH {
            kernel.send_to(&[0; 5], ours.local_addr().unwrap()).unwrap();
        }
        ours.set_nonblocking(true).unwrap();
        let mut port = Box::new(PacketPort::from_fd(ours.into()));
        let mut pool = PoolSet::new(1, PoolSizes { packets: 64, supers: 64 }).unwrap().1.remove(0);
        for calls in 1..=2 {
            port.receive(&mut pool, &mut Batch::new());
            assert_eq!(port.counters().figures().rx_malformed, calls * BATCH as u64);
        }
        port.close(&mut pool);
    }
}
