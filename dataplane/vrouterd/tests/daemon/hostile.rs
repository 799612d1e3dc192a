//! Clients of the control socket that do not keep to the protocol. The daemon lives, serves the others, and has as
//! many descriptors afterwards as before.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use agent_sim::netlink::{self, AGENT_TYPE};
use agent_sim::{Agent, Message, statistics};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use crate::node::{Daemon, Node, wait_until};

const DUMP: i32 = 3;
/// What a client may have to wait while others misbehave.
const PROMPT: Duration = Duration::from_secs(2);
/// Clients that are served at a time.
const CLIENTS: usize = 64;

struct Attacked {
    daemon: Daemon,
    agent: Agent,
    descriptors: usize,
    memory: u64,
    node: Node,
}

impl Attacked {
    fn new(title: &str) -> Self {
        let node = Node::new(title);
        let daemon = node.start();
        let mut agent = node.agent();
        statistics::drops(agent.control()).unwrap();
        let (descriptors, memory) = (daemon.settled_descriptors(), daemon.memory());
        Self { daemon, agent, descriptors, memory, node }
    }

    fn connect(&self) -> UnixStream {
        UnixStream::connect(self.node.sockets().join("dpdk_netlink")).unwrap()
    }

    /// A client that has long been there is served promptly.
    fn serves(&mut self) {
        let start = Instant::now();
        statistics::drops(self.agent.control()).unwrap();
        statistics::port(self.agent.control(), 0).unwrap();
        assert!(start.elapsed() < PROMPT, "served after {:?}", start.elapsed());
    }

    /// Everything is as before.
    fn recovers(mut self) {
        self.serves();
        wait_until("end of the connections", || self.daemon.descriptors() == self.descriptors);
        statistics::drops(&mut self.node.control()).unwrap();
        assert_eq!(self.agent.errors(), Vec::<String>::new());
        let grown = self.daemon.memory().saturating_sub(self.memory);
        assert!(grown < 32 << 10, "{grown} KiB more than before");
        drop(self.agent);
        self.daemon.end();
    }
}

/// Bytes without a pattern (xorshift64, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let word = || {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0.to_le_bytes()
        };
        std::iter::repeat_with(word).flatten().take(count).collect()
    }
}

/// A sound request that has a long answer.
fn dump() -> Vec<u8> {
    netlink::request(AGENT_TYPE, 4, 1, &Message::new("vr_interface_req").i32(1, DUMP).i32(37, -1).stop())
}

/// Writes what the daemon takes; it may have closed the connection.
fn offer(stream: &mut UnixStream, bytes: &[u8]) {
    match stream.write_all(bytes) {
        Err(error) if !matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) => {
            panic!("{error}")
        }
        _ => {}
    }
}

/// Reads until the daemon closes, which it does when nothing more can come.
fn read_to_end(mut stream: UnixStream) -> Vec<u8> {
    stream.set_read_timeout(Some(PROMPT)).unwrap();
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Err(error) if error.kind() != ErrorKind::ConnectionReset => panic!("not closed: {error}"),
        _ => bytes,
    }
}

#[test]
fn random_bytes() {
    let mut attacked = Attacked::new("noise");
    let mut noise = Noise(0x1234_5678_9abc_def1);
    for round in 0..200 {
        let mut stream = attacked.connect();
        let bytes = noise.bytes(1 + 61 * round);
        offer(&mut stream, &bytes);
        let _closed = stream.shutdown(Shutdown::Write);
        read_to_end(stream);
    }
    attacked.serves();
    attacked.recovers();
}

#[test]
fn random_contents_of_sound_frames() {
    let mut attacked = Attacked::new("content");
    let mut noise = Noise(0xfeed_beef_1234_5671);
    let sound = Message::new("vr_interface_req").i32(1, DUMP).i32(37, -1).stop();
    for round in 0..500 {
        let payload = if round % 2 == 0 {
            noise.bytes(round)
        } else {
            // The name is right, so that fields are looked at.
            let mut payload = sound.clone();
            let at = 30 + round % (payload.len() - 30);
            payload.truncate(at);
            payload.extend(noise.bytes(round % 97));
            payload
        };
        let mut stream = attacked.connect();
        offer(&mut stream, &netlink::request(AGENT_TYPE, 8, 1, &payload));
        let _closed = stream.shutdown(Shutdown::Write);
        read_to_end(stream);
    }
    attacked.serves();
    attacked.recovers();
}

#[test]
fn truncated_frames() {
    let mut attacked = Attacked::new("cut");
    let request = dump();
    for length in 0..request.len() {
        let mut stream = attacked.connect();
        offer(&mut stream, &request[..length]);
        let _closed = stream.shutdown(Shutdown::Write);
        assert!(read_to_end(stream).is_empty(), "{length} bytes are no request");
    }
    attacked.serves();
    attacked.recovers();
}

#[test]
fn lengths_that_cannot_be() {
    let mut attacked = Attacked::new("long");
    let rubbish = vec![0x5a; 65_536];
    for length in [0, 1, 15, 16, 23, 100_000, 1 << 20, 1 << 30, u32::MAX / 2 + 1, u32::MAX] {
        let mut stream = attacked.connect();
        let mut request = dump();
        request[..4].copy_from_slice(&u32::to_ne_bytes(length));
        offer(&mut stream, &request);
        for _ in 0..16 {
            offer(&mut stream, &rubbish);
        }
        let _closed = stream.shutdown(Shutdown::Write);
        read_to_end(stream);
        attacked.serves();
    }
    attacked.recovers();
}

#[test]
fn half_a_header_and_silence() {
    let mut attacked = Attacked::new("half");
    let request = dump();
    let mut silent: Vec<UnixStream> = (0..20).map(|_| attacked.connect()).collect();
    for (length, stream) in silent.iter_mut().enumerate() {
        offer(stream, &request[..length]);
    }
    std::thread::sleep(Duration::from_millis(300));
    attacked.serves();
    for (length, stream) in silent.iter_mut().enumerate() {
        offer(stream, &request[length..]);
        stream.set_read_timeout(Some(PROMPT)).unwrap();
        assert!(stream.read(&mut [0; 4096]).unwrap() > 0, "patience is rewarded");
    }
    drop(silent);
    attacked.recovers();
}

#[test]
fn a_thousand_connections() {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard.min(4096), hard).unwrap();
    let mut attacked = Attacked::new("crowd");
    let crowd: Vec<UnixStream> = (0..1000).map(|_| attacked.connect()).collect();
    attacked.serves();
    let request = dump();
    let served = crowd.iter().filter(|stream| {
        let mut stream = *stream;
        stream.set_read_timeout(Some(PROMPT)).unwrap();
        stream.write_all(&request).is_ok() && stream.read(&mut [0; 4096]).is_ok_and(|length| length > 0)
    });
    let served = served.count();
    // The agent has two.
    assert_eq!(served, CLIENTS - 2);
    assert!(attacked.daemon.descriptors() <= attacked.descriptors + CLIENTS);
    drop(crowd);
    setrlimit(Resource::RLIMIT_NOFILE, soft, hard).unwrap();
    attacked.recovers();
}

#[test]
fn no_descriptors_left() {
    let mut attacked = Attacked::new("nofile");
    let pid = attacked.daemon.pid().to_string();
    let limit = format!("--nofile={0}:{0}", attacked.descriptors + 4);
    assert!(attacked.node.command(&["prlimit", "--pid", &pid, &limit]).status().unwrap().success());
    let crowd: Vec<UnixStream> = (0..20).map(|_| attacked.connect()).collect();
    let reader = UnixStream::connect(attacked.node.sockets().join(vr_observe::SOCKET)).unwrap();
    let (time, lines) = (attacked.daemon.processor_time(), attacked.node.messages().lines().count());
    std::thread::sleep(Duration::from_secs(1));
    attacked.serves();
    let time = attacked.daemon.processor_time().saturating_sub(time);
    assert!(time < Duration::from_millis(400), "{time:?} of processor time in a second");
    let lines = attacked.node.messages().lines().count() - lines;
    assert!(lines < 10, "{lines} messages in a second");
    drop((crowd, reader));
    attacked.recovers();
}

#[test]
fn clients_that_never_read() {
    let mut attacked = Attacked::new("deaf");
    let requests = dump().repeat(1000);
    let mut deaf: Vec<UnixStream> = (0..50).map(|_| attacked.connect()).collect();
    let end = Instant::now() + Duration::from_secs(2);
    while Instant::now() < end {
        for stream in &mut deaf {
            stream.set_nonblocking(true).unwrap();
            match stream.write(&requests) {
                Err(error) if error.kind() != ErrorKind::WouldBlock => panic!("{error}"),
                _ => {}
            }
        }
        attacked.serves();
    }
    let grown = attacked.daemon.memory().saturating_sub(attacked.memory);
    assert!(grown < 100 << 10, "{grown} KiB for {} clients", deaf.len());
    println!("{grown} KiB for {} clients that never read", deaf.len());
    drop(deaf);
    attacked.recovers();
}
