//! Devices that go down and come up again while a port has them, and ports that are opened right behind others.
#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod support;

use std::time::{Duration, Instant};

use support::frames::frame;
use support::rig::{Kind, PACKETS, Rig, kinds, receive_now, transmit, xdp};
use support::{in_namespace, wire};
use vr_frame::{PoolSet, PoolSizes};
use vr_io::netdev;

/// Longer than any pause that a port may make, and shorter than the patience of the support.
const SOON: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(10);

fn over_devices() -> impl Iterator<Item = Kind> {
    kinds().into_iter().filter(|kind| matches!(kind, Kind::Packet | Kind::Xdp(..)))
}

/// A worker would come back at once for what waits, as long as the device is down.
#[test]
fn nothing_keeps_a_worker_awake_while_its_device_is_down() {
    for kind in over_devices() {
        in_namespace(move || {
            let mut rig = Rig::new(kind, &[]);
            rig.receive_nothing();
            for round in 0..2 {
                netdev::set_up("vrx-a", false).unwrap();
                let start = Instant::now();
                rig.transmit(&[frame(0, 60)]);
                assert!(start.elapsed() < SOON, "{kind:?} asks to come back");
                netdev::set_up("vrx-a", true).unwrap();

                let (mut sent, mut got, end) = (false, false, Instant::now() + PATIENCE);
                while !(sent && got) {
                    assert!(Instant::now() < end, "{kind:?}, round {round}: sends {sent}, receives {got}");
                    transmit(&mut *rig.port, &mut rig.pool, &[frame(1, 60)]);
                    rig.peer.send(&frame(2, 60));
                    sent |= rig.peer.receive(Duration::from_millis(5)).is_some();
                    got |= !receive_now(&mut *rig.port, &mut rig.pool).is_empty();
                }
            }
            rig.close();
        });
    }
}

/// The kernel is not done with a closed socket at once.
#[test]
fn a_queue_can_be_opened_again_at_once() {
    for kind in over_devices() {
        let Kind::Xdp(backend, hook) = kind else { continue };
        in_namespace(move || {
            wire("vrx-a", "vrx-b", 1, 1500);
            let sizes = PoolSizes { packets: PACKETS, supers: 1 };
            let mut pool = PoolSet::new(1, sizes).unwrap().1.remove(0);
            for _ in 0..20 {
                let (port, redirect) = xdp("vrx-a", 0, backend, hook, &pool);
                port.close(&mut pool);
                drop(redirect);
            }
        });
    }
}
