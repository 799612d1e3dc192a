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

/// A reader that has not taken everything within this time is left alone: the sign of life must not wait for it.
const PATIENCE: Duration = Duration::from_millis(50);

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

    fn answer(&self, stream: UnixStream, folding: &Folding) -> io::Result<()> {
        let text = serde_json::to_string(&self.source.report(folding))?;
        stream.set_nonblocking(true)?;
        write_within(PATIENCE, stream, text.as_bytes())
    }
}

/// Writes everything, or what a reader takes within `time`. The stream does not block.
fn write_within(time: Duration, mut stream: UnixStream, mut bytes: &[u8]) -> io::Result<()> {
    let end = Instant::now() + time;
    while !bytes.is_empty() {
        match stream.write(bytes) {
            Ok(written) => bytes = bytes.get(written..).unwrap_or_default(),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let left = end.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                let mut fds = [PollFd::new(stream.as_fd(), PollFlags::POLLOUT)];
                // Rounded up, so that it does not turn through the last millisecond.
                let millis = left.as_millis().min(u128::from(u16::MAX - 1)) as u16 + 1;
                poll(&mut fds, PollTimeout::from(millis))?;
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Drop for StatusSocket {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = std::fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::write_within;
    use std::io::{ErrorKind, Read};
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    #[test]
    fn nobody_is_waited_for_who_takes_a_little_again_and_again() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = [0; 4096];
            while theirs.read(&mut bytes).unwrap() > 0 {
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        let (start, bytes) = (Instant::now(), vec![0; 16 << 20]);
        let error = write_within(Duration::from_millis(20), ours, &bytes).unwrap_err();
        // Sixteen megabytes would take twenty seconds.
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        reader.join().unwrap();
    }

    #[test]
    fn who_reads_gets_everything() {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        let reader = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            theirs.read_to_end(&mut bytes).unwrap();
            bytes
        });
        let bytes: Vec<u8> = (0..4_u32 << 20).map(|place| place as u8).collect();
        write_within(Duration::from_mins(1), ours, &bytes).unwrap();
        assert!(reader.join().unwrap() == bytes);
    }
}
