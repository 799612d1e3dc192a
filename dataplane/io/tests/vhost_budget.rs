//! Pairs of rings share the work that one call of a vhost-user port does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by a panic")]

mod support;

use std::thread::sleep;
use std::time::{Duration, Instant};

use support::front_end::{FrontEnd, MQ, Manners, PROTOCOL_FEATURES};
use tempfile::TempDir;
use vr_frame::{Batch, PoolSet, PoolSizes};
use vr_io::{Port, VhostUser, VhostUserConfig, VhostUserRole};

const PAIRS: u16 = 16;
/// Packets that one call takes.
const BUDGET: u16 = 64;

#[test]
fn a_flood_of_malformed_chains_in_all_pairs_is_taken_in_turns() {
    let directory = TempDir::with_prefix("vrx-io-").unwrap();
    let path = directory.path().join("uvh_vif_tap1");
    let mut thread = VhostUser::start().unwrap();
    let config = VhostUserConfig { mock: true, ..VhostUserConfig::new(path.clone(), VhostUserRole::Client) };
    let mut port = thread.open(&config).unwrap().remove(0);
    let mut pool = PoolSet::new(1, PoolSizes { packets: 128, supers: 1 }).unwrap().1.remove(0);
    let features = Some(MQ | PROTOCOL_FEATURES);
    let manners = Manners { features, pairs: PAIRS, kicks: false, ..Manners::default() };
    let mut front_end = FrontEnd::listen(&path, &manners);
    for pair in 0..usize::from(PAIRS) {
        front_end.send_nothing(pair, 2 * BUDGET);
    }
    let mut batch = Batch::new();
    let taken =
        |front_end: &FrontEnd| (0..usize::from(PAIRS)).map(|pair| front_end.taken(pair)).collect::<Vec<_>>();
    let mut before = taken(&front_end);
    let end = Instant::now() + Duration::from_secs(5);
    let mut calls = 0;
    while before != vec![2 * BUDGET; PAIRS.into()] {
        assert!(Instant::now() < end, "{before:?}");
        port.receive(&mut pool, &mut batch);
        assert!(batch.is_empty());
        let now = taken(&front_end);
        let work: u16 = now.iter().zip(&before).map(|(now, before)| now - before).sum();
        assert!(work <= BUDGET, "{work} chains in one call");
        if work == 0 {
            sleep(Duration::from_millis(1));
            continue;
        }
        calls += 1;
        // The first round has served each pair once, before any of them is served again.
        if calls == PAIRS {
            assert_eq!(now, vec![BUDGET; PAIRS.into()]);
        }
        before = now;
    }
    assert_eq!(calls, 2 * PAIRS);
    assert_eq!(port.counters().figures().rx_bad_descriptors, u64::from(PAIRS * 2 * BUDGET));
    Box::new(port).close(&mut pool);
}
