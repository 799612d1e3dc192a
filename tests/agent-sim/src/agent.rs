//! The running agent: pkt0 and the thread that answers flow misses.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::control::Control;
use crate::flows::{self, Decision};
use crate::packet::Trap;
use crate::program;
use crate::service;
use crate::startup;
use crate::topology::{Reach, Topology, Tunnel};

/// How often the flow thread looks whether it shall end.
const GLANCE: Duration = Duration::from_millis(100);
/// How many parts a slow agent sends its objects in.
const PARTS: usize = 4;
const LARGEST_TRAP: usize = 9216;

/// An agent that has programmed its vrouter and answers it until it is dropped.
#[derive(Debug)]
pub struct Agent {
    control: Control,
    own: usize,
    picture: Arc<RwLock<Arc<Topology>>>,
    stop: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
    pkt0: UnixDatagram,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Record {
    decisions: Vec<Decision>,
    errors: Vec<String>,
}

impl Agent {
    /// Starts as a real agent does and sends all objects of node `own`. The socket of an earlier agent is replaced.
    pub fn start(directory: &Path, topology: &Arc<Topology>, own: usize, patience: Duration) -> Result<Self> {
        Self::start_slowly(directory, topology, own, patience, Duration::ZERO)
    }

    /// As [`Agent::start`], with a pause after each part of the objects: a real agent waits for its configuration.
    pub fn start_slowly(
        directory: &Path,
        topology: &Arc<Topology>,
        own: usize,
        patience: Duration,
        pause: Duration,
    ) -> Result<Self> {
        let pkt0 = directory.join("agent_pkt0");
        match std::fs::remove_file(&pkt0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("removing {}", pkt0.display()));
            }
            _ => {}
        }
        let socket = UnixDatagram::bind(&pkt0).with_context(|| format!("binding {}", pkt0.display()))?;
        socket.set_read_timeout(Some(GLANCE))?;
        let pkt0 = socket.try_clone().context("another descriptor of pkt0")?;
        let mut control = startup::start(directory, patience)?;
        let flow_control = Control::connect(directory, Duration::ZERO)?;

        let (stop, record) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Record::default())));
        let picture = Arc::new(RwLock::new(Arc::clone(topology)));
        let answering = Answering {
            socket,
            peer: Some(directory.join("dpdk_pkt0")),
            control: flow_control,
            picture: Arc::clone(&picture),
            own,
            stop: Arc::clone(&stop),
            record: Arc::clone(&record),
        };
        let thread =
            std::thread::Builder::new().name(format!("agent{own}")).spawn(move || answering.run())?;
        let objects = program::node(topology, own, Tunnel::MplsOverUdp, Reach::Bridged);
        let parts = if pause.is_zero() { 1 } else { PARTS };
        for part in objects.chunks(objects.len().div_ceil(parts)) {
            control.apply(part)?;
            std::thread::sleep(pause);
        }
        Ok(Self { control, own, picture, stop, record, pkt0, thread: Some(thread) })
    }

    /// The main connection.
    pub fn control(&mut self) -> &mut Control {
        &mut self.control
    }

    /// The agent's end of pkt0, to send by. It is connected once the vrouter's end was there.
    pub fn pkt0(&self) -> &UnixDatagram {
        &self.pkt0
    }

    /// Takes on the services of another picture, all else being equal: backends come and go. No flow is decided in the
    /// meantime.
    pub fn change_services(&mut self, topology: &Arc<Topology>) -> Result<()> {
        let mut picture = self.picture.write().unwrap_or_else(PoisonError::into_inner);
        let services = 0..topology.services.len();
        let composites: Vec<_> =
            services.map(|index| service::composite(topology, self.own, index)).collect();
        self.control.apply(&composites)?;
        *picture = Arc::clone(topology);
        Ok(())
    }

    /// All decisions since the start.
    pub fn decisions(&self) -> Vec<Decision> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).decisions.clone()
    }

    /// What went wrong while flows were answered; empty in a sound run.
    pub fn errors(&self) -> Vec<String> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).errors.clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ended = thread.join();
        }
    }
}

struct Answering {
    socket: UnixDatagram,
    /// The vrouter's socket, until this one is connected with it.
    peer: Option<PathBuf>,
    control: Control,
    picture: Arc<RwLock<Arc<Topology>>>,
    own: usize,
    stop: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
}

impl Answering {
    fn run(mut self) {
        let mut datagram = vec![0; LARGEST_TRAP];
        while !self.stop.load(Ordering::Relaxed) {
            self.connect();
            let Ok(length) = self.socket.recv(&mut datagram) else {
                continue;
            };
            let Some(trap) = Trap::parse(&datagram[..length]) else {
                self.record().errors.push(format!("{length} bytes on pkt0 are no trap"));
                continue;
            };
            match self.answer(&trap) {
                Ok(decision) => self.record().decisions.extend(decision),
                Err(error) => {
                    self.record().errors.push(format!("{error:#}"));
                    if self.control.is_closed() {
                        return;
                    }
                }
            }
        }
    }

    /// Tries as often as something comes or is looked for. For a socket that is not connected with the sender the kernel
    /// keeps ten datagrams only.
    fn connect(&mut self) {
        if self.peer.as_ref().is_some_and(|peer| self.socket.connect(peer).is_ok()) {
            self.peer = None;
        }
    }

    fn answer(&mut self, trap: &Trap<'_>) -> Result<Option<Decision>> {
        let picture = self.picture.read().unwrap_or_else(PoisonError::into_inner);
        flows::answer(&picture, self.own, &mut self.control, trap)
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
