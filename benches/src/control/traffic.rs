//! Packets at a steady rate from one guest to another.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context;
use vr_frame::Packet;
use vr_types::Mac;

use crate::datagram::datagram;

use super::served::{Ends, PORTS, RECEIVER_ADDRESS, SENDER_ADDRESS};

/// How often packets are sent and taken.
const TICK: Duration = Duration::from_millis(1);
/// Time for which packets are sent at once, at the most.
const LATE: Duration = Duration::from_millis(10);
/// How long the last packets may be under way.
const LAST: Duration = Duration::from_secs(2);

pub(super) struct Traffic {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u64, u64)>,
}

impl Traffic {
    pub(super) fn start(ends: Ends, rate: u32) -> anyhow::Result<Self> {
        let stop = Arc::<AtomicBool>::default();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("traffic".to_owned());
        let thread = thread.spawn(move || run(ends, rate, &stopped)).context("starting the traffic")?;
        Ok(Self { stop, thread })
    }

    /// Packets sent and received.
    pub(super) fn stop(self) -> anyhow::Result<(u64, u64)> {
        self.stop.store(true, Relaxed);
        self.thread.join().ok().context("the traffic has failed")
    }
}

/// What the wire does not take counts as sent: it is a packet that a device would have lost. When this thread did not get
/// the processor in time, it sends less instead of a burst that no device would send.
fn run(mut ends: Ends, rate: u32, stopped: &AtomicBool) -> (u64, u64) {
    let mac = Mac([2, 0, 0, 0, 0, 3]);
    let bytes = datagram(Mac::VIRTUAL_ROUTER, mac, [SENDER_ADDRESS, RECEIVER_ADDRESS], PORTS);
    let (mut last, mut sent, mut received) = (Instant::now(), 0, 0);
    while !stopped.load(Relaxed) {
        std::thread::sleep(TICK);
        let now = Instant::now();
        let due = now.duration_since(last).min(LATE).as_secs_f64() * f64::from(rate);
        last = now;
        for _ in 0..due as u64 {
            if let Some(frame) = ends.pool.copy_of(&bytes)
                && let Err(packet) = ends.sender.send(Packet::plain(frame))
            {
                ends.pool.free(packet.frame);
            }
        }
        sent += due as u64;
        received += take(&mut ends);
    }
    let end = Instant::now();
    while received < sent && end.elapsed() < LAST {
        std::thread::sleep(TICK);
        received += take(&mut ends);
    }
    (sent, received)
}

/// Takes what has arrived, and gives the buffers back.
fn take(ends: &mut Ends) -> u64 {
    let mut count = 0;
    while let Some(packet) = ends.receiver.take() {
        // TTL, and the addresses of the datagram.
        let bytes = packet.frame.bytes();
        count += u64::from(bytes.get(22) == Some(&63) && bytes.get(26..30) == Some(&SENDER_ADDRESS[..]));
        ends.pool.free(packet.frame);
    }
    ends.pool.collect();
    count
}
