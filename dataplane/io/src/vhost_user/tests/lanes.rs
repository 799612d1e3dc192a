//! Rings that a port shares with other workers and with the control thread.

use super::*;
use crate::vhost_user::{VhostUser, VhostUserConfig, VhostUserPort, VhostUserRole};
use crate::{Port, PortFigures};
use vr_frame::Batch;

/// A port at whose other side nobody is.
fn port(thread: &mut VhostUser, directory: &tempfile::TempDir) -> VhostUserPort {
    let path = directory.path().join("uvh_vif_tap1");
    let config = VhostUserConfig::new(path, VhostUserRole::Client);
    thread.open(&config).unwrap().remove(0)
}

fn sent(figures: PortFigures) -> (u64, u64) {
    (figures.tx_packets, figures.tx_full)
}

#[test]
fn what_finds_another_worker_at_the_ring_is_sent_later() {
    let directory = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
    let mut thread = VhostUser::start().unwrap();
    let mut port = port(&mut thread, &directory);
    let mut pool = PoolSet::new(1, PoolSizes { packets: 200, supers: 2 }).unwrap().1.remove(0);
    let device = Arc::clone(&port.device);
    let mut guest = Guest::new();
    guest.describe(0, (GUEST + DATA, 2048, 2, 0));
    (0..SIZE).for_each(|_| guest.post(0));
    device.replace(0, || Some(guest.ring(false)));

    let transmit = |port: &mut VhostUserPort, pool: &mut FramePool, count: usize| {
        let mut batch = Batch::new();
        for _ in 0..count {
            batch.push(Packet::plain(pool.copy_of(&pattern(60)).unwrap())).unwrap();
        }
        port.transmit(pool, &mut batch);
        assert!(batch.is_empty());
    };
    let elsewhere = device.to_guest[0].lock();
    transmit(&mut port, &mut pool, 2);
    assert!(port.flush(&mut pool), "the worker does not sleep");
    assert_eq!(sent(port.counters().figures()), (0, 0));
    drop(elsewhere);
    transmit(&mut port, &mut pool, 1);
    assert!(!port.flush(&mut pool));
    assert_eq!(sent(port.counters().figures()), (3, 0));

    let elsewhere = device.to_guest[0].lock();
    transmit(&mut port, &mut pool, 64);
    transmit(&mut port, &mut pool, 5);
    assert_eq!(sent(port.counters().figures()), (3, 5), "what waits is bounded");
    drop(elsewhere);
    let counters = Arc::clone(port.counters());
    Box::new(port).close(&mut pool);
    assert_eq!(sent(counters.figures()), (3, 69));
    assert_eq!(pool.available(), 200);
}

#[test]
fn a_worker_does_not_unmap_memory() {
    let directory = tempfile::TempDir::with_prefix("vrx-io-").unwrap();
    let mut thread = VhostUser::start().unwrap();
    let mut port = port(&mut thread, &directory);
    let mut pool = pool();
    let device = Arc::clone(&port.device);
    let mut guest = Guest::new();
    guest.describe(0, (GUEST + DATA, 70, 0, 0));
    guest.post(0);
    device.replace(1, || Some(guest.ring(false)));
    assert!(device.from_guest[0].lock().as_mut().unwrap().finish());

    let memory = Arc::downgrade(&guest.memory);
    drop(guest);
    let mut batch = Batch::new();
    port.receive(&mut pool, &mut batch);
    assert_eq!((batch.drain().map(|packet| pool.free(packet.frame)).count(), device.receiving()), (1, 0));
    assert!(memory.upgrade().is_some());
    device.clear();
    assert!(memory.upgrade().is_none(), "whoever clears has it unmapped");
    Box::new(port).close(&mut pool);
}
