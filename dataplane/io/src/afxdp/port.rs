use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use vr_frame::{Arena, Batch, Frame, FramePool, Packet, WayHome};

use super::lent::Lent;
use super::report::{AfXdpReport, Rung, climb};
use super::socket::{self, Rings, XdpSocket};
use super::{AfXdpConfig, LONGEST_XDP_FRAME, XdpPort, XskBackend};
use crate::{Capabilities, ETHERNET_HEADER, Port, PortCounters, PortError, PortKind};

/// An `AF_XDP` socket over the packet buffers of the arena.
pub(super) struct AfXdpPort {
    socket: Arc<XdpSocket>,
    rings: Rings,
    lent: Lent,
    /// How many more buffers the kernel should have to receive into.
    missing: u32,
    report: AfXdpReport,
    counters: Arc<PortCounters>,
}

/// A zero-copy driver lets go of the buffers some time after the socket is closed: the kernel does it in a work
/// item, of which nobody hears. This is long for that.
const DRIVER_LETS_GO: Duration = Duration::from_millis(100);

/// Buffers are handed to the kernel when so many are missing, not one by one.
const REFILL: u32 = 16;

impl AfXdpPort {
    pub(super) fn open(config: &AfXdpConfig, index: u32, arena: &Arc<Arena>) -> Result<Self, PortError> {
        let attempt = |zero_copy| socket::open(config, index, arena, zero_copy);
        let (bound, rung, refused) = climb(config, attempt)?;
        let report = AfXdpReport {
            interface: config.interface.clone(),
            queue: config.queue,
            backend: XskBackend::Ring,
            rung,
            refused,
            frames_per_kick: bound.frames_per_kick,
        };
        Ok(Self::new(bound.socket, bound.rings, arena, config.ring, report))
    }

    fn new(socket: XdpSocket, rings: Rings, arena: &Arc<Arena>, buffers: u32, report: AfXdpReport) -> Self {
        let socket = Arc::new(socket);
        Self {
            counters: Arc::new(PortCounters::with_kernel(&socket)),
            socket,
            rings,
            lent: Lent::new(arena),
            missing: buffers,
            report,
        }
    }

    /// Gives the kernel buffers to receive into.
    fn refill(&mut self, pool: &mut FramePool) {
        let mut given = 0;
        while given < self.missing && self.rings.fill.room() > 0 {
            let Some(frame) = pool.packet() else { break };
            match self.lent.lend(frame) {
                Ok(address) => self.rings.fill.put(address),
                Err(frame) => {
                    pool.free(frame);
                    break;
                }
            }
            given += 1;
        }
        self.missing -= given;
        self.rings.fill.publish();
    }

    fn wake_receiver(&self) {
        if self.rings.fill.needs_wakeup() {
            let cells = self.counters.cells();
            cells.rx_syscalls.add(1);
            let result = self.socket.kick_receive();
            cells.rx_errors.add(u64::from(result.is_err_and(|error| !is_busy(&error))));
        }
    }

    /// Frees what has been sent.
    fn reap(&mut self, pool: &mut FramePool) {
        let count = self.rings.completion.available();
        if count == 0 {
            return;
        }
        for _ in 0..count {
            let address = self.rings.completion.take();
            match self.lent.claim(address, 0) {
                Some(frame) => pool.free(frame),
                None => self.counters.cells().rx_bad_descriptors.add(1),
            }
        }
        self.rings.completion.publish();
    }

    /// Makes the kernel send. Says whether frames wait for which it is worth coming back soon: not when the
    /// device is down, for then a worker would never sleep.
    fn kick(&mut self) -> bool {
        let mut waiting = self.rings.transmit.unread();
        while waiting > 0 && self.rings.transmit.needs_wakeup() {
            self.counters.cells().tx_syscalls.add(1);
            if let Err(error) = self.socket.kick_transmit()
                && !is_busy(&error)
            {
                self.counters.cells().tx_failed_calls.add(1);
                return false;
            }
            let left = self.rings.transmit.unread();
            if left >= waiting {
                break;
            }
            waiting = left;
        }
        self.rings.transmit.unread() > 0
    }

    /// Puts a frame into the transmit ring, which has room.
    fn send(&mut self, frame: Frame, pool: &mut FramePool) -> Option<u64> {
        let len = frame.len() as u32;
        let address = self.lent.lend(frame).or_else(|large| {
            // Short frames may sit in large buffers, which are not part of the socket's memory.
            let copy = pool.copy_of(large.bytes());
            pool.free(large);
            copy.map_or(Err(None), |copy| self.lent.lend(copy).map_err(Some))
        });
        match address {
            Ok(addr) => {
                self.rings.transmit.put(libc::xdp_desc { addr, len, options: 0 });
                Some(u64::from(len))
            }
            Err(frame) => {
                if let Some(frame) = frame {
                    pool.free(frame);
                }
                self.counters.cells().tx_no_buffer.add(1);
                None
            }
        }
    }
}

/// Gives buffers back when the driver has let go of them, without keeping the worker.
fn reclaim_later(mut lent: Lent, way_home: WayHome) {
    let wait = move || {
        thread::sleep(DRIVER_LETS_GO);
        lent.reclaim(|frame| way_home.free(frame));
    };
    if let Err(error) = thread::Builder::new().name("letting-go".to_owned()).spawn(wait) {
        tracing::error!(%error, "the packet buffers of a closed port are lost");
    }
}

/// Closes a socket that somebody may be reading statistics from at this moment.
fn close_last(mut socket: Arc<XdpSocket>) {
    while let Err(shared) = Arc::try_unwrap(socket) {
        socket = shared;
        thread::yield_now();
    }
}

/// Errors after which the kernel goes on with the next call.
pub(super) fn is_busy(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EBUSY | libc::ENOBUFS | libc::EINTR))
}

impl Port for AfXdpPort {
    fn kind(&self) -> PortKind {
        PortKind::AfXdp
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        let count = self.rings.receive.available().min(batch.remaining_capacity() as u32);
        let (mut packets, mut bytes) = (0, 0);
        for _ in 0..count {
            let descriptor = self.rings.receive.take();
            // A frame in several buffers is not asked for, so it is not in order either.
            let whole = descriptor.options & libc::XDP_PKT_CONTD == 0;
            let Some(frame) = self.lent.claim(descriptor.addr, descriptor.len) else {
                self.counters.cells().rx_bad_descriptors.add(1);
                continue;
            };
            if !whole || frame.len() < ETHERNET_HEADER {
                self.counters.cells().rx_malformed.add(1);
                pool.free(frame);
                continue;
            }
            packets += 1;
            bytes += frame.len() as u64;
            if let Err(packet) = batch.push(Packet::plain(frame)) {
                pool.free(packet.frame);
            }
        }
        if count > 0 {
            self.rings.receive.publish();
            self.missing += count;
            self.counters.received(packets, bytes);
        }
        if self.missing >= REFILL {
            self.refill(pool);
        }
        self.wake_receiver();
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
            if self.rings.transmit.room() == 0 {
                self.rings.transmit.publish();
                // The kernel sends no more than it finds room for to say that it has.
                self.reap(pool);
                self.kick();
                if self.rings.transmit.room() == 0 {
                    self.counters.cells().tx_full.add(1);
                    pool.free(packet.frame);
                    continue;
                }
            }
            if let Some(len) = self.send(packet.frame, pool) {
                packets += 1;
                bytes += len;
            }
        }
        self.rings.transmit.publish();
        self.counters.sent(packets, bytes);
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        let waiting = self.kick();
        self.reap(pool);
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

    fn close(self: Box<Self>, pool: &mut FramePool) {
        let Self { socket, rings, mut lent, report, counters, .. } = *self;
        // The last figures, before the socket is gone.
        let _ = counters.figures();
        // The kernel keeps the socket while a ring is mapped. When the last of all is gone, it has stopped
        // receiving into the buffers and sends from copies, except with zero-copy.
        drop(rings);
        close_last(socket);
        if report.rung == Rung::ZeroCopy {
            reclaim_later(lent, pool.way_home());
        } else {
            lent.reclaim(|frame| pool.free(frame));
        }
    }
}

impl XdpPort for AfXdpPort {
    fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    fn report(&self) -> &AfXdpReport {
        &self.report
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixDatagram;
    use std::time::{Duration, Instant};

    use vr_frame::{Arena, BATCH, Batch, FramePool, Offload, Packet, PoolSet, PoolSizes};

    use super::AfXdpPort;
    use crate::afxdp::report::{AfXdpReport, Rung};
    use crate::afxdp::ring::fake;
    use crate::afxdp::socket::{Rings, XdpSocket};
    use crate::afxdp::{LONGEST_XDP_FRAME, XskBackend};
    use crate::{Port, PortFigures};

    const RING: u32 = 64;
    const PACKETS: u32 = 200;

    /// A port whose kernel is the test; system calls go to a socket that does not know them.
    fn port() -> (Box<AfXdpPort>, FramePool) {
        let sizes = PoolSizes { packets: PACKETS, supers: 2 };
        let pool = PoolSet::new(1, sizes).unwrap().1.remove(0);
        let rings = Rings {
            receive: fake::consumer(RING),
            transmit: fake::producer(RING),
            fill: fake::producer(RING),
            completion: fake::consumer(RING * 2),
        };
        let report = AfXdpReport {
            interface: "fake".to_owned(),
            queue: 0,
            backend: XskBackend::Ring,
            rung: Rung::NativeCopy,
            refused: Vec::new(),
            frames_per_kick: 32,
        };
        let socket = XdpSocket::new(UnixDatagram::unbound().unwrap().into());
        (Box::new(AfXdpPort::new(socket, rings, &pool.arena().clone(), RING, report)), pool)
    }

    /// A zero-copy driver has the buffers for a while. Only a stalled machine sees them back at once.
    #[test]
    fn closing_does_not_wait_for_the_driver() {
        let returned_before = || {
            let (mut port, mut pool) = port();
            port.report.rung = Rung::ZeroCopy;
            port.receive(&mut pool, &mut Batch::new());
            port.close(&mut pool);
            let left = pool.available();
            let end = Instant::now() + Duration::from_secs(20);
            while pool.available() < PACKETS as usize {
                assert!(Instant::now() < end, "{} buffers are back", pool.available());
                std::thread::sleep(Duration::from_millis(1));
            }
            left == (PACKETS - RING) as usize
        };
        assert!((0..5).any(|_| returned_before()), "closing takes as long as the driver");
    }

    fn desc(addr: u64, len: u32) -> libc::xdp_desc {
        libc::xdp_desc { addr, len, options: 0 }
    }

    fn free(batch: &mut Batch, pool: &mut FramePool) -> Vec<Vec<u8>> {
        let packets = batch.drain();
        packets
            .map(|packet| {
                let bytes = packet.frame.bytes().to_vec();
                pool.free(packet.frame);
                bytes
            })
            .collect()
    }

    fn figures(port: &AfXdpPort) -> PortFigures {
        port.counters().figures()
    }

    #[test]
    fn descriptors_from_the_kernel_are_not_trusted() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        port.receive(&mut pool, &mut batch);
        let given = port.rings.fill.kernel_take();
        assert_eq!(given.len(), RING as usize);

        let stranger = pool.packet().unwrap();
        let good = given[0];
        let descriptors = [
            desc(good, 60),
            desc(good, 60),
            desc(given[1], u32::MAX),
            desc(given[1], Arena::PACKET_SIZE as u32),
            desc(u64::MAX, 60),
            desc(u64::from(PACKETS) * Arena::PACKET_SIZE as u64, 60),
            desc(u64::from(PACKETS - 1) * Arena::PACKET_SIZE as u64 + 256, 60),
            desc(given[2], 13),
            libc::xdp_desc { addr: given[3], len: 60, options: libc::XDP_PKT_CONTD },
            desc(given[4], 0),
        ];
        port.rings.receive.kernel_put(descriptors);
        port.receive(&mut pool, &mut batch);
        assert_eq!(free(&mut batch, &mut pool).len(), 1, "only the first is a frame");
        assert_eq!((figures(&port).rx_bad_descriptors, figures(&port).rx_malformed), (6, 3));

        port.rings.completion.kernel_put([u64::MAX, good, 0]);
        port.flush(&mut pool);
        assert_eq!(figures(&port).rx_bad_descriptors, 9);

        pool.free(stranger);
        port.close(&mut pool);
        assert_eq!(pool.available(), PACKETS as usize, "every buffer is back, each once");
    }

    #[test]
    fn buffers_come_from_the_pool_and_return() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        for round in 0..20 {
            port.receive(&mut pool, &mut batch);
            for address in port.rings.fill.kernel_take() {
                port.rings.receive.kernel_put([desc(address, 60 + round)]);
            }
            port.receive(&mut pool, &mut batch);
            let got = free(&mut batch, &mut pool);
            assert!(got.iter().all(|bytes| bytes.len() == 60 + round as usize));
        }
        assert!(figures(&port).rx_packets >= 20 * 48);
        port.close(&mut pool);
        assert_eq!(pool.available(), PACKETS as usize);
    }

    #[test]
    fn a_dry_pool_stops_receiving_and_nothing_else() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        let held: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
        port.receive(&mut pool, &mut batch);
        assert!(port.rings.fill.kernel_take().is_empty());
        for frame in held {
            pool.free(frame);
        }
        port.receive(&mut pool, &mut batch);
        assert_eq!(port.rings.fill.kernel_take().len(), RING as usize);
        port.close(&mut pool);
    }

    fn load(batch: &mut Batch, pool: &mut FramePool, len: usize) {
        let packet = Packet::plain(pool.copy_of(&vec![len as u8; len]).unwrap());
        batch.push(packet).unwrap();
    }

    #[test]
    fn what_does_not_fit_is_counted_and_freed() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        for len in [13, LONGEST_XDP_FRAME, LONGEST_XDP_FRAME + 1, 9000] {
            load(&mut batch, &mut pool, len);
        }
        let frame = pool.copy_of(&[0; 60]).unwrap();
        let offload = Offload { needs_csum: true, ..Offload::NONE };
        batch.push(Packet { frame, offload }).unwrap();
        port.transmit(&mut pool, &mut batch);
        let sent = port.rings.transmit.kernel_take();
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].len as usize, LONGEST_XDP_FRAME);
        let figures = figures(&port);
        assert_eq!((figures.tx_malformed, figures.tx_too_long, figures.tx_unsupported), (1, 2, 1));

        // A short frame in a large buffer is copied into one that the kernel can see.
        let mut large = pool.super_frame().unwrap();
        large.extend(100).unwrap();
        large.bytes_mut().fill(7);
        batch.push(Packet::plain(large)).unwrap();
        port.transmit(&mut pool, &mut batch);
        assert_eq!(port.rings.transmit.kernel_take()[0].len, 100);
        port.close(&mut pool);
        assert_eq!(pool.available(), PACKETS as usize);
    }

    #[test]
    fn a_full_ring_drops_and_a_sent_frame_is_reused() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        for _ in 0..2 {
            for _ in 0..BATCH {
                load(&mut batch, &mut pool, 60);
            }
            port.transmit(&mut pool, &mut batch);
        }
        let all = BATCH as u64;
        assert_eq!((figures(&port).tx_packets, figures(&port).tx_full), (all, all));
        assert!(port.flush(&mut pool), "frames wait to be sent");
        let sent = port.rings.transmit.kernel_take();
        port.rings.completion.kernel_put(sent.iter().map(|sent| sent.addr));
        assert!(!port.flush(&mut pool));
        assert_eq!(pool.available(), PACKETS as usize);
        port.close(&mut pool);
    }

    #[test]
    fn the_kernel_is_called_only_when_it_sleeps() {
        let (mut port, mut pool) = port();
        let mut batch = Batch::new();
        load(&mut batch, &mut pool, 60);
        port.transmit(&mut pool, &mut batch);
        port.flush(&mut pool);
        port.receive(&mut pool, &mut batch);
        assert_eq!((figures(&port).tx_syscalls, figures(&port).rx_syscalls), (0, 0));
        port.rings.transmit.kernel_sleeps(true);
        port.rings.fill.kernel_sleeps(true);
        assert!(!port.flush(&mut pool), "it fails, so there is nothing to come back for soon");
        port.receive(&mut pool, &mut batch);
        let figures = figures(&port);
        assert_eq!((figures.tx_syscalls, figures.rx_syscalls), (1, 1));
        assert_eq!((figures.tx_failed_calls, figures.tx_dropped()), (1, 0));
        port.close(&mut pool);
    }
}
