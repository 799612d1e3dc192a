//! The same by the library xsk-rs. Its memory is its own, so every frame is copied; what an XDP program has
//! written in front of a frame is not reachable and is left behind.
#![allow(unsafe_code, reason = "the library leaves the ownership of frames to its caller")]

use std::error::Error;
use std::ffi::CString;
use std::io::{self, Write};
use std::num::NonZeroU32;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use vr_frame::{Arena, BATCH, Batch, Frame, FramePool, Packet};
use xsk_rs::config::{BindFlags, FrameSize, Interface, LibxdpFlags, QueueSize, SocketConfig, UmemConfig};
use xsk_rs::umem::frame::FrameDesc;
use xsk_rs::{CompQueue, FillQueue, RxQueue, Socket, TxQueue, Umem};

use super::port::is_busy;
use super::report::{AfXdpReport, Refusal, climb};
use super::socket::{KICK, XdpSocket, no_socket};
use super::{AfXdpConfig, LONGEST_XDP_FRAME, XdpPort, XskBackend};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind, sys};

/// An `AF_XDP` socket of the library.
pub(super) struct XskRsPort {
    queues: Queues,
    umem: Umem,
    /// Buffers that the kernel has not.
    free: Vec<FrameDesc>,
    /// Descriptors on their way in or out of a queue.
    burst: Vec<FrameDesc>,
    ring: u32,
    /// A descriptor of our own for the library's socket.
    socket: Arc<XdpSocket>,
    report: AfXdpReport,
    counters: Arc<PortCounters>,
}

struct Queues {
    transmit: TxQueue,
    receive: RxQueue,
    fill: FillQueue,
    completion: CompQueue,
}

impl XskRsPort {
    pub(super) fn open(config: &AfXdpConfig) -> Result<Self, PortError> {
        // The library does not say which call was refused, so the likely refusals are tried before.
        sys::socket(libc::AF_XDP, libc::SOCK_RAW, 0).map_err(no_socket)?;
        let ((umem, mut free, queues), rung, refused) = climb(config, |zero_copy| bind(config, zero_copy))?;
        let socket = duplicate(&queues.transmit).map_err(|source| system(config, source))?;
        let socket = Arc::new(XdpSocket::new(socket));
        let report = AfXdpReport {
            interface: config.interface.clone(),
            queue: config.queue,
            backend: XskBackend::XskRs,
            rung,
            refused,
            frames_per_kick: KICK,
        };
        let to_fill = free.split_off(config.ring as usize);
        let mut port = Self {
            counters: Arc::new(PortCounters::with_kernel(&socket)),
            queues,
            umem,
            free,
            burst: vec![FrameDesc::default(); BATCH],
            ring: config.ring,
            socket,
            report,
        };
        // SAFETY: the descriptors are of this memory, and nobody else has them.
        unsafe { port.queues.fill.produce(&to_fill) };
        Ok(port)
    }

    /// A frame of the pool that holds what the kernel has received in a buffer.
    fn copy_in(&self, descriptor: &FrameDesc, pool: &mut FramePool) -> Option<Frame> {
        let cells = self.counters.cells();
        let (start, len) = (descriptor.addr(), descriptor.lengths().data());
        let buffers = self.ring as usize * 2;
        if start / Arena::PACKET_SIZE >= buffers || start % Arena::PACKET_SIZE + len > Arena::PACKET_SIZE {
            cells.rx_bad_descriptors.add(1);
            return None;
        }
        if len < ETHERNET_HEADER || descriptor.has_more_frames() {
            cells.rx_malformed.add(1);
            return None;
        }
        // SAFETY: the buffer was just seen to be of this memory, and the kernel has given it back.
        let data = unsafe { self.umem.data(descriptor) };
        let frame = pool.copy_of(data.contents());
        cells.rx_no_buffer.add(u64::from(frame.is_none()));
        frame
    }

    /// Takes back the buffers that have been sent.
    fn reap(&mut self) {
        loop {
            // SAFETY: what comes back is kept in `free`.
            let count = unsafe { self.queues.completion.consume(&mut self.burst) };
            self.free.extend_from_slice(&self.burst[..count]);
            if count < self.burst.len() {
                break;
            }
        }
    }

    /// Makes the kernel send. Says whether frames wait for which it is worth coming back soon: not when the
    /// device is down, for then a worker would never sleep.
    fn kick(&mut self) -> bool {
        let mut waiting = self.waiting();
        while waiting > 0 && self.queues.transmit.needs_wakeup() {
            self.counters.cells().tx_syscalls.add(1);
            // The library does not tell a device that is down from one that is busy.
            if let Err(error) = self.socket.kick_transmit()
                && !is_busy(&error)
            {
                self.counters.cells().tx_failed_calls.add(1);
                return false;
            }
            let left = self.waiting();
            if left >= waiting {
                break;
            }
            waiting = left;
        }
        self.waiting() > 0
    }

    fn waiting(&mut self) -> u32 {
        self.ring.saturating_sub(self.queues.transmit.nb_free_exact())
    }

    /// Copies a frame out and queues it; says whether there was room.
    fn send(&mut self, bytes: &[u8]) -> bool {
        let Some(mut descriptor) = self.free.pop() else { return false };
        // SAFETY: the buffer is of this memory and not the kernel's.
        let mut data = unsafe { self.umem.data_mut(&mut descriptor) };
        let mut cursor = data.cursor();
        cursor.set_pos(0);
        let written = cursor.write_all(bytes).is_ok();
        // SAFETY: as above; the descriptor is given away when this returns 1.
        let sent = written && unsafe { self.queues.transmit.produce_one(&descriptor) } == 1;
        if !sent {
            self.free.push(descriptor);
        }
        sent
    }
}

/// Makes the memory and a socket over it, and binds that.
fn bind(config: &AfXdpConfig, zero_copy: bool) -> Result<(Umem, Vec<FrameDesc>, Queues), Refusal> {
    let bytes = config.ring as usize * 2 * Arena::PACKET_SIZE;
    let invalid = |_| Refusal::Final(PortError::BadRingSize(config.ring));
    let size = QueueSize::new(config.ring).map_err(invalid)?;
    let twice = QueueSize::new(config.ring * 2).map_err(invalid)?;
    let frame_size = FrameSize::new(Arena::PACKET_SIZE as u32)
        .map_err(|error| Refusal::Final(system(config, io::Error::other(error))))?;
    let umem = UmemConfig::builder()
        .frame_size(frame_size)
        .frame_headroom(0)
        .fill_queue_size(size)
        .comp_queue_size(twice)
        .build()
        .map_err(|error| Refusal::Final(system(config, io::Error::other(error))))?;
    let buffers = NonZeroU32::new(config.ring * 2).unwrap_or(NonZeroU32::MIN);
    let (umem, free) = Umem::new(umem, buffers, false).map_err(|error| {
        let cause = cause(&error);
        Refusal::Final(match cause.raw_os_error() {
            Some(libc::ENOBUFS | libc::ENOMEM) => PortError::Memlock { bytes },
            _ => system(config, cause),
        })
    })?;
    let mode = if zero_copy { BindFlags::XDP_ZEROCOPY } else { BindFlags::XDP_COPY };
    let socket = SocketConfig::builder()
        .rx_queue_size(size)
        .tx_queue_size(size)
        .libxdp_flags(LibxdpFlags::XSK_LIBXDP_FLAGS_INHIBIT_PROG_LOAD)
        .bind_flags(mode | BindFlags::XDP_USE_NEED_WAKEUP)
        .build();
    let name = CString::new(config.interface.as_str())
        .map_err(|_| Refusal::Final(PortError::BadName(config.interface.clone())))?;
    // SAFETY: the memory is not shared with another socket.
    let socket = unsafe { Socket::new(socket, &umem, &Interface::new(name), config.queue) };
    let (transmit, receive, own) = socket.map_err(|error| Refusal::Bind(cause(&error)))?;
    let (fill, completion) = own.ok_or_else(|| {
        let error = io::Error::other("the library gave no fill queue");
        Refusal::Final(system(config, error))
    })?;
    Ok((umem, free, Queues { transmit, receive, fill, completion }))
}

fn duplicate(transmit: &TxQueue) -> io::Result<OwnedFd> {
    // SAFETY: the queue keeps its socket open during this call.
    unsafe { BorrowedFd::borrow_raw(transmit.fd().as_raw_fd()) }.try_clone_to_owned()
}

fn system(config: &AfXdpConfig, source: io::Error) -> PortError {
    PortError::System { doing: format!("opening `{}` with xsk-rs", config.interface), source }
}

/// The system's error behind one of the library's.
fn cause(error: &(dyn Error + 'static)) -> io::Error {
    let source = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    match source.and_then(io::Error::raw_os_error) {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::other(error.to_string()),
    }
}

impl Port for XskRsPort {
    fn kind(&self) -> PortKind {
        PortKind::AfXdp
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let room = batch.remaining_capacity().min(pool.available()).min(self.burst.len());
        // SAFETY: what comes back is given to the fill queue below.
        let count = unsafe { self.queues.receive.consume(&mut self.burst[..room]) };
        let (mut packets, mut bytes) = (0, 0);
        for descriptor in &self.burst[..count] {
            let Some(frame) = self.copy_in(descriptor, pool) else { continue };
            packets += 1;
            bytes += frame.len() as u64;
            if let Err(packet) = batch.push(Packet::plain(frame)) {
                pool.free(packet.frame);
            }
        }
        if count > 0 {
            // SAFETY: the buffers have just come from the kernel. The fill queue has room for all there are.
            unsafe { self.queues.fill.produce(&self.burst[..count]) };
            self.counters.received(packets, bytes);
        }
        if self.queues.fill.needs_wakeup() {
            let cells = self.counters.cells();
            cells.rx_syscalls.add(1);
            let result = self.queues.fill.wakeup(self.queues.receive.fd_mut(), 0);
            cells.rx_errors.add(u64::from(result.is_err()));
        }
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let capabilities = self.capabilities();
        let (mut packets, mut bytes) = (0, 0);
        for packet in batch.drain() {
            if let Err(unfit) = capabilities.check(&packet.frame, &packet.offload) {
                self.counters.unfit(unfit);
                pool.free(packet.frame);
                continue;
            }
            let mut sent = self.send(packet.frame.bytes());
            if !sent {
                self.kick();
                self.reap();
                sent = self.send(packet.frame.bytes());
            }
            if sent {
                packets += 1;
                bytes += packet.frame.len() as u64;
            } else {
                self.counters.cells().tx_full.add(1);
            }
            pool.free(packet.frame);
        }
        self.counters.sent(packets, bytes);
    }

    fn flush(&mut self, _: &mut FramePool) -> bool {
        let waiting = self.kick();
        self.reap();
        waiting
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        Some(self.socket.as_fd())
    }

    fn capabilities(&self) -> Capabilities {
        Capabilities::plain(LONGEST_XDP_FRAME)
    }

    fn counters(&self) -> &Arc<PortCounters> {
        &self.counters
    }

    fn close(self: Box<Self>, _: &mut FramePool) {
        // The last figures, before the socket is gone. The library's frames go with it.
        let _ = self.counters.figures();
    }
}

impl XdpPort for XskRsPort {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn report(&self) -> &AfXdpReport {
        &self.report
    }
}
