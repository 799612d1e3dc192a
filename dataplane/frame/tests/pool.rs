//! Frames and pools, seen from outside.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use vr_frame::{Arena, Frame, FramePool, PoolSet, PoolSizes, leaked_frames};

fn pools(workers: u8) -> Vec<FramePool> {
    PoolSet::new(workers, PoolSizes { packets: 8, supers: 2 }).unwrap().1
}

#[test]
fn a_dry_pool_refuses_and_recovers() {
    let mut pool = pools(1).remove(0);
    let taken: Vec<Frame> = std::iter::from_fn(|| pool.packet()).collect();
    assert_eq!(taken.len(), 8);
    assert!(pool.packet().is_none());
    for frame in taken {
        pool.free(frame);
    }
    assert_eq!(pool.available(), 8);
}

#[test]
fn a_frame_freed_by_another_worker_goes_home() {
    let mut pools = pools(2);
    let frames: Vec<Frame> = std::iter::from_fn(|| pools[0].packet()).collect();
    for frame in frames {
        pools[1].free(frame);
    }
    assert_eq!(pools[1].available(), 8, "foreign buffers must not be kept");
    let again: Vec<Frame> = std::iter::from_fn(|| pools[0].packet()).collect();
    assert_eq!(again.len(), 8);
    for frame in again {
        pools[0].free(frame);
    }
}

#[test]
fn a_thread_without_a_pool_gives_frames_back() {
    let mut pools = pools(2);
    let way_home = pools[1].way_home();
    let frames: Vec<Frame> = [0, 1].map(|pool| pools[pool].packet().unwrap()).into();
    assert_eq!([0, 1].map(|pool| pools[pool].available()), [7, 7]);
    std::thread::spawn(move || frames.into_iter().for_each(|frame| way_home.free(frame))).join().unwrap();
    assert_eq!([0, 1].map(|pool| pools[pool].available()), [8, 8]);
    let again: Vec<Frame> = std::iter::from_fn(|| pools[1].packet()).collect();
    assert_eq!(again.len(), 8);
    for frame in again {
        pools[1].free(frame);
    }
}

#[test]
fn a_frame_of_another_arena_is_lost_and_never_handed_out() {
    let (mut mine, mut others) = (pools(1).remove(0), pools(1).remove(0));
    let large = mine.super_frame().unwrap();
    for foreign in [others.packet().unwrap(), others.super_frame().unwrap()] {
        let foreign = mine.arena().release(foreign).expect_err("not in this UMEM");
        let before = leaked_frames();
        let freed = catch_unwind(AssertUnwindSafe(|| mine.free(foreign)));
        assert_eq!(freed.is_err(), cfg!(debug_assertions), "a lost frame is a panic in debug builds");
        assert_eq!(leaked_frames(), before + 1);
    }
    assert_eq!(mine.available(), 8);
    mine.free(large);
    assert!(mine.super_frame().map(|frame| mine.free(frame)).is_some());
}

#[test]
fn super_frames_hold_64_kib() {
    let mut pool = pools(1).remove(0);
    let bytes = vec![7; 65536];
    let frame = pool.copy_of(&bytes).unwrap();
    assert!(frame.is_super());
    assert_eq!(frame.bytes(), bytes);
    pool.free(frame);
    assert!(pool.copy_of(&vec![0; 70_000]).is_none());
}

#[test]
fn the_kernel_round_trip_keeps_the_bytes() {
    let mut pool = pools(1).remove(0);
    let arena = pool.arena().clone();
    let frame = pool.copy_of(b"hello").unwrap();
    let address = arena.release(frame).unwrap();
    // SAFETY: the address was released just before and nothing else claims it.
    #[allow(unsafe_code, reason = "plays the part of the kernel")]
    let (bad, frame) =
        unsafe { (arena.claim(address, Arena::PACKET_SIZE as u32), arena.claim(address, 5).unwrap()) };
    assert!(bad.is_none(), "a descriptor that leaves its buffer is refused");
    assert_eq!(frame.bytes(), b"hello");
    pool.free(frame);
}

proptest! {
    #[test]
    fn window_operations_keep_the_bytes(ops in prop::collection::vec((0..4u8, 0..400usize), 1..60)) {
        let mut pool = pools(1).remove(0);
        let mut frame = pool.copy_of(&[1, 2, 3, 4]).unwrap();
        // The model: the whole buffer and the window in it.
        let mut start = Arena::HEADROOM;
        let mut len = 4usize;
        for (op, n) in ops {
            match op {
                0 => { if frame.push(n).is_some() { prop_assert!(n <= start); start -= n; len += n; } else { prop_assert!(n > start); } }
                1 => { if frame.pull(n).is_some() { start += n; len -= n; } else { prop_assert!(n > len); } }
                2 => { frame.truncate(n); len = len.min(n); }
                _ => { if frame.extend(n).is_some() { len += n; } else { prop_assert!(start + len + n > Arena::PACKET_SIZE); } }
            }
            prop_assert_eq!(frame.headroom(), start);
            prop_assert_eq!(frame.len(), len);
            prop_assert_eq!(frame.headroom() + frame.len() + frame.tailroom(), Arena::PACKET_SIZE);
            if let Some(first) = frame.bytes_mut().first_mut() { *first = 9; }
        }
        pool.free(frame);
    }
}
