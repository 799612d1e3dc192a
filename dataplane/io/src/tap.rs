//! TAP devices with the virtio-net header.
#![allow(unsafe_code, reason = "system calls")]

use std::fs::OpenOptions;
use std::io;
use std::mem;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use vr_frame::{Batch, FramePool, Packet};
use vr_types::Mac;

use crate::claims;
use crate::landing::Landing;
use crate::netdev::{self, Request};
use crate::vnet::{self, VNET_HEADER};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind, sys};

/// Which TAP device to make or to attach to, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TapConfig {
    /// Its name.
    pub name: String,
    /// How many ports share its traffic; the kernel spreads it by the hash of the flow.
    pub queues: u16,
    /// Whether the device stays when its ports are closed.
    pub persistent: bool,
    /// Whether the kernel gives it no IPv6 address of its own, and so does not speak first.
    pub silent: bool,
    /// Its address; without one, it keeps what it has.
    pub mac: Option<Mac>,
    /// Its MTU in bytes; without one, it keeps what it has.
    pub mtu: Option<u32>,
}

impl TapConfig {
    /// A device with one queue that goes with its port.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), queues: 1, persistent: false, silent: false, mac: None, mtu: None }
    }
}

/// One queue of a TAP device: what the kernel sends there is received.
///
/// There is no way to read or write several frames by one system call.
pub struct TapPort {
    fd: OwnedFd,
    landing: Landing,
    capabilities: Capabilities,
    counters: Arc<PortCounters>,
}

impl TapPort {
    /// Makes the device, or attaches to the one that is there, takes it up, and opens a port per queue.
    ///
    /// # Errors
    /// [`PortError`] when the name is taken by something else or the process may not.
    pub fn open(config: &TapConfig) -> Result<Vec<Self>, PortError> {
        let many = config.queues > 1;
        let ports = (0..config.queues.max(1))
            .map(|_| {
                let fd = attach(&config.name, many)?;
                if config.persistent {
                    control(fd.as_fd(), libc::TUNSETPERSIST, 1)
                        .map_err(|source| PortError::device(&config.name, "keeping", source))?;
                }
                Self::from_fd(fd)
                    .map_err(|source| PortError::device(&config.name, "setting offloads of", source))
            })
            .collect::<Result<Vec<_>, _>>()?;
        if config.silent {
            netdev::set_ipv6_autoconfiguration(&config.name, false)?;
        }
        if let Some(mac) = config.mac {
            netdev::set_mac(&config.name, mac)?;
        }
        if let Some(mtu) = config.mtu {
            netdev::set_mtu(&config.name, mtu)?;
        }
        netdev::set_up(&config.name, true)?;
        Ok(ports)
    }

    /// A port over a descriptor of `/dev/net/tun` that is attached to a device with virtio-net header.
    ///
    /// # Errors
    /// What the kernel says when it is not.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let size = VNET_HEADER as i32;
        // SAFETY: the request reads an int, which outlives the call.
        sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETVNETHDRSZ, &raw const size) })?;
        let tcp = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
        let udp = libc::TUN_F_USO4 | libc::TUN_F_USO6;
        // Linux before 6.2 does not know super-frames of UDP.
        let has_udp = control(fd.as_fd(), libc::TUNSETOFFLOAD, tcp | udp).is_ok();
        if !has_udp {
            control(fd.as_fd(), libc::TUNSETOFFLOAD, tcp)?;
        }
        Ok(Self::new(fd, has_udp))
    }

    fn new(fd: OwnedFd, udp_super_frames: bool) -> Self {
        Self {
            fd,
            landing: Landing::default(),
            capabilities: Capabilities { udp_super_frames, ..Capabilities::everything() },
            counters: Arc::default(),
        }
    }

    /// One frame from the kernel. `Ok(None)` when it was dropped.
    fn read(&mut self, pool: &mut FramePool) -> io::Result<Option<Packet>> {
        let cells = self.counters.cells();
        let places = self.landing.iovecs();
        let room = places.iter().map(|place| place.iov_len).sum::<usize>();
        cells.rx_syscalls.add(1);
        // SAFETY: the places are buffers that the landing owns.
        let len = sys::check_len(unsafe { libc::readv(self.fd.as_raw_fd(), places.as_ptr(), 2) })?;
        if len >= room {
            // The kernel cuts without saying so; no whole frame fills all the room.
            let counter = if self.landing.has_spill() { &cells.rx_too_long } else { &cells.rx_no_buffer };
            counter.add(1);
            return Ok(None);
        }
        let Some(mut frame) = self.landing.take(VNET_HEADER, len) else {
            cells.rx_too_long.add(1);
            return Ok(None);
        };
        let header = frame.bytes().first_chunk().copied();
        let offload = header.filter(|_| frame.pull(VNET_HEADER).is_some() && frame.len() >= ETHERNET_HEADER);
        let offload = offload.and_then(|header| vnet::decode(header, frame.len()));
        let Some(offload) = offload.filter(|offload| claims::is_sound(offload, frame.bytes())) else {
            cells.rx_malformed.add(1);
            pool.free(frame);
            return Ok(None);
        };
        Ok(Some(Packet { frame, offload }))
    }

    fn write(&self, packet: &mut Packet) {
        let mut header = vnet::encode(&packet.offload, packet.frame.bytes());
        let bytes = packet.frame.bytes_mut();
        let parts = [
            libc::iovec { iov_base: header.as_mut_ptr().cast(), iov_len: header.len() },
            libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() },
        ];
        // SAFETY: both parts outlive the call, which only reads them.
        let written = sys::check_len(unsafe { libc::writev(self.fd.as_raw_fd(), parts.as_ptr(), 2) });
        let cells = self.counters.cells();
        cells.tx_syscalls.add(1);
        match written {
            Ok(_) => self.counters.sent(1, bytes.len() as u64),
            Err(error) => match error.raw_os_error() {
                Some(libc::EAGAIN | libc::ENOBUFS) => cells.tx_full.add(1),
                Some(libc::EMSGSIZE) => cells.tx_too_long.add(1),
                _ => cells.tx_errors.add(1),
            },
        }
    }
}

/// Opens a queue of a TAP device, making the device when there is none.
fn attach(name: &str, many: bool) -> Result<OwnedFd, PortError> {
    let mut request = Request::new(name)?;
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC);
    let device = options.open("/dev/net/tun").map_err(|source| match source.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => PortError::admin("opening /dev/net/tun", source),
        _ => PortError::NoTun(source),
    })?;
    let flags = libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.set_flags((flags | if many { libc::IFF_MULTI_QUEUE } else { 0 }) as i16);
    request.send(device.as_fd(), libc::TUNSETIFF).map_err(|source| match source.raw_os_error() {
        Some(libc::EBUSY) => PortError::TapBusy(name.to_owned()),
        Some(libc::EINVAL) => PortError::NotTap(name.to_owned()),
        _ => PortError::device(name, "making the TAP device", source),
    })?;
    Ok(device.into())
}

/// A request to a TAP descriptor that takes a number.
fn control(fd: BorrowedFd<'_>, request: libc::Ioctl, value: u32) -> io::Result<()> {
    // SAFETY: these requests take a number in place of an address.
    sys::check(unsafe { libc::ioctl(fd.as_raw_fd(), request, libc::c_ulong::from(value)) })?;
    Ok(())
}

impl Port for TapPort {
    fn kind(&self) -> PortKind {
        PortKind::Tap
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let (mut packets, mut bytes) = (0, 0);
        // Frames that are dropped count as well, so that a flood of them does not keep the worker here.
        for _ in 0..batch.remaining_capacity() {
            if !self.landing.prepare(pool, VNET_HEADER) {
                break;
            }
            match self.read(pool) {
                Ok(Some(packet)) => {
                    packets += 1;
                    bytes += packet.frame.len() as u64;
                    if let Err(packet) = batch.push(packet) {
                        pool.free(packet.frame);
                    }
                }
                Ok(None) => {}
                Err(error) => {
                    self.counters.cells().rx_errors.add(u64::from(!sys::is_transient(&error)));
                    break;
                }
            }
        }
        self.landing.give_back(pool);
        if packets > 0 {
            self.counters.received(packets, bytes);
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        for mut packet in batch.drain() {
            match self.capabilities.check(&packet.frame, &packet.offload) {
                Ok(()) => self.write(&mut packet),
                Err(unfit) => self.counters.unfit(unfit),
            }
            pool.free(packet.frame);
        }
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        false
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.fd.as_fd())
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn close(self: Box<Self>, _: &mut FramePool) {}
}

const _: () = assert!(mem::size_of::<Request>() == mem::size_of::<libc::ifreq>());

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;

    use vr_frame::{Batch, PoolSet, PoolSizes};

    use super::TapPort;
    use crate::Port;

    /// The kernel is played by a socket that sends whatever one likes.
    #[test]
    fn what_a_kernel_would_not_send_is_counted() {
        let (kernel, ours) = UnixDatagram::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let mut port = Box::new(TapPort::new(ours.into(), true));
        let mut pool = PoolSet::new(1, PoolSizes { packets: 4, supers: 4 }).unwrap().1.remove(0);
        let mut batch = Batch::new();
        for (len, gso) in [(0, 0), (5, 0), (10, 0), (23, 0), (24, 0), (24, 3), (2000, 0), (80_000, 0)] {
            let mut bytes = vec![0; len];
            bytes.iter_mut().skip(1).take(1).for_each(|byte| *byte = gso);
            kernel.send(&bytes).unwrap();
            port.receive(&mut pool, &mut batch);
        }
        let lengths: Vec<_> = batch.iter().map(|packet| packet.frame.len()).collect();
        assert_eq!(lengths, [14, 1990]);
        let figures = port.counters().figures();
        assert_eq!((figures.rx_malformed, figures.rx_too_long, figures.rx_errors), (5, 1, 0), "{figures:?}");
        for packet in batch.drain() {
            pool.free(packet.frame);
        }
        port.close(&mut pool);
        assert_eq!(pool.available(), 4);
    }
}
