//! A port that takes nothing for a while does not stop the others, and costs counted drops only.

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use vr_frame::{Batch, FramePool};
use vr_io::{Capabilities, MemoryPort, Port, PortCounters, PortKind};
use vr_runtime::{Polling, Queue};
use vr_tables::control::Datapath;
use vr_tables::stats::Cores;
use vr_tables::vif::VifFlags;
use vr_types::DropReason;

use crate::lab::{Lab, WIRE, guest, patiently};

/// Keeps its worker busy while it is closed.
struct Gate {
    inner: Box<MemoryPort>,
    closed: Arc<AtomicBool>,
}

impl Port for Gate {
    fn kind(&self) -> PortKind {
        self.inner.kind()
    }

    fn receive(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        while self.closed.load(Ordering::Acquire) {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.inner.receive(pool, batch);
    }

    fn transmit(&mut self, pool: &mut FramePool, batch: &mut Batch) {
        self.inner.transmit(pool, batch);
    }

    fn flush(&mut self, pool: &mut FramePool) -> bool {
        self.inner.flush(pool)
    }

    fn wait_fd(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    fn counters(&self) -> &Arc<PortCounters> {
        self.inner.counters()
    }

    fn close(self: Box<Self>, pool: &mut FramePool) {
        self.inner.close(pool);
    }
}

#[test]
fn a_full_ring_drops_and_counts() {
    const SENT: u16 = 1500;
    let mut lab = Lab::new(2, Polling::Balanced);
    let closed = Arc::new(AtomicBool::new(false));
    let (port, mut b) = MemoryPort::pair(WIRE);
    let gate = Gate { inner: Box::new(port), closed: Arc::clone(&closed) };
    lab.add_guest(2, VifFlags::empty(), vec![Queue::new(Box::new(gate))]);
    let mut a = lab.add_plain(1);
    closed.store(true, Ordering::Release);
    lab.send(&mut a, 1, 2, 0..SENT);
    patiently("last packet", || (lab.packets(guest(1)).0 == u64::from(SENT)).then_some(()));
    let worker = || lab.monitor().workers()[1];
    patiently("packets at the ring", || {
        (worker().handed_off + worker().handoff_full == u64::from(SENT)).then_some(())
    });
    let (passed, refused) = (worker().handed_off, worker().handoff_full);
    assert!(refused > 0 && passed >= 1024, "{passed} fit, {refused} did not");
    assert_eq!(lab.drops(), refused);
    closed.store(false, Ordering::Release);
    let arrived = lab.take_many(&mut b, passed as usize);
    assert_eq!(arrived, (0..passed as u16).collect::<Vec<_>>(), "the first ones, in their order");
    assert_eq!(lab.drops(), refused);
    lab.close([a, b]);
}

#[test]
fn a_full_wire_drops_and_counts() {
    let mut lab = Lab::new(1, Polling::Balanced);
    let (port, mut b) = MemoryPort::pair(100);
    lab.add_guest(2, VifFlags::empty(), vec![Queue::new(Box::new(port))]);
    let mut a = lab.add_plain(1);
    lab.send(&mut a, 1, 2, 0..500);
    patiently("drops of the port", || {
        let figures = lab.monitor().ports()[0].counters.figures();
        (figures.tx_packets == 100 && figures.tx_dropped() == 400).then_some(())
    });
    patiently("drops of the interface", || (lab.drops() == 400).then_some(()));
    let lost = lab.tables.stats().vif_drops(guest(2), Cores::All);
    assert_eq!(lost[DropReason::InterfaceDrop.index()], 400);
    let totals = |lab: &Lab, cores| {
        let totals = lab.workers.port_totals(guest(2), cores);
        (totals.out_packets, totals.out_errors)
    };
    assert_eq!([Cores::All, Cores::One(0)].map(|cores| totals(&lab, cores)), [(100, 400); 2]);
    assert_eq!(totals(&lab, Cores::One(1)), (0, 0));
    lab.workers.clear_port_totals(guest(2), Cores::One(1));
    assert_eq!(totals(&lab, Cores::All), (100, 400), "another worker's");
    lab.workers.clear_port_totals(guest(2), Cores::All);
    assert_eq!(totals(&lab, Cores::All), (0, 0));

    assert_eq!(lab.take_many(&mut b, 100), (0..100).collect::<Vec<_>>());
    lab.send(&mut a, 1, 2, 0..1);
    patiently("packet behind the clearing", || (totals(&lab, Cores::All) == (1, 0)).then_some(()));
    assert_eq!(lab.drops(), 400);
    lab.close([a, b]);
}
