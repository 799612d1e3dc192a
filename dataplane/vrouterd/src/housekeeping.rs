//! The thread beside the control thread: the sign of life for the kernel's side, counters that others map, and the
//! status socket.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vr_observe::Folding;
use vr_runtime::Monitor;
use vr_tables::bridge_folding::BridgeFolding;
use vr_tables::control::Tables;
use vr_tables::flow::FlowFolding;

use crate::placement;
use crate::ports::Fabrics;
use crate::status::StatusSocket;

/// Entries touched by traffic are fresh within this time, with room to spare to what is promised, 100 ms.
const ROUND: Duration = Duration::from_millis(50);

/// The running thread. Ends it when it is dropped.
pub(crate) struct Housekeeping {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

struct Rounds {
    flows: FlowFolding,
    bridge: BridgeFolding,
    monitor: Monitor,
    fabrics: Fabrics,
    socket: StatusSocket,
    figures: Folding,
}

impl Housekeeping {
    /// Starts it.
    pub(crate) fn start(
        tables: &Tables,
        monitor: Monitor,
        fabrics: Fabrics,
        socket: StatusSocket,
        cpus: &[u16],
    ) -> io::Result<Self> {
        let cpus = cpus.to_vec();
        let mut rounds = Rounds {
            flows: tables.flow_folding(),
            bridge: tables.bridge_folding(),
            monitor,
            fabrics,
            socket,
            figures: Folding::default(),
        };
        let stop = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name("housekeeping".to_owned()).spawn(move || {
            placement::confine("housekeeping", &cpus);
            while !seen.load(Ordering::Relaxed) {
                rounds.run();
            }
        })?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Rounds {
    fn run(&mut self) {
        self.fabrics.beat(self.monitor.heartbeat());
        self.fold();
        // Waits for the rest of the round.
        self.socket.serve(ROUND, &self.figures);
    }

    fn fold(&mut self) {
        let start = Instant::now();
        let flows = self.flows.run() as u64;
        let bridge = self.bridge.run() as u64;
        let took = start.elapsed().as_micros() as u64;
        let figures = &mut self.figures;
        *figures = Folding {
            rounds: figures.rounds + 1,
            last_flows: flows,
            last_bridge: bridge,
            flows: figures.flows + flows,
            bridge: figures.bridge + bridge,
            longest_us: figures.longest_us.max(took),
        };
    }
}

impl Drop for Housekeeping {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ = thread.join();
        }
    }
}
