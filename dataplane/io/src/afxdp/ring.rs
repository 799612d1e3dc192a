//! Rings of one producer and one consumer in memory shared with the kernel (Linux,
//! `Documentation/networking/af_xdp.rst`).
//!
//! The kernel's indexes are read, not believed: whatever they say, nothing outside the ring is touched.
#![allow(unsafe_code, reason = "memory shared with the kernel")]

use std::io;
use std::marker::PhantomData;
use std::mem;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};

/// A mapping of a socket's ring. As long as it is there the kernel keeps the socket, closed or not.
struct Mapping {
    base: NonNull<u8>,
    len: usize,
}

impl Mapping {
    fn new(fd: i32, len: usize, offset: libc::off_t) -> io::Result<Self> {
        let anonymous = if fd < 0 { libc::MAP_ANONYMOUS } else { 0 };
        let flags = libc::MAP_SHARED | libc::MAP_POPULATE | anonymous;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), len, access, flags, fd, offset) };
        NonNull::new(base.cast::<u8>())
            .filter(|_| base != libc::MAP_FAILED)
            .map(|base| Self { base, len })
            .ok_or_else(io::Error::last_os_error)
    }

    /// The address of `count` values at `offset`, if they lie in the mapping and are aligned.
    fn at<T>(&self, offset: u64, count: usize) -> io::Result<NonNull<T>> {
        let start = usize::try_from(offset).ok().filter(|start| start % mem::align_of::<T>() == 0);
        let end = start.and_then(|start| start.checked_add(count.checked_mul(mem::size_of::<T>())?));
        match (start, end) {
            // SAFETY: the position was just checked to lie inside the mapping.
            (Some(start), Some(end)) if end <= self.len => Ok(unsafe { self.base.add(start) }.cast()),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "the kernel describes a ring outside its memory",
            )),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: the mapping was made with this length, and whoever has addresses in it owns it as well.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.len) };
    }
}

/// A ring of values that any bits are a value of.
struct Ring<T> {
    producer: NonNull<AtomicU32>,
    consumer: NonNull<AtomicU32>,
    flags: NonNull<AtomicU32>,
    entries: NonNull<T>,
    mask: u32,
    _mapping: Mapping,
    _values: PhantomData<T>,
}

// SAFETY: the ring owns its mapping; the indexes in it are atomic, and the entries are only accessed by the side
// that owns them at the moment.
unsafe impl<T: Send> Send for Ring<T> {}

/// Where the parts of a ring are, and how large it is.
pub(super) struct Layout {
    pub(super) offsets: libc::xdp_ring_offset,
    /// Entries, a power of two.
    pub(super) entries: u32,
    /// Which of the socket's rings.
    pub(super) page: libc::off_t,
}

/// Values that the kernel and we exchange.
pub(super) trait Entry: Copy + Send {}
impl Entry for u64 {}
impl Entry for libc::xdp_desc {}

impl<T: Entry> Ring<T> {
    fn new(fd: i32, layout: &Layout) -> io::Result<Self> {
        let Layout { offsets, entries, page } = layout;
        let len = offsets.desc as usize + *entries as usize * mem::size_of::<T>();
        let mapping = Mapping::new(fd, len, *page)?;
        Ok(Self {
            producer: mapping.at(offsets.producer, 1)?,
            consumer: mapping.at(offsets.consumer, 1)?,
            flags: mapping.at(offsets.flags, 1)?,
            entries: mapping.at(offsets.desc, *entries as usize)?,
            mask: entries - 1,
            _mapping: mapping,
            _values: PhantomData,
        })
    }

    const fn size(&self) -> u32 {
        self.mask + 1
    }

    const fn producer(&self) -> &AtomicU32 {
        // SAFETY: inside the mapping, aligned, and only accessed atomically.
        unsafe { self.producer.as_ref() }
    }

    const fn consumer(&self) -> &AtomicU32 {
        // SAFETY: as above.
        unsafe { self.consumer.as_ref() }
    }

    fn needs_wakeup(&self) -> bool {
        // SAFETY: as above.
        unsafe { self.flags.as_ref() }.load(Ordering::Relaxed) & libc::XDP_RING_NEED_WAKEUP != 0
    }

    const fn entry(&self, index: u32) -> NonNull<T> {
        // SAFETY: the mask keeps the index below the number of entries.
        unsafe { self.entries.add((index & self.mask) as usize) }
    }
}

/// A ring that we write.
pub(super) struct Producer<T> {
    ring: Ring<T>,
    /// Where the next value goes.
    next: u32,
    /// How far the kernel had read when we looked last.
    read: u32,
}

impl<T: Entry> Producer<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, layout: &Layout) -> io::Result<Self> {
        Self::over(fd.as_raw_fd(), layout)
    }

    fn over(fd: i32, layout: &Layout) -> io::Result<Self> {
        let ring = Ring::new(fd, layout)?;
        let next = ring.producer().load(Ordering::Relaxed);
        let read = ring.consumer().load(Ordering::Acquire);
        Ok(Self { ring, next, read })
    }

    /// How many values there is room for. Looks at the kernel's index only when there seems to be none.
    #[inline]
    pub(super) fn room(&mut self) -> u32 {
        let mut used = self.next.wrapping_sub(self.read);
        if used >= self.ring.size() {
            self.read = self.ring.consumer().load(Ordering::Acquire);
            used = self.next.wrapping_sub(self.read);
        }
        self.ring.size().saturating_sub(used)
    }

    /// Writes a value, which the kernel sees after [`Producer::publish`]. To be called only when there is room.
    #[inline]
    pub(super) fn put(&mut self, value: T) {
        // SAFETY: the entry is in the ring and, there being room, not the kernel's.
        unsafe { self.ring.entry(self.next).write(value) };
        self.next = self.next.wrapping_add(1);
    }

    /// Hands to the kernel what was written.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.producer().store(self.next, Ordering::Release);
    }

    /// How many values the kernel has not read yet.
    #[inline]
    pub(super) fn unread(&mut self) -> u32 {
        if self.next == self.read {
            return 0;
        }
        self.read = self.ring.consumer().load(Ordering::Acquire);
        self.next.wrapping_sub(self.read).min(self.ring.size())
    }

    /// Whether the kernel sleeps until a system call.
    #[inline]
    pub(super) fn needs_wakeup(&self) -> bool {
        self.ring.needs_wakeup()
    }
}

/// A ring that we read.
pub(super) struct Consumer<T> {
    ring: Ring<T>,
    /// Which value is the next.
    next: u32,
}

impl<T: Entry> Consumer<T> {
    pub(super) fn map(fd: BorrowedFd<'_>, layout: &Layout) -> io::Result<Self> {
        Self::over(fd.as_raw_fd(), layout)
    }

    fn over(fd: i32, layout: &Layout) -> io::Result<Self> {
        let ring = Ring::new(fd, layout)?;
        let next = ring.consumer().load(Ordering::Relaxed);
        Ok(Self { ring, next })
    }

    /// How many values can be taken.
    #[inline]
    pub(super) fn available(&self) -> u32 {
        self.ring.producer().load(Ordering::Acquire).wrapping_sub(self.next).min(self.ring.size())
    }

    /// Takes a value; its place is the kernel's after [`Consumer::publish`]. To be called only when one is
    /// available.
    #[inline]
    pub(super) fn take(&mut self) -> T {
        // SAFETY: the entry is in the ring and initialised: the mapping began as zeroes.
        let value = unsafe { self.ring.entry(self.next).read() };
        self.next = self.next.wrapping_add(1);
        value
    }

    /// Gives back to the kernel the places of what was taken.
    #[inline]
    pub(super) fn publish(&self) {
        self.ring.consumer().store(self.next, Ordering::Release);
    }
}

/// Rings without a kernel, for tests that play its part.
#[cfg(test)]
pub(super) mod fake {
    use super::{Consumer, Entry, Layout, Producer, Ring};
    use std::sync::atomic::Ordering;

    fn layout(entries: u32) -> Layout {
        let offsets = libc::xdp_ring_offset { producer: 0, consumer: 64, flags: 128, desc: 192 };
        Layout { offsets, entries, page: 0 }
    }

    pub(in super::super) fn producer<T: Entry>(entries: u32) -> Producer<T> {
        Producer::over(-1, &layout(entries)).unwrap()
    }

    pub(in super::super) fn consumer<T: Entry>(entries: u32) -> Consumer<T> {
        Consumer::over(-1, &layout(entries)).unwrap()
    }

    impl<T: Entry> Ring<T> {
        fn set_wakeup(&self, on: bool) {
            // SAFETY: as in `needs_wakeup`.
            unsafe { self.flags.as_ref() }.store(u32::from(on), Ordering::Relaxed);
        }
    }

    impl<T: Entry> Producer<T> {
        /// As the kernel: takes what was published.
        pub(in super::super) fn kernel_take(&self) -> Vec<T> {
            let (from, to) = (self.ring.consumer(), self.ring.producer().load(Ordering::Acquire));
            let mut values = Vec::new();
            while from.load(Ordering::Relaxed) != to {
                // SAFETY: the entry was published.
                values.push(unsafe { self.ring.entry(from.load(Ordering::Relaxed)).read() });
                from.fetch_add(1, Ordering::Release);
            }
            values
        }

        pub(in super::super) fn kernel_sleeps(&self, asleep: bool) {
            self.ring.set_wakeup(asleep);
        }

        pub(super) fn kernel_claims_to_have_read(&self, index: u32) {
            self.ring.consumer().store(index, Ordering::Release);
        }
    }

    impl<T: Entry> Consumer<T> {
        /// As the kernel: publishes values.
        pub(in super::super) fn kernel_put(&self, values: impl IntoIterator<Item = T>) {
            for value in values {
                let index = self.ring.producer().load(Ordering::Relaxed);
                // SAFETY: the tests put no more than fit.
                unsafe { self.ring.entry(index).write(value) };
                self.ring.producer().store(index.wrapping_add(1), Ordering::Release);
            }
        }

        pub(super) fn kernel_claims_to_have_written(&self, index: u32) {
            self.ring.producer().store(index, Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fake::{consumer, producer};

    #[test]
    fn values_go_round_many_times() {
        let (mut out, mut back) = (producer::<u64>(8), consumer::<u64>(8));
        let mut expected = 0;
        for round in 0..100_u64 {
            let count = round % 8 + 1;
            assert!(u64::from(out.room()) >= count);
            (0..count).for_each(|i| out.put(round * 10 + i));
            assert_eq!(out.kernel_take(), Vec::<u64>::new(), "nothing is seen before it is published");
            out.publish();
            assert_eq!(u64::from(out.unread()), count);
            back.kernel_put(out.kernel_take());
            assert_eq!(out.unread(), 0);
            assert_eq!(u64::from(back.available()), count);
            assert!((0..count).all(|i| back.take() == round * 10 + i));
            back.publish();
            expected += count;
        }
        assert_eq!((u64::from(out.next), u64::from(back.next)), (expected, expected));
    }

    #[test]
    fn a_full_ring_has_no_room() {
        let mut ring = producer::<u64>(8);
        (0..8).for_each(|i| ring.put(i));
        ring.publish();
        assert_eq!((ring.room(), ring.unread()), (0, 8));
        ring.kernel_take();
        assert_eq!(ring.room(), 8);
    }

    #[test]
    fn indexes_that_cannot_be_are_survived() {
        let mut out = producer::<u64>(8);
        out.kernel_claims_to_have_read(1000);
        (0..8).for_each(|i| out.put(i));
        assert!(out.room() <= 8 && out.unread() <= 8);
        let mut back = consumer::<u64>(8);
        back.kernel_claims_to_have_written(u32::MAX - 5);
        assert_eq!(back.available(), 8);
        (0..8).for_each(|_| assert_eq!(back.take(), 0));
    }

    #[test]
    fn rings_outside_the_memory_are_refused() {
        let offsets = libc::xdp_ring_offset { producer: 0, consumer: 1 << 40, flags: 128, desc: 192 };
        let layout = super::Layout { offsets, entries: 8, page: 0 };
        assert!(super::Producer::<u64>::over(-1, &layout).is_err());
        let offsets = libc::xdp_ring_offset { producer: 2, consumer: 64, flags: 128, desc: 192 };
        let layout = super::Layout { offsets, entries: 8, page: 0 };
        assert!(super::Consumer::<u64>::over(-1, &layout).is_err());
    }
}
