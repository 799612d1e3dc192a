//! A daemon in test mode, and its client.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use agent_sim::Object;
use agent_sim::netlink::{self, HEADER, ReplyHeader};
use tempfile::TempDir;

const PATIENCE: Duration = Duration::from_secs(20);
/// `nlmsg_type` of R2.20's agent.
const AGENT: u16 = 10;

/// Entries of the flow table, overflow included.
pub(crate) const FLOWS: u64 = 4096 + 1024;

/// Below those that the system gives to clients: one of these could connect to itself.
fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let number = std::process::id() * 64 + NEXT.fetch_add(1, Relaxed);
        let port = 12_000 + (number % 18_000) as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

pub(crate) struct Node {
    directory: TempDir,
    daemon: Child,
    port: u16,
    pub(crate) client: Client,
}

impl Node {
    /// In test mode, with empty tables.
    pub(crate) fn new() -> Self {
        Self::in_mode(true)
    }

    /// In test mode or as on a real node, with empty tables.
    pub(crate) fn in_mode(mock: bool) -> Self {
        let directory = tempfile::Builder::new().prefix("vrx-o-").tempdir_in("/dev/shm").unwrap();
        let file = directory.path().join("vrouterd.toml");
        let port = free_port();
        let text = format!(
            "socket_dir = \"{}\"\nmock = {mock}\ncompat = \"r2.20\"\ncontrol_port = {port}\n\
             [tables]\nflows = 4096\nflow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
             [buffers]\npackets = 2048\nsuper_frames = 16\n[log]\nlevel = \"error\"\n",
            directory.path().join("s").display()
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_vrouterd"));
        command.arg("--config").arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        let mut daemon = command.spawn().unwrap();
        let deadline = Instant::now() + PATIENCE;
        let stream = loop {
            match TcpStream::connect(("127.0.0.1", port)) {
                Ok(stream) => break stream,
                Err(error) => assert!(Instant::now() < deadline, "nobody listens: {error}"),
            }
            assert!(daemon.try_wait().unwrap().is_none(), "the daemon has ended");
            std::thread::sleep(Duration::from_millis(5));
        };
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { directory, daemon, port, client: Client { stream, sequence: 0 } }
    }

    /// Another client.
    pub(crate) fn connect(&self) -> Client {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream, sequence: 0 }
    }

    /// What a daemon of another directory says that is to listen on the same port.
    pub(crate) fn rival(&self) -> String {
        let file = self.directory.path().join("rival.toml");
        let text = format!(
            "socket_dir = \"{}\"\nmock = true\ncompat = \"r2.20\"\ncontrol_port = {}\n\
             [tables]\nflows = 1024\nbridge = 1024\n[log]\nlevel = \"error\"\n",
            self.directory.path().join("r").display(),
            self.port
        );
        std::fs::write(&file, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_vrouterd")).arg("--config").arg(file).output().unwrap();
        assert_eq!(output.status.code(), Some(3));
        String::from_utf8(output.stderr).unwrap()
    }

    pub(crate) fn sockets(&self) -> PathBuf {
        self.directory.path().join("s")
    }

    /// A flow entry as R2.20's agent maps it.
    pub(crate) fn flow_entry(&self, index: i64) -> [u8; 128] {
        let file = std::fs::File::open(self.sockets().join("flow.shmem")).unwrap();
        assert_eq!(file.metadata().unwrap().len(), FLOWS * 128);
        let mut entry = [0; 128];
        file.read_exact_at(&mut entry, index as u64 * 128).unwrap();
        entry
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.daemon.kill().and_then(|()| self.daemon.wait());
    }
}

/// One connection.
pub(crate) struct Client {
    stream: TcpStream,
    sequence: u32,
}

impl Client {
    /// Sends one payload; everything that it is answered with.
    pub(crate) fn exchange(&mut self, message: &[u8]) -> Vec<Object> {
        self.sequence += 2;
        self.stream.write_all(&netlink::request(AGENT, self.sequence, 1, message)).unwrap();
        let mut objects = Vec::new();
        loop {
            let mut header = [0; HEADER];
            self.stream.read_exact(&mut header).unwrap();
            // As a client of R2.20 checks it: both lengths include the padding.
            let reply = ReplyHeader::parse(&header, AGENT).unwrap();
            assert_eq!((reply.sequence, reply.payload % 4), (self.sequence, 0));
            let mut payload = vec![0; reply.payload];
            self.stream.read_exact(&mut payload).unwrap();
            objects.extend(Object::all(&payload).unwrap());
            if !reply.more {
                return objects;
            }
        }
    }

    /// Sends one message, as R2.20 does; its response code and its objects.
    pub(crate) fn ask(&mut self, message: &[u8]) -> (i64, Vec<Object>) {
        let mut objects = self.exchange(message);
        let response = objects.remove(0);
        assert_eq!((response.name.as_str(), response.number(1)), ("vr_response", 4));
        assert!(objects.iter().all(|object| object.name != "vr_response"), "one response for a request");
        (response.number(2), objects)
    }

    /// A request that succeeds.
    #[track_caller]
    pub(crate) fn done(&mut self, message: &[u8]) {
        assert_eq!(self.ask(message), (0, Vec::new()));
    }

    /// A request that is refused with this code, without an object.
    #[track_caller]
    pub(crate) fn refused(&mut self, message: &[u8], code: i64) {
        assert_eq!(self.ask(message), (code, Vec::new()));
    }

    /// A request that is answered with one object.
    #[track_caller]
    pub(crate) fn object(&mut self, message: &[u8]) -> Object {
        let (code, mut objects) = self.ask(message);
        assert_eq!((code, objects.len()), (0, 1));
        objects.remove(0)
    }
}
