//! The control socket, its tables and their workers in a thread, as the daemon joins them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::channel;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use nix::unistd::gettid;
use vr_io::Port;
use vr_runtime::{Opened, PortFactory, Queue, Workers};
use vr_shim::{About, Server};
use vr_tables::control::{AttachError, Tables};
use vr_tables::vif::Vif;
use vr_types::VifId;

use crate::thread_clock::ThreadClock;

/// Ports that were made beforehand.
#[derive(Default)]
pub(crate) struct Prepared(BTreeMap<VifId, Box<dyn Port>>);

impl Prepared {
    pub(crate) fn insert(&mut self, vif: VifId, port: impl Port + 'static) {
        self.0.insert(vif, Box::new(port));
    }
}

impl PortFactory for Prepared {
    fn open(&mut self, vif: &Vif) -> Result<Opened, AttachError> {
        let port = self.0.remove(&vif.id).ok_or_else(|| AttachError::NoDevice(vif.details.name.clone()))?;
        Ok(Opened { queues: vec![Queue::new(port)], ..Opened::default() })
    }

    fn closed(&mut self, _: VifId) {}
}

/// The control thread.
pub(crate) struct Serving {
    stop: Arc<AtomicBool>,
    clock: ThreadClock,
    /// System calls to serve clients.
    calls: Arc<AtomicU64>,
    thread: JoinHandle<anyhow::Result<Tables>>,
}

impl Serving {
    /// Starts to serve in a directory.
    pub(crate) fn start(
        directory: &Path,
        mut tables: Tables,
        mut workers: Workers<Prepared>,
    ) -> anyhow::Result<Self> {
        let mut server = Server::bind(directory, About::version("bench"))?;
        let (stop, calls) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let (stopped, made) = (Arc::clone(&stop), Arc::clone(&calls));
        let (number, numbers) = channel();
        let thread = std::thread::Builder::new().name("control".to_owned()).spawn(move || {
            number.send(gettid())?;
            while !stopped.load(Relaxed) {
                let polled = server.poll(&mut tables, &mut workers, Duration::from_millis(10), None)?;
                made.fetch_add(polled.calls, Relaxed);
                tables.housekeep();
            }
            Ok(tables)
        })?;
        let clock = ThreadClock::of(numbers.recv().context("the control thread has not started")?);
        Ok(Self { stop, clock, calls, thread })
    }

    /// How long the thread has had the processor.
    pub(crate) fn processor_time(&self) -> anyhow::Result<Duration> {
        self.clock.read()
    }

    /// How many system calls the thread has made to serve its clients.
    pub(crate) fn calls(&self) -> u64 {
        self.calls.load(Relaxed)
    }

    /// Ends the thread and the workers; gives the tables back.
    pub(crate) fn stop(self) -> anyhow::Result<Tables> {
        self.stop.store(true, Relaxed);
        self.thread.join().ok().context("the control thread has failed")?
    }
}
