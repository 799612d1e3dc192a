//! Rings that a guest fills with whatever it likes.

mod bounds;
mod lanes;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use nix::sys::memfd::{MFdFlags, memfd_create};
use proptest::prelude::*;
use vr_frame::{FramePool, Packet, PoolSet, PoolSizes, leaked_frames};

use super::chain::{Chains, MOST_PIECES};
use super::log::DirtyLog;
use super::memory::GuestMemory;
use super::port::{Received, Sent, receive, send};
use super::protocol::{RegionEntry, RingAddresses};
use super::ring::{Rest, Ring, RingConfig};
use crate::PortCounters;

/// Two regions that are neighbours for the guest, and far apart for everybody else.
const REGION: u64 = 0x10000;
const GUEST: u64 = 0x1_0000_0000;
const USER: [u64; 2] = [0x7000_0000, 0x9000_0000];
const SIZE: u16 = 16;
const DESCRIPTORS: u64 = 0;
const AVAILABLE: u64 = 0x400;
const USED: u64 = 0x600;
const DATA: u64 = 0x1000;

fn file(len: u64) -> File {
    let file = File::from(memfd_create("vrx-test", MFdFlags::MFD_CLOEXEC).unwrap());
    file.set_len(len).unwrap();
    file
}

struct Guest {
    files: [File; 2],
    memory: Arc<GuestMemory>,
    available: u16,
}

impl Guest {
    fn new() -> Self {
        let files = [file(REGION), file(REGION)];
        let entry = |number: usize| RegionEntry {
            guest: GUEST + number as u64 * REGION,
            len: REGION,
            user: USER[number],
            offset: 0,
        };
        let fds = files.iter().map(|file| OwnedFd::from(file.try_clone().unwrap())).collect();
        let memory = Arc::new(GuestMemory::map(&[entry(0), entry(1)], fds).unwrap());
        Self { files, memory, available: 0 }
    }

    fn config(&self, mergeable: bool) -> RingConfig {
        RingConfig {
            memory: Arc::clone(&self.memory),
            size: SIZE,
            addresses: RingAddresses {
                descriptors: USER[0] + DESCRIPTORS,
                available: USER[0] + AVAILABLE,
                used: USER[0] + USED,
                log: Some(GUEST + USED),
            },
            log: None,
            call: None,
            told: true,
            header: if mergeable { 12 } else { 10 },
            mergeable,
        }
    }

    fn ring(&self, mergeable: bool) -> Ring {
        Ring::new(self.config(mergeable)).unwrap()
    }

    fn write(&self, at: u64, bytes: &[u8]) {
        let (number, at) = ((at / REGION) as usize, at % REGION);
        self.files[number].write_all_at(bytes, at).unwrap();
    }

    fn describe(&self, number: u16, (address, len, flags, next): (u64, u32, u16, u16)) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_ne_bytes());
        bytes[8..12].copy_from_slice(&len.to_ne_bytes());
        bytes[12..14].copy_from_slice(&flags.to_ne_bytes());
        bytes[14..].copy_from_slice(&next.to_ne_bytes());
        self.write(DESCRIPTORS + u64::from(number) * 16, &bytes);
    }

    /// Makes a chain available, by its first descriptor.
    fn post(&mut self, head: u16) {
        self.write(AVAILABLE + 4 + 2 * u64::from(self.available % SIZE), &head.to_ne_bytes());
        self.available = self.available.wrapping_add(1);
        self.write(AVAILABLE + 2, &self.available.to_ne_bytes());
    }

    fn used(&self) -> (u16, Vec<(u32, u32)>) {
        let mut bytes = [0; 4 + 8 * SIZE as usize];
        self.files[0].read_exact_at(&mut bytes, USED).unwrap();
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let entries = (0..SIZE as usize).map(|number| (word(4 + 8 * number), word(8 + 8 * number))).collect();
        (u16::from_ne_bytes([bytes[2], bytes[3]]), entries)
    }
}

fn pool() -> FramePool {
    PoolSet::new(1, PoolSizes { packets: 8, supers: 2 }).unwrap().1.remove(0)
}

fn take(ring: &mut Ring, pool: &mut FramePool, counters: &PortCounters) -> Vec<Vec<u8>> {
    let mut chains = Chains::new();
    let mut got = Vec::new();
    loop {
        match receive(ring, &mut chains, pool, counters.cells()) {
            Received::Nothing => break,
            Received::Dropped => {}
            Received::Packet(packet) => {
                got.push(packet.frame.bytes().to_vec());
                pool.free(packet.frame);
            }
        }
    }
    ring.publish();
    got
}

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at % 251) as u8).collect()
}

#[test]
fn a_packet_may_lie_across_descriptors_and_regions() {
    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    let packet = pattern(3000);
    let bytes = [&[0; 10], &*packet].concat();
    // The first descriptor cuts the header, the second one lies across both regions.
    guest.write(DATA, &bytes[..7]);
    guest.write(REGION - 1000, &bytes[7..1007]);
    guest.write(REGION, &bytes[1007..]);
    guest.describe(5, (GUEST + DATA, 7, 1, 9));
    guest.describe(9, (GUEST + REGION - 1000, 3003, 2, 0));
    guest.post(5);
    assert_eq!(take(&mut ring, &mut pool, &counters), [packet]);
    let (index, entries) = guest.used();
    assert_eq!((index, entries[0]), (1, (5, 0)));
}

#[test]
fn malformed_chains_are_given_back_and_counted() {
    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    guest.describe(0, (GUEST + DATA, 100, 1, 0)); // a loop
    guest.describe(1, (GUEST + 2 * REGION - 10, 100, 0, 0)); // beyond memory
    guest.describe(2, (GUEST + DATA, 100, 1, SIZE)); // the next one is none
    guest.describe(3, (GUEST + DATA, 32, 4, 0)); // indirect, not negotiated
    guest.describe(4, (0, 100, 0, 0)); // no memory
    guest.describe(5, (GUEST + DATA, 23, 0, 0)); // shorter than an Ethernet header
    guest.describe(6, (GUEST, (2 * REGION) as u32, 0, 0)); // longer than any packet
    guest.describe(7, (u64::MAX - 5, 100, 0, 0)); // around the end of the address space
    guest.describe(8, (GUEST + DATA, 0, 0, 0)); // nothing
    (0..9).for_each(|head| guest.post(head));
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    let figures = counters.figures();
    assert_eq!(
        (figures.rx_bad_descriptors, figures.rx_malformed, figures.rx_too_long),
        (7, 1, 1),
        "{figures:?}"
    );
    let (index, entries) = guest.used();
    assert_eq!(index, 9);
    assert_eq!(entries.iter().map(|entry| entry.0).take(9).collect::<Vec<_>>(), (0..9).collect::<Vec<_>>());
}

#[test]
fn an_impossible_index_stops_the_ring() {
    let guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    guest.write(AVAILABLE + 2, &(SIZE + 1).to_ne_bytes());
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    guest.write(AVAILABLE + 2, &1_u16.to_ne_bytes());
    assert!(take(&mut ring, &mut pool, &counters).is_empty(), "it stays so");
    assert_eq!(ring.rest(), Rest::Told, "nobody spins for it");
    assert!(!ring.finish() && ring.is_finished());

    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    guest.post(SIZE);
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    assert_eq!(guest.used().0, 0, "a descriptor that does not exist is not given back");
}

#[test]
fn a_dry_pool_leaves_packets_with_the_guest() {
    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    guest.describe(0, (GUEST + DATA, 10 + 60, 0, 0));
    guest.describe(1, (GUEST + DATA, 10 + 5000, 0, 0));
    guest.post(0);
    let held: Vec<_> = std::iter::from_fn(|| pool.packet()).collect();
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    assert_eq!(ring.rest(), Rest::Waiting);
    for frame in held {
        pool.free(frame);
    }
    assert_eq!(take(&mut ring, &mut pool, &counters).len(), 1);
    // Large ones are dropped instead, so that small ones pass.
    let held: Vec<_> = std::iter::from_fn(|| pool.super_frame()).collect();
    guest.post(1);
    guest.post(0);
    assert_eq!(take(&mut ring, &mut pool, &counters).len(), 1);
    assert_eq!(counters.figures().rx_no_buffer, 1);
    for frame in held {
        pool.free(frame);
    }
}

#[test]
fn what_was_posted_before_the_end_is_taken_and_nothing_after() {
    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    guest.describe(0, (GUEST + DATA, 10 + 60, 0, 0));
    (0..3).for_each(|_| guest.post(0));
    assert!(ring.finish() && !ring.is_finished());
    (0..4).for_each(|_| guest.post(0));
    assert_eq!(take(&mut ring, &mut pool, &counters).len(), 3);
    assert!(ring.is_finished());
}

#[test]
fn packets_are_merged_over_buffers_that_are_too_small() {
    let mut guest = Guest::new();
    let mut ring = guest.ring(true);
    let mut pool = pool();
    let mut chains = Chains::new();
    for number in 0..4 {
        guest.describe(number, (GUEST + DATA + u64::from(number) * 0x800, 1024, 2, 0));
    }
    (0..3).for_each(|head| guest.post(head));
    let packet = Packet::plain(pool.copy_of(&pattern(3100)).unwrap());
    assert_eq!(send(&mut ring, &mut chains, &packet), Sent::Full, "3 buffers are not enough");
    ring.publish();
    assert_eq!(guest.used().0, 0);
    guest.post(3);
    assert_eq!(send(&mut ring, &mut chains, &packet), Sent::Whole);
    ring.publish();
    let (index, entries) = guest.used();
    assert_eq!((index, &entries[..4]), (4, &[(0, 1024), (1, 1024), (2, 1024), (3, 40)][..]));
    let mut header = [0; 12];
    guest.files[0].read_exact_at(&mut header, DATA).unwrap();
    assert_eq!(header[10..], 4_u16.to_ne_bytes());
    // Without merging, one buffer has to do.
    let mut guest = Guest::new();
    let mut ring = guest.ring(false);
    guest.describe(0, (GUEST + DATA, 1024, 2, 0));
    guest.post(0);
    assert_eq!(send(&mut ring, &mut chains, &packet), Sent::TooLong);
    pool.free(packet.frame);
}

#[test]
fn writes_are_logged_by_page() {
    let guest = Guest::new();
    let log_file = file(1 << 18);
    let log = DirtyLog::map(log_file.try_clone().unwrap().into(), 64, 0).unwrap();
    log.mark(4095, 2);
    log.mark(9 * 4096, 4096);
    log.mark(1 << 40, 5); // behind the log
    log.mark(u64::MAX - 3, 100);
    log.mark(12 * 4096, 0);
    let mut bits = [0; 64];
    log_file.read_exact_at(&mut bits, 0).unwrap();
    assert_eq!(bits[..2], [0b11, 0b10]);
    assert!(bits[2..].iter().all(|byte| *byte == 0));

    let log = DirtyLog::map(log_file.try_clone().unwrap().into(), 1 << 18, 0).unwrap();
    let mut guest_ring = Ring::new(RingConfig { log: Some(Arc::new(log)), ..guest.config(false) }).unwrap();
    guest_ring.give_back(0, 0);
    log_file.read_exact_at(&mut bits[..1], GUEST / 4096 / 8).unwrap();
    assert_eq!(bits[0], 1, "the used ring is in the first page");
}

#[test]
fn rings_outside_of_memory_or_askew_are_refused() {
    let guest = Guest::new();
    let good = guest.config(false).addresses;
    let refused =
        |addresses, size| Ring::new(RingConfig { size, addresses, ..guest.config(false) }).is_none();
    assert!(!refused(good, SIZE));
    assert!(refused(good, 0) && refused(good, 12));
    assert!(refused(RingAddresses { descriptors: USER[0] + 4, ..good }, SIZE));
    assert!(refused(RingAddresses { available: USER[0] + AVAILABLE + 1, ..good }, SIZE));
    assert!(refused(RingAddresses { used: USER[0] + USED + 2, ..good }, SIZE));
    assert!(refused(RingAddresses { used: USER[0] + REGION - 8, ..good }, SIZE), "its end is outside");
    assert!(refused(RingAddresses { descriptors: GUEST, ..good }, SIZE), "an address of the guest");
    assert!(refused(RingAddresses { descriptors: u64::MAX - 7, ..good }, SIZE));
}

#[test]
fn memory_that_is_not_there_is_refused() {
    let entry = RegionEntry { guest: 0, len: REGION, user: 0, offset: 0 };
    let map = |entry: RegionEntry, fd: OwnedFd| GuestMemory::map(&[entry], vec![fd]).map(|_| ());
    assert!(map(entry, file(REGION).into()).is_ok());
    assert!(map(entry, file(REGION - 1).into()).is_err(), "shorter than it says");
    assert!(map(RegionEntry { len: 0, ..entry }, file(REGION).into()).is_err());
    assert!(map(RegionEntry { offset: u64::MAX, ..entry }, file(REGION).into()).is_err());
    assert!(map(RegionEntry { len: u64::MAX, ..entry }, file(REGION).into()).is_err());
    assert!(map(RegionEntry { guest: u64::MAX, ..entry }, file(REGION).into()).is_err());
    assert!(map(entry, File::open("/dev/zero").unwrap().into()).is_err(), "no file");
    assert!(GuestMemory::map(&[entry, entry], vec![file(REGION).into()]).is_err());
    assert!(GuestMemory::map(&[], vec![]).is_err());
}

#[test]
fn a_file_that_is_shortened_reads_as_zeroes() {
    let guest = Guest::new();
    let mut ring = guest.ring(false);
    let (mut pool, counters) = (pool(), PortCounters::default());
    guest.describe(0, (GUEST + DATA, 70, 0, 0));
    guest.files[0].set_len(0).unwrap();
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    ring.publish();
}

/// Descriptors as guests make them, and as they do not.
fn descriptor() -> impl Strategy<Value = (u64, u32, u16, u16)> {
    let address = prop_oneof![
        4 => (0..2 * REGION).prop_map(|at| GUEST + at),
        1 => any::<u64>(),
    ];
    let len = prop_oneof![6 => 0_u32..3000, 1 => any::<u32>()];
    let flags = prop_oneof![6 => 0_u16..4, 1 => any::<u16>()];
    let next = prop_oneof![6 => 0..SIZE, 1 => any::<u16>()];
    (address, len, flags, next)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever is in the ring: nothing panics, no frame is lost, every chain is given back at most once.
    #[test]
    fn hostile_rings_harm_nobody(
        descriptors in prop::collection::vec(descriptor(), SIZE as usize),
        heads in prop::collection::vec(prop_oneof![8 => 0..SIZE, 1 => any::<u16>()], 0..SIZE as usize),
        index in prop::option::weighted(0.1, any::<u16>()),
        mergeable in any::<bool>(),
        header in prop::collection::vec(any::<u8>(), 12),
        lengths in prop::collection::vec(14_usize..9000, 0..8),
    ) {
        let leaked = leaked_frames();
        let (mut pool, counters) = (pool(), PortCounters::default());
        for to_guest in [false, true] {
            let mut guest = Guest::new();
            let mut ring = guest.ring(mergeable);
            guest.write(DATA, &header);
            for (number, descriptor) in descriptors.iter().enumerate() {
                guest.describe(number as u16, *descriptor);
            }
            for head in &heads {
                guest.post(*head);
            }
            if let Some(index) = index {
                guest.write(AVAILABLE + 2, &index.to_ne_bytes());
            }
            if to_guest {
                let mut chains = Chains::new();
                for len in &lengths {
                    let packet = Packet::plain(pool.copy_of(&pattern(*len)).unwrap());
                    send(&mut ring, &mut chains, &packet);
                    pool.free(packet.frame);
                    prop_assert!(chains.heads().len() <= MOST_PIECES);
                }
                ring.publish();
            } else {
                take(&mut ring, &mut pool, &counters);
                let (used, _) = guest.used();
                // A guest may have written over the index; otherwise there are no more than it has posted.
                let overwritten = descriptors.iter().any(|descriptor| descriptor.2 & 2 != 0);
                prop_assert!(overwritten || used <= SIZE);
            }
        }
        prop_assert_eq!(pool.available(), 8);
        prop_assert_eq!(leaked_frames(), leaked);
    }

    /// A piece never leaves its region.
    #[test]
    fn pieces_are_inside_of_memory(at in prop_oneof![0..3 * REGION, any::<u64>()], len in any::<u32>()) {
        let guest = Guest::new();
        let address = GUEST.wrapping_add(at);
        let piece = guest.memory.guest(address, u64::from(len));
        prop_assert_eq!(piece.is_some(), at < 2 * REGION);
        if let Some(piece) = piece {
            prop_assert!(piece.len() as u64 <= REGION - at % REGION);
            prop_assert!(piece.len() <= len as usize);
            prop_assert_eq!(piece.guest, address);
        }
    }
}
