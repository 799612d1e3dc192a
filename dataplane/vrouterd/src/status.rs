//! The socket that gives a report to whoever connects (`vr_observe`).

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vr_observe::{Folding, Port, Report, SOCKET};
use vr_runtime::{Monitor, PortEntry};
use vr_shim::{Machine, MachinePort, MachineSource};
use vr_tables::control::Tables;

use crate::config::{Compat, Config};
use crate::flow_figures::FlowFigures;
use crate::ports::Fabrics;

/// A reader that takes nothing for so long is left alone.
const PATIENCE: Duration = Duration::from_millis(20);

/// Where the figures come from.
pub(crate) struct Source {
    instance: String,
    control_port: Option<u16>,
    started: Instant,
    monitor: Monitor,
    fabrics: Fabrics,
    flows: FlowFigures,
}

impl Source {
    pub(crate) fn new(config: &Config, tables: &Tables, monitor: Monitor, fabrics: Fabrics) -> Self {
        let instance = config.instance.as_str().to_owned();
        let control_port = (config.compat == Compat::R220).then_some(config.control_port.get() as u16);
        let (started, flows) = (Instant::now(), FlowFigures::new(tables));
        Self { instance, control_port, started, monitor, fabrics, flows }
    }

    fn report(&self, folding: &Folding) -> Report {
        Report {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            instance: self.instance.clone(),
            control_port: self.control_port,
            uptime: self.started.elapsed().as_secs(),
            workers: self.monitor.workers(),
            ports: self.monitor.ports().iter().map(port).collect(),
            steering: self.fabrics.report(),
            folding: folding.clone(),
            flows: self.flows.report(),
        }
    }
}

/// Workers, each with so many packet buffers, and ports for the utilities.
pub(crate) fn machine(monitor: Monitor, buffers: u64) -> MachineSource {
    let port = |entry: &PortEntry| {
        let figures = entry.counters.figures();
        MachinePort {
            vif: entry.vif.0,
            name: entry.name.clone(),
            worker: usize::from(entry.worker.0),
            rx_packets: figures.rx_packets,
            rx_bytes: figures.rx_bytes,
            rx_dropped: figures.rx_dropped(),
            tx_packets: figures.tx_packets,
            tx_bytes: figures.tx_bytes,
            tx_dropped: figures.tx_dropped(),
        }
    };
    Box::new(move || {
        let workers = monitor.workers();
        Machine {
            workers: workers.len(),
            ports: monitor.ports().iter().map(port).collect(),
            buffers: workers.len() as u64 * buffers,
            free_buffers: workers.iter().map(|worker| worker.free_buffers).sum(),
        }
    })
}

fn port(entry: &PortEntry) -> Port {
    let figures = entry.counters.figures();
    Port {
        vif: entry.vif.0,
        name: entry.name.clone(),
        kind: entry.kind.name().to_owned(),
        worker: entry.worker.0,
        detail: entry.detail.clone(),
        rx_packets: figures.rx_packets,
        rx_bytes: figures.rx_bytes,
        rx_dropped: figures.rx_dropped(),
        rx_syscalls: figures.rx_syscalls,
        tx_packets: figures.tx_packets,
        tx_bytes: figures.tx_bytes,
        tx_dropped: figures.tx_dropped(),
        tx_syscalls: figures.tx_syscalls,
    }
}

/// The listening socket. Removes its file when it is dropped.
pub(crate) struct StatusSocket {
    listener: UnixListener,
    path: PathBuf,
    source: Source,
}

impl StatusSocket {
    /// Listens in `directory`, which this daemon has for itself: what is there of that name is a dead one's.
    pub(crate) fn bind(directory: &Path, source: Source) -> io::Result<Self> {
        let path = directory.join(SOCKET);
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener, path, source })
    }

    /// Answers who connects within `time`; the figures of the calling thread go into the report.
    pub(crate) fn serve(&self, time: Duration, folding: &Folding) {
        let end = Instant::now() + time;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            let millis = left.as_millis().min(u128::from(u16::MAX)) as u16;
            if !matches!(poll(&mut fds, PollTimeout::from(millis)), Ok(1)) {
                return;
            }
            match self.listener.accept() {
                Ok((stream, _)) => {
                    if let Err(error) = self.answer(stream, folding) {
                        tracing::debug!(%error, "a reader of the report has gone");
                    }
                }
                Err(error) => {
                    tracing::debug!(%error, "a reader of the report has to wait");
                    // It stays readable.
                    return std::thread::sleep(left);
                }
            }
            if left.is_zero() {
                return;
            }
        }
    }

    fn answer(&self, mut stream: UnixStream, folding: &Folding) -> io::Result<()> {
        let text = serde_json::to_string(&self.source.report(folding))?;
        stream.set_nonblocking(false)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.write_all(text.as_bytes())
    }
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}
