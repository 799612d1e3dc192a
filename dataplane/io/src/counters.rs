use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, Weak};

use crossbeam::utils::CachePadded;

use crate::port::Unfit;

/// A number that only the port's worker raises and anybody may read.
#[derive(Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    #[inline]
    pub(crate) fn add(&self, count: u64) {
        // One writer, so no read-modify-write is needed.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(count), Ordering::Relaxed);
    }

    fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        #[derive(Default)]
        pub(crate) struct Cells {
            $(pub(crate) $name: Counter,)*
        }

        /// Figures of a port at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct PortFigures {
            $($(#[$doc])* pub $name: u64,)*
            /// Frames that the kernel dropped before the port saw them, for lack of room in a socket's
            /// buffer or ring; 0 where the kernel does not tell.
            pub rx_kernel_drops: u64,
        }

        impl Cells {
            fn figures(&self) -> PortFigures {
                PortFigures { $($name: self.$name.get(),)* rx_kernel_drops: 0 }
            }
        }
    };
}

counters! {
    /// Frames received and handed on.
    rx_packets,
    /// Bytes of these.
    rx_bytes,
    /// System calls made to receive.
    rx_syscalls,
    /// Received and dropped: no buffer was free.
    rx_no_buffer,
    /// Received and dropped: longer than any buffer, or cut.
    rx_too_long,
    /// Received and dropped: shorter than an Ethernet header, or its metadata contradicts the frame.
    rx_malformed,
    /// Descriptors from the kernel that name no buffer of ours.
    rx_bad_descriptors,
    /// System calls to receive that failed for another reason than that there was nothing.
    rx_errors,
    /// Frames handed to the kernel, or to the other side.
    tx_packets,
    /// Bytes of these.
    tx_bytes,
    /// System calls made to send.
    tx_syscalls,
    /// Dropped: the queue of the kernel or of the other side is full.
    tx_full,
    /// Dropped: longer than the port sends.
    tx_too_long,
    /// Dropped: shorter than an Ethernet header.
    tx_malformed,
    /// Dropped: a partial checksum or a super-frame that the port cannot pass on.
    tx_unsupported,
    /// Dropped: no buffer was free for a copy.
    tx_no_buffer,
    /// Dropped: nobody is at the other side, or the kernel refused the frame for another reason.
    tx_errors,
    /// System calls to send that failed for another reason than that there was no room; the frames still wait.
    tx_failed_calls,
}

impl PortFigures {
    /// System calls per packet, both directions together; 0 without packets.
    #[must_use]
    pub fn syscalls_per_packet(&self) -> f64 {
        let packets = self.rx_packets + self.tx_packets;
        if packets == 0 { 0.0 } else { (self.rx_syscalls + self.tx_syscalls) as f64 / packets as f64 }
    }

    /// Frames dropped on their way in.
    #[must_use]
    pub const fn rx_dropped(&self) -> u64 {
        self.rx_no_buffer + self.rx_too_long + self.rx_malformed + self.rx_kernel_drops
    }

    /// Frames dropped on their way out.
    #[must_use]
    pub const fn tx_dropped(&self) -> u64 {
        self.tx_full
            + self.tx_too_long
            + self.tx_malformed
            + self.tx_unsupported
            + self.tx_no_buffer
            + self.tx_errors
    }
}

/// A source of what the kernel knows about a socket.
pub trait KernelStatistics: Send + Sync {
    /// Frames dropped so far, before the port saw them.
    ///
    /// # Errors
    /// What the kernel says when it does not tell.
    fn drops(&self) -> io::Result<u64>;
}

/// Counters of a port, written by its worker and read by anybody.
#[derive(Default)]
pub struct PortCounters {
    cells: CachePadded<Cells>,
    kernel: OnceLock<Weak<dyn KernelStatistics>>,
    /// What the kernel said last, for when the socket is closed.
    kernel_drops: AtomicU64,
}

impl PortCounters {
    /// Counters that ask `kernel` for its part as long as it is there.
    pub(crate) fn with_kernel<K: KernelStatistics + 'static>(kernel: &Arc<K>) -> Self {
        let weak = Arc::downgrade(kernel);
        Self { kernel: OnceLock::from(weak as Weak<dyn KernelStatistics>), ..Self::default() }
    }

    #[inline]
    pub(crate) fn cells(&self) -> &Cells {
        &self.cells
    }

    #[inline]
    pub(crate) fn received(&self, packets: u64, bytes: u64) {
        self.cells.rx_packets.add(packets);
        self.cells.rx_bytes.add(bytes);
    }

    #[inline]
    pub(crate) fn sent(&self, packets: u64, bytes: u64) {
        self.cells.tx_packets.add(packets);
        self.cells.tx_bytes.add(bytes);
    }

    #[cold]
    pub(crate) fn unfit(&self, unfit: Unfit) {
        match unfit {
            Unfit::Short => self.cells.tx_malformed.add(1),
            Unfit::Long => self.cells.tx_too_long.add(1),
            Unfit::Offload => self.cells.tx_unsupported.add(1),
        }
    }

    /// Frames dropped so far on their way out.
    #[must_use]
    pub fn tx_dropped(&self) -> u64 {
        self.cells.figures().tx_dropped()
    }

    /// The figures now. Asks the kernel for its part, by one system call.
    #[must_use]
    pub fn figures(&self) -> PortFigures {
        if let Some(kernel) = self.kernel.get().and_then(Weak::upgrade)
            && let Ok(drops) = kernel.drops()
        {
            self.kernel_drops.store(drops, Ordering::Relaxed);
        }
        PortFigures { rx_kernel_drops: self.kernel_drops.load(Ordering::Relaxed), ..self.cells.figures() }
    }
}

#[cfg(test)]
mod tests {
    use super::{KernelStatistics, PortCounters};
    use std::io;
    use std::sync::Arc;

    struct Fixed(u64);

    impl KernelStatistics for Fixed {
        fn drops(&self) -> io::Result<u64> {
            Ok(self.0)
        }
    }

    #[test]
    fn system_calls_per_packet_count_both_directions() {
        let counters = PortCounters::default();
        assert_eq!(counters.figures().syscalls_per_packet().to_bits(), 0);
        counters.received(6, 600);
        counters.sent(2, 200);
        counters.cells().rx_syscalls.add(1);
        counters.cells().tx_syscalls.add(1);
        assert!((counters.figures().syscalls_per_packet() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn what_the_kernel_said_last_outlives_the_socket() {
        let kernel = Arc::new(Fixed(7));
        let counters = PortCounters::with_kernel(&kernel);
        assert_eq!(counters.figures().rx_kernel_drops, 7);
        drop(kernel);
        assert_eq!(counters.figures().rx_kernel_drops, 7);
    }
}
