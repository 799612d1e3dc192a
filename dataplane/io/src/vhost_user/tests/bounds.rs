//! How many descriptors a guest can make us read.

use super::*;
use crate::vhost_user::port::send_unless_refused;

/// A ring much larger than any chain may be, with places of its own.
const LARGE: u16 = 1024;
const LARGE_AVAILABLE: u64 = 0x4000;
const LARGE_USED: u64 = 0x5000;

/// A ring in which descriptor `n` is one of `len` bytes, with a next one where `chained`, and in which entry `n` of
/// the available ring is `head(n)`.
fn large(guest: &Guest, mergeable: bool, len: u32, chained: bool, head: impl Fn(u16) -> u16) -> Ring {
    let config = guest.config(mergeable);
    let addresses = RingAddresses {
        available: USER[0] + LARGE_AVAILABLE,
        used: USER[0] + LARGE_USED,
        log: None,
        ..config.addresses
    };
    for number in 0..LARGE {
        let flags = 2 | u16::from(chained && number + 1 < LARGE);
        guest.describe(number, (GUEST + REGION, len, flags, (number + 1) % LARGE));
    }
    let heads: Vec<u8> = (0..LARGE).flat_map(|at| head(at).to_ne_bytes()).collect();
    guest.write(LARGE_AVAILABLE + 4, &heads);
    Ring::new(RingConfig { size: LARGE, addresses, ..config }).unwrap()
}

fn make_available(guest: &Guest, count: u16) {
    guest.write(LARGE_AVAILABLE + 2, &count.to_ne_bytes());
}

#[test]
fn empty_descriptors_end_a_chain_at_once() {
    let guest = Guest::new();
    let mut ring = large(&guest, false, 0, true, |_| 0);
    make_available(&guest, LARGE);
    let (mut pool, counters) = (pool(), PortCounters::default());
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    assert_eq!(counters.figures().rx_bad_descriptors, u64::from(LARGE));
    assert_eq!(ring.steps, usize::from(LARGE), "one descriptor of each chain");

    let guest = Guest::new();
    let mut ring = large(&guest, true, 0, true, |_| 0);
    make_available(&guest, LARGE);
    let packet = Packet::plain(pool.copy_of(&pattern(60)).unwrap());
    assert_eq!(send(&mut ring, &mut Chains::new(), &packet), Sent::Malformed);
    assert_eq!(ring.steps, 1);
    pool.free(packet.frame);
}

#[test]
fn a_chain_is_followed_for_as_long_as_a_packet_may_be() {
    let guest = Guest::new();
    let mut ring = large(&guest, false, 1, true, |_| 0);
    make_available(&guest, 1);
    let (mut pool, counters) = (pool(), PortCounters::default());
    assert!(take(&mut ring, &mut pool, &counters).is_empty());
    assert_eq!((counters.figures().rx_bad_descriptors, ring.steps), (1, MOST_PIECES));

    // The longest chain is whole.
    let head = LARGE - MOST_PIECES as u16;
    let guest = Guest::new();
    let mut ring = large(&guest, false, 1, true, |_| head);
    make_available(&guest, 1);
    assert_eq!(take(&mut ring, &mut pool, &counters), [vec![0; MOST_PIECES - 10]]);
}

#[test]
fn buffers_that_are_too_few_are_looked_through_once() {
    for (count, expected) in [(100, Sent::Full), (LARGE, Sent::TooLong)] {
        let guest = Guest::new();
        let mut ring = large(&guest, true, 1, false, |at| at);
        make_available(&guest, count);
        let (mut pool, mut chains, mut refusal) = (pool(), Chains::new(), None);
        let [long, short] = [1500, 60].map(|len| Packet::plain(pool.copy_of(&pattern(len)).unwrap()));
        for _ in 0..64 {
            assert_eq!(send_unless_refused(&mut ring, &mut chains, &long, &mut refusal), expected);
        }
        let walked = ring.steps;
        assert_eq!(walked, MOST_PIECES.min(count.into()));
        let sent = send_unless_refused(&mut ring, &mut chains, &short, &mut refusal);
        assert_eq!((sent, ring.steps - walked), (Sent::Whole, 12 + 60), "for a shorter one they are enough");
        pool.free(long.frame);
        pool.free(short.frame);
    }
}

#[test]
fn buffers_that_come_after_a_refusal_in_an_empty_ring_are_used() {
    let guest = Guest::new();
    let mut ring = large(&guest, false, 2048, false, |at| at);
    let (mut pool, mut chains, mut refusal) = (pool(), Chains::new(), None);
    let packet = Packet::plain(pool.copy_of(&pattern(60)).unwrap());
    assert_eq!(send_unless_refused(&mut ring, &mut chains, &packet, &mut refusal), Sent::Full);
    make_available(&guest, 1);
    assert_eq!(send_unless_refused(&mut ring, &mut chains, &packet, &mut refusal), Sent::Whole);
    pool.free(packet.frame);
}
