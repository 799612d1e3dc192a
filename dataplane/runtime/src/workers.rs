//! The control thread's side of the workers.

use std::io;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use vr_forward::{Forwarder, Now, Output, Shared};
use vr_frame::{Batch, FramePool};
use vr_tables::control::{AttachError, Attached, Datapath, DeviceTotals, PortTotals, Tables};
use vr_tables::grace::Grace;
use vr_tables::stats::Cores;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, VifId, WorkerId};

use crate::mailbox::{Command, Mailbox};
use crate::monitor::{Monitor, PortEntry, PortList};
use crate::moves::Moves;
use crate::poller::Poller;
use crate::polling::Polling;
use crate::port::{PortFactory, Queue};
use crate::slots::Slots;
use crate::worker::{COMMANDS, Worker};
use crate::{Opened, cpus};

/// How long the control thread waits for a worker; it answers with its next pass unless it has died.
const PATIENCE: Duration = Duration::from_secs(5);

/// Flows whose packets wait for the end of the commands that came together, at the most.
const FLOWS: usize = 256;

/// How workers run.
#[derive(Clone, Debug, Default)]
pub struct WorkersConfig {
    /// CPUs that they are pinned to, in turn; those that do not exist are left out, and all are used without any.
    pub cpus: Vec<usize>,
    /// What a worker without packets does.
    pub polling: Polling,
}

/// Why there are no workers.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// A thread could not be made.
    #[error("a worker's thread cannot be started: {0}; raise the limit of processes (RLIMIT_NPROC)")]
    Thread(io::Error),
    /// A descriptor could not be made.
    #[error("a worker's event descriptor cannot be made: {0}; raise the limit of open files (RLIMIT_NOFILE)")]
    Event(nix::Error),
}

/// All workers, and the ports that they have. Ends them when it is dropped.
pub struct Workers<F> {
    monitor: Monitor,
    threads: Vec<JoinHandle<FramePool>>,
    factory: F,
    grace: Arc<Grace>,
    /// The worker that gets the next port.
    next: usize,
    /// Flows that were changed and that workers have not been told of.
    changed_flows: Vec<FlowIndex>,
}

impl<F: PortFactory> Workers<F> {
    /// Starts one worker for each pool; `tables` has to be made for as many.
    ///
    /// # Errors
    /// [`StartError`] when the system has no room for the threads.
    pub fn start(
        tables: &Tables,
        pools: Vec<FramePool>,
        config: &WorkersConfig,
        factory: F,
    ) -> Result<Self, StartError> {
        let mailboxes: Arc<[Mailbox]> = (0..pools.len())
            .map(|_| Mailbox::new())
            .collect::<Result<Vec<_>, _>>()
            .map_err(StartError::Event)?
            .into();
        let monitor = Monitor { mailboxes: Arc::clone(&mailboxes), ports: PortList::default() };
        let places = cpus::assign(pools.len() as u8, &config.cpus, &cpus::usable());
        let mut started = Self {
            monitor,
            threads: Vec::new(),
            factory,
            grace: Arc::clone(tables.grace()),
            next: 0,
            changed_flows: Vec::with_capacity(FLOWS),
        };
        for ((pool, stats), cpu) in pools.into_iter().zip(tables.worker_stats()).zip(places) {
            let id = pool.worker();
            let worker = Worker {
                id,
                forwarder: Forwarder::new(shared(tables, id)),
                stats: Arc::clone(stats),
                polling: config.polling,
                poller: Poller::new(mailboxes[id.index()].bell.fd()).map_err(StartError::Event)?,
                slots: Slots::new(),
                batch: Batch::new(),
                out: Output::new(),
                moving: Vec::with_capacity(4 * vr_frame::BATCH),
                changed: Vec::with_capacity(COMMANDS),
                pieces: Vec::with_capacity(4 * vr_frame::BATCH),
                last_tick: Now(0),
                looked: false,
                mailboxes: Arc::clone(&mailboxes),
                pool,
            };
            let thread = std::thread::Builder::new().name(format!("worker{id}")).spawn(move || {
                pin(id, cpu);
                worker.run()
            });
            started.threads.push(thread.map_err(StartError::Thread)?);
        }
        Ok(started)
    }

    /// Reads figures, from any thread.
    #[must_use]
    pub fn monitor(&self) -> Monitor {
        self.monitor.clone()
    }

    /// The factory.
    pub fn factory(&mut self) -> &mut F {
        &mut self.factory
    }
}

impl<F> Workers<F> {
    /// Gives all workers a command about an interface and waits until they have executed it.
    fn tell_all(&self, vif: VifId, command: impl Fn(mpsc::Sender<()>) -> Command) {
        let (done, executed) = mpsc::channel();
        for mailbox in self.monitor.mailboxes.iter() {
            mailbox.send(command(done.clone()));
        }
        for _ in self.monitor.mailboxes.iter() {
            if executed.recv_timeout(PATIENCE).is_err() {
                tracing::error!(%vif, "a worker does not open or close a port");
                break;
            }
        }
    }

    /// Stops all workers between two batches; each goes on when it is told other numbers of interfaces.
    fn pause(&self) -> Vec<mpsc::Sender<Arc<Moves>>> {
        let (paused, waits) = mpsc::channel();
        let stop = |mailbox: &Mailbox| {
            let (word, go_on) = mpsc::channel();
            mailbox.send(Command::Renumber { paused: paused.clone(), go_on });
            word
        };
        let words: Vec<_> = self.monitor.mailboxes.iter().map(stop).collect();
        drop(paused);
        // However late one is: with the former numbers it would send to other guests. One that died ends the process.
        for _ in &words {
            if waits.recv().is_err() {
                break;
            }
        }
        words
    }

    /// Gives the queues of an interface to workers.
    fn hand_out(&mut self, vif: &Vif, queues: Vec<Queue>) {
        let mailboxes = &self.monitor.mailboxes;
        let first = self.next;
        let mut sender = None;
        for (number, queue) in queues.into_iter().enumerate() {
            let worker = (first + number) % mailboxes.len();
            if queue.sends {
                sender.get_or_insert(WorkerId(worker as u8));
            }
            let entry = PortEntry {
                vif: vif.id,
                name: vif.details.name.clone(),
                kind: queue.port.kind(),
                worker: WorkerId(worker as u8),
                detail: queue.detail.clone(),
                counters: Arc::clone(queue.port.counters()),
                cleared: PortTotals::default(),
            };
            self.monitor.ports.change(|ports| ports.push(entry));
            mailboxes[worker].send(Command::Attach { vif: vif.id, queue });
        }
        self.next = (first + 1) % mailboxes.len();
        // The interface is published behind this: a packet for it then finds its way.
        self.tell_all(vif.id, |done| Command::Route { vif: vif.id, to: sender, done });
    }
}

impl<F: PortFactory> Datapath for Workers<F> {
    fn attach(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        let Opened { queues, device } = self.factory.open(vif)?;
        if !queues.is_empty() {
            self.hand_out(vif, queues);
        }
        Ok(device)
    }

    fn probe(&mut self, vif: &Vif) -> Result<Attached, AttachError> {
        self.factory.probe(vif)
    }

    fn has_lost_device(&self, vif: VifId) -> bool {
        self.factory.has_lost_device(vif)
    }

    fn renumber(&mut self, moves: &[(VifId, VifId)], publish: &mut dyn FnMut()) {
        if moves.is_empty() {
            return publish();
        }
        let all = Arc::new(Moves::new(moves));
        let words = self.pause();
        publish();
        self.monitor.mailboxes.iter().for_each(|mailbox| mailbox.handoff.renumber(&all));
        self.monitor.ports.renumber(&all);
        for word in words {
            // Who does not listen has died.
            let _ = word.send(Arc::clone(&all));
        }
        self.factory.renumbered(moves);
    }

    fn changed(&mut self, vif: &Vif) {
        self.factory.changed(vif);
    }

    fn detach(&mut self, vif: VifId) {
        self.tell_all(vif, |done| Command::Detach { vif, done });
        self.monitor.ports.change(|ports| ports.retain(|port| port.vif != vif));
        self.factory.closed(vif);
    }

    fn device_totals(&self, vif: VifId) -> DeviceTotals {
        self.factory.device_totals(vif)
    }

    fn port_totals(&self, vif: VifId, cores: Cores) -> PortTotals {
        self.monitor.ports.totals(vif, cores)
    }

    fn clear_port_totals(&mut self, vif: VifId, cores: Cores) {
        self.monitor.ports.clear_totals(vif, cores);
    }

    fn flow_changed(&mut self, flow: FlowIndex) {
        self.changed_flows.push(flow);
        if self.changed_flows.len() == FLOWS {
            self.go_on();
        }
    }

    fn go_on(&mut self) {
        if self.changed_flows.is_empty() {
            return;
        }
        for mailbox in self.monitor.mailboxes.iter() {
            mailbox.send_all(self.changed_flows.iter().map(|flow| Command::FlowChanged(*flow)));
        }
        self.changed_flows.clear();
    }

    fn settle(&mut self) {
        let token = self.grace.token();
        while !self.grace.passed(&token) {
            std::thread::yield_now();
        }
    }
}

impl<F> Drop for Workers<F> {
    fn drop(&mut self) {
        for mailbox in self.monitor.mailboxes.iter().take(self.threads.len()) {
            mailbox.send(Command::Stop);
        }
        // A panic of a thread has been printed already.
        let pools: Vec<FramePool> = self.threads.drain(..).filter_map(|thread| thread.join().ok()).collect();
        if let Some(mut pool) = pools.into_iter().next() {
            // A worker that ended later may have handed packets to one that had ended.
            self.monitor.mailboxes.iter().for_each(|mailbox| mailbox.handoff.clear(&mut pool));
        }
        self.monitor.ports.change(Vec::clear);
    }
}

fn shared(tables: &Tables, worker: WorkerId) -> Shared {
    Shared {
        worker,
        tables: tables.reader(),
        flows: Arc::clone(tables.flow_table()),
        grace: Arc::clone(tables.grace()),
        stats: Arc::clone(&tables.worker_stats()[worker.index()]),
        holds: Arc::clone(tables.holds()),
    }
}

fn pin(worker: WorkerId, cpu: Option<usize>) {
    let Some(cpu) = cpu else {
        return tracing::warn!(%worker, "no CPU may be used by name; the worker runs wherever the system puts it");
    };
    match cpus::pin(cpu) {
        Ok(()) => tracing::info!(%worker, cpu, "worker started"),
        Err(error) => tracing::warn!(%worker, cpu, %error, "the worker cannot be pinned"),
    }
}
