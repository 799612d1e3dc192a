//! TCP connections that are over make room without the agent (forwarding.md 6.9): the flow tables are far smaller than
//! the number of connections, and the agents delete nothing.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use agent_sim::statistics;
use agent_sim::table;
use agent_sim::topology::PodId;
use nix::libc;
use nix::sys::socket::{setsockopt, sockopt};
use vr_tests::daemon::Settings;
use vr_tests::echo::{Server, Session};
use vr_tests::nodes::{Nodes, two_nodes, wait_until};

const CLIENT: PodId = PodId { node: 0, pod: 0 };
const SERVER: PodId = PodId { node: 1, pod: 0 };
const PORT: u16 = 7000;
/// Entries of each table; a connection takes two.
const ENTRIES: usize = 1024;
const SMALLEST: &str = "[tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 1024\n\
                        flow_overflow = 256\nbridge = 1024\nbridge_overflow = 256\n\
                        [buffers]\npackets = 2048\nsuper_frames = 64\n";
/// Connections of each kind: three times what the tables hold.
const CONNECTIONS: usize = 3 * ENTRIES / 2;
const THREADS: usize = 4;

struct Ends {
    nodes: Nodes,
    address: SocketAddr,
    _server: Server,
}

impl Ends {
    fn new(title: &str) -> Self {
        let settings = |_| Settings { more: SMALLEST, ..Settings::SMALL };
        let mut nodes = Nodes::start(title, two_nodes(), settings).unwrap();
        let address: SocketAddr = (nodes.topology.pod(SERVER).address, PORT).into();
        nodes.wait_connected(CLIENT, nodes.topology.pod(SERVER).address).unwrap();
        let server = Server::start(nodes.pod(SERVER), "server", address).unwrap();
        Self { nodes, address, _server: server }
    }

    fn connect(&self) -> Session {
        Session::open(self.nodes.pod(CLIENT), self.address).unwrap()
    }

    /// Makes all connections, some at a time, and ends each as `end` says.
    fn connect_all(&self, end: fn(Session)) {
        let made = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    while made.fetch_add(1, Ordering::Relaxed) < CONNECTIONS {
                        let mut session = self.connect();
                        session.exchange(b"hello").unwrap();
                        end(session);
                    }
                });
            }
        });
    }

    /// Entries of connections to a port that are there for all that an agent knows.
    fn live(&self, node: usize, port: u16) -> usize {
        let entries = table::entries(&self.nodes.sockets(node)).unwrap();
        let of_port = entries.iter().filter(|entry| {
            let ports = [entry.tuple.source_port, entry.tuple.destination_port];
            entry.is_live() && ports.contains(&port.to_be_bytes())
        });
        of_port.count()
    }

    /// Everything is evicted but what is open, and nothing was refused.
    fn check(&mut self, open: &mut [Session]) {
        for node in 0..2 {
            wait_until("eviction", || self.live(node, PORT) == 2 * open.len());
            let drops = statistics::drops(self.nodes.agents[node].control()).unwrap();
            println!("node{}: {CONNECTIONS} connections over, dropped: {drops:?}", node + 1);
            assert_eq!(drops.get("flow_table_full"), None);
        }
        for session in open {
            session.exchange(&[5; 2000]).unwrap();
        }
        self.nodes.check().unwrap();
    }
}

/// The client closes, and the server does so when it hears of it.
#[test]
fn connections_closed_by_both_sides_are_evicted() {
    let mut ends = Ends::new("fin");
    let mut open: Vec<Session> = (0..20).map(|_| ends.connect()).collect();
    ends.connect_all(drop);
    ends.check(&mut open);
}

/// The client resets, in the middle of a session.
#[test]
fn connections_that_were_reset_are_evicted() {
    let mut ends = Ends::new("rst");
    let mut open: Vec<Session> = (0..20).map(|_| ends.connect()).collect();
    ends.connect_all(|session| {
        let at_once = libc::linger { l_onoff: 1, l_linger: 0 };
        setsockopt(session.stream(), sockopt::Linger, &at_once).unwrap();
    });
    ends.check(&mut open);
}

/// Nobody listens.
#[test]
fn connections_that_are_refused_are_evicted() {
    let mut ends = Ends::new("refused");
    let mut open: Vec<Session> = (0..20).map(|_| ends.connect()).collect();
    let closed = SocketAddr::new(ends.address.ip(), PORT + 1);
    for _ in 0..CONNECTIONS {
        let refused = ends.nodes.pod(CLIENT).run(|| TcpStream::connect(closed)).unwrap().unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
    }
    wait_until("eviction", || (0..2).all(|node| ends.live(node, closed.port()) == 0));
    ends.check(&mut open);
}

/// The same addresses and ports again: the agent is asked again, and the entry has another generation.
#[test]
fn an_evicted_flow_comes_back_as_a_new_one() {
    let mut ends = Ends::new("again");
    let own = SocketAddr::from((ends.nodes.topology.pod(CLIENT).address, 20_000));
    let decided = |ends: &Ends| ends.nodes.agents[CLIENT.node].decisions().len();
    let before = decided(&ends);
    for round in 1..=5 {
        let stream = connect_from(&ends, own);
        drop(stream);
        wait_until("eviction", || (0..2).all(|node| ends.live(node, PORT) == 0));
        assert_eq!(decided(&ends) - before, round);
    }
    ends.check(&mut []);
}

/// Connects from a chosen port, and resets, so that nothing remains of it in the kernels.
fn connect_from(ends: &Ends, own: SocketAddr) -> TcpStream {
    use nix::sys::socket::{AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, socket};
    use std::os::fd::AsRawFd;
    let open = || {
        let kind = (AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_CLOEXEC);
        let socket = socket(kind.0, kind.1, kind.2, None)?;
        setsockopt(&socket, sockopt::ReuseAddr, &true)?;
        setsockopt(&socket, sockopt::Linger, &libc::linger { l_onoff: 1, l_linger: 0 })?;
        bind(socket.as_raw_fd(), &SockaddrStorage::from(own))?;
        connect(socket.as_raw_fd(), &SockaddrStorage::from(ends.address))?;
        Ok::<_, nix::Error>(TcpStream::from(socket))
    };
    let stream = ends.nodes.pod(CLIENT).run(open).unwrap().unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut greeting = [0; 8];
    std::io::Read::read_exact(&mut &stream, &mut greeting).unwrap();
    stream
}
