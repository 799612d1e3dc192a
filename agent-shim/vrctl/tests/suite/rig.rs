//! A control server in mock mode, and the program under test.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::Duration;

use sandesh::netlink::{FrameReader, Header, write_request};
use sandesh::{Compat, Message, Record, decode};
use vr_shim::{About, Machine, MachinePort, Recorder, Server};
use vr_tables::control::{AttachError, Attached, Datapath, Tables, TablesConfig};
use vr_tables::options::Options;
use vr_tables::stats::WorkerStats;
use vr_tables::vif::Vif;
use vr_types::{FlowIndex, Release, VifId};

/// Ports that nobody needs.
struct NoPorts;

impl Datapath for NoPorts {
    fn attach(&mut self, _: &Vif) -> Result<Attached, AttachError> {
        Ok(Attached::default())
    }

    fn detach(&mut self, _: VifId) {}

    fn flow_changed(&mut self, _: FlowIndex) {}

    fn settle(&mut self) {}
}

/// Ports on two workers, as those of the samples.
fn machine() -> Machine {
    let port = |vif, name: &str, worker| {
        let name = name.to_owned();
        MachinePort { vif, name, worker, ..MachinePort::default() }
    };
    let of_all =
        |worker| [(0, "eth1"), (1, "vhost0"), (2, "unix")].map(|(vif, name)| port(vif, name, worker));
    let ports = of_all(0).into_iter().chain([port(5, "tapperf", 0)]).chain(of_all(1)).collect();
    Machine { workers: 2, ports, buffers: 16_384, free_buffers: 16_384 }
}

fn about() -> About {
    About {
        version: "peer".to_owned(),
        build_time: "2026-11-23 00:00:00".to_owned(),
        build_host: "peer".to_owned(),
        build_user: "peer".to_owned(),
    }
}

/// Answers on the status socket as a daemon that listens on this port. Ends with the process.
fn tell_port(directory: &Path, port: u16) {
    let report = vr_observe::Report { control_port: Some(port), ..vr_observe::Report::default() };
    let report = serde_json::to_string(&report).unwrap();
    let socket = UnixListener::bind(directory.join(vr_observe::SOCKET)).unwrap();
    std::thread::spawn(move || {
        for client in socket.incoming() {
            let _ = client.unwrap().write_all(report.as_bytes());
        }
    });
}

/// A server that runs as long as this lives.
pub(crate) struct Rig {
    directory: tempfile::TempDir,
    /// Counters and logs of the workers.
    pub(crate) drops: Vec<Arc<WorkerStats>>,
    /// Where clients of R2.20 are served.
    port: Option<u16>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Rig {
    /// With nothing in its tables.
    pub(crate) fn new() -> Self {
        Self::recording(None)
    }

    /// Records into a file.
    pub(crate) fn recording(file: Option<&Path>) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let server = Server::bind(directory.path(), about()).unwrap();
        let recorder = file.map(|file| Recorder::begin(file).unwrap());
        Self::serving(directory, server.with_recorder(recorder), None)
    }

    /// Serves clients of R2.20, over TCP.
    pub(crate) fn r220() -> Self {
        let directory = tempfile::tempdir().unwrap();
        // A port that was free a moment ago.
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let server = Server::bind_r220((Ipv4Addr::LOCALHOST, port).into(), about()).unwrap();
        tell_port(directory.path(), port);
        Self::serving(directory, server, Some(port))
    }

    fn serving(directory: tempfile::TempDir, server: Server, port: Option<u16>) -> Self {
        let release = if port.is_some() { Release::R220 } else { Release::Current };
        let mut server = server.with_machine(Box::new(machine));
        let config = TablesConfig {
            workers: 2,
            directory: Some(directory.path().to_owned()),
            mock: true,
            options: Options { release, flow_hold_limit: 1000, ..Options::default() },
            ..TablesConfig::default()
        };
        let mut tables = Tables::new(config).unwrap();
        let drops = tables.worker_stats().to_vec();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Relaxed) {
                server.poll(&mut tables, &mut NoPorts, Duration::from_millis(20), None).unwrap();
            }
        });
        Self { directory, drops, port, stop, thread: Some(thread) }
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Sends a request, which must succeed; returns its objects.
    pub(crate) fn send(&self, request: &dyn Record) -> Vec<Message> {
        match self.port {
            None => {
                let stream = UnixStream::connect(self.directory().join("dpdk_netlink")).unwrap();
                exchange(stream, Compat::Current, request)
            }
            Some(port) => {
                let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
                exchange(stream, Compat::R220, request)
            }
        }
    }

    /// `vrctl WORD ARGUMENTS --sock-dir DIR`, as test rigs call it.
    pub(crate) fn run(&self, line: &str) -> Done {
        let directory = self.directory().to_str().unwrap();
        Done::of(vrctl().args(words(line)).args(["--sock-dir", directory]).output().unwrap())
    }

    /// `vrctl --socket-dir DIR WORD ARGUMENTS`, as on a node.
    pub(crate) fn run_on_node(&self, line: &str) -> Done {
        let directory = self.directory().to_str().unwrap();
        Done::of(vrctl().args(["--socket-dir", directory]).args(words(line)).output().unwrap())
    }

    /// As [`run`](Self::run); must succeed.
    pub(crate) fn ok(&self, line: &str) -> String {
        let done = self.run(line);
        assert_eq!(done.status, 0, "{line}: {}{}", done.out, done.error);
        done.out
    }

    /// What a command that never ends has printed when so many bytes are there; it is ended then.
    pub(crate) fn begin(&self, line: &str, bytes: usize) -> String {
        let directory = self.directory().to_str().unwrap();
        let mut command = vrctl();
        command.args(words(line)).args(["--sock-dir", directory]).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut text = vec![0; bytes];
        child.stdout.take().unwrap().read_exact(&mut text).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// Sends a request, which must succeed; returns its objects.
fn exchange(mut stream: impl Read + Write, compat: Compat, request: &dyn Record) -> Vec<Message> {
    let mut bytes = Vec::new();
    write_request(&Header::request(0), compat, &[request], &mut bytes);
    stream.write_all(&bytes).unwrap();
    let mut reader = FrameReader::new();
    loop {
        if let Some(frame) = reader.next_frame().unwrap() {
            let mut messages = decode(frame.payload, compat).map(Result::unwrap);
            let Some(Message::Response(response)) = messages.next() else { panic!("no response") };
            assert!(response.resp_code >= 0, "{}: {}", request.kind().name(), response.resp_code);
            return messages.collect();
        }
        assert!(reader.read_from(&mut stream).unwrap() > 0);
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What a command did.
#[derive(Debug)]
pub(crate) struct Done {
    pub(crate) status: i32,
    pub(crate) out: String,
    pub(crate) error: String,
}

impl Done {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        Self { status: output.status.code().unwrap(), out: text(output.stdout), error: text(output.stderr) }
    }
}

/// The program.
pub(crate) fn vrctl() -> Command {
    Command::new(env!("CARGO_BIN_EXE_vrctl"))
}

/// Arguments, which are parted by spaces; one with spaces stands in quotes.
fn words(line: &str) -> Vec<String> {
    let parts = line.split('"').enumerate();
    let parts = parts.flat_map(|(number, part)| match number % 2 {
        0 => part.split_whitespace().map(ToOwned::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    parts.collect()
}
