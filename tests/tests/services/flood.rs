//! A pod that sends packets of ever other flows, as fast as it can, harms nobody but itself: sessions of another pod of
//! its node lose nothing, that pod gets new flows all the time, and the agent's socket is not overrun.

use std::collections::BTreeMap;
use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use agent_sim::table::{self, Entry};
use agent_sim::topology::{AGENT_VIF, PodId, Topology, pod_vif};
use agent_sim::{Agent, flows, statistics};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, sendmsg, setsockopt, socket,
    sockopt,
};
use vr_tests::daemon::Settings;
use vr_tests::echo::{Server, Session, ask};
use vr_tests::netns::Namespace;
use vr_tests::nodes::{Nodes, network, node, pod, wait_until};
use vr_tests::ping::{Plan, ping};

const CALM: PodId = PodId { node: 0, pod: 0 };
const FLOODER: PodId = PodId { node: 0, pod: 1 };
const PEER: PodId = PodId { node: 1, pod: 0 };
const PORT: u16 = 7000;
/// Of the pings; the flood lasts as long at least.
const MINUTE: Duration = Duration::from_mins(1);
/// The same, of the flood that nothing bounds.
const SHORT: Duration = Duration::from_secs(5);
/// New sessions beside the flood.
const SESSIONS: usize = 50;
/// Action of a flow that waits for the agent.
const HOLD: u16 = 1;
/// Entries that packets of one interface may make: far fewer than flows may wait for the agent at a time, so that there
/// is always room for those of others. The agent makes the reverse ones.
const QUOTA: usize = 2048;
const BOUNDED: &str = "[flows]\nper_vif = 2048\nprotect = true\n\
                          [tables]\nnexthops = 1024\nlabels = 1024\nvrfs = 16\ninterfaces = 64\nflows = 65536\n\
                          flow_overflow = 1024\nbridge = 1024\nbridge_overflow = 256\n\
                          [buffers]\npackets = 8192\nsuper_frames = 128\n";
/// More than pools and tables, which are there from the start, need later.
const GROWTH: u64 = 64 << 10;

fn topology() -> Topology {
    Topology {
        networks: vec![network(0)],
        nodes: vec![node(1, vec![pod("calm", 0, 1), pod("flooder", 0, 2)]), node(2, vec![pod("peer", 0, 3)])],
        ..Topology::default()
    }
}

/// UDP datagrams and TCP segments with random addresses and ports; returns how many.
fn flood(pod: &Namespace, stop: &AtomicBool) -> usize {
    let open = || {
        let kind = (AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC);
        socket(kind.0, kind.1, kind.2, SockProtocol::Raw)
    };
    let socket = pod.run(open).unwrap().unwrap();
    setsockopt(&socket, sockopt::SndBuf, &(4 << 20)).unwrap();
    let (mut noise, mut sent) = (0x0bad_cafe_1234_5678_u64, 0);
    while !stop.load(Ordering::Relaxed) {
        // Marsaglia's xorshift64.
        noise ^= noise << 13;
        noise ^= noise >> 7;
        noise ^= noise << 17;
        let bytes = noise.to_le_bytes();
        let target = Ipv4Addr::new(10, 1, bytes[0] | 1, bytes[1]);
        let mut packet = [0; 40];
        packet[..10].copy_from_slice(&[0x45, 0, 0, 40, 0, 0, 0, 0, 64, if bytes[2] < 128 { 6 } else { 17 }]);
        packet[12..16].copy_from_slice(&[10, 1, 0, bytes[3]]);
        packet[16..20].copy_from_slice(&target.octets());
        packet[20..24].copy_from_slice(&bytes[4..]);
        packet[24..28].copy_from_slice(&[0, 20, 0, 0]);
        packet[32..34].copy_from_slice(&[0x50, 0x02]);
        let to = SockaddrIn::from(SocketAddrV4::new(target, 0));
        let piece = [IoSlice::new(&packet)];
        sent += usize::from(sendmsg(socket.as_raw_fd(), &piece, &[], MsgFlags::empty(), Some(&to)).is_ok());
    }
    sent
}

/// Segments of a session that were sent again, but for those of which the receiver says that it had them.
fn lost_segments(namespace: &Namespace, session: &Session) -> i64 {
    let port = session.stream().local_addr().unwrap().port();
    let output = namespace.command("ss").args(["-tinH", "sport", "=", &format!(":{port}")]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("rtt:"), "{text}");
    let number = |word: &str| text.split_whitespace().find_map(|item| item.strip_prefix(word)?.parse().ok());
    // Now, and altogether.
    let again = text.split_whitespace().find_map(|item| item.strip_prefix("retrans:")?.split('/').nth(1));
    again.map_or(0, |again| again.parse().unwrap()) - number("dsack_dups:").unwrap_or(0)
}

/// The nodes, and a session beside the flood.
struct Scene {
    nodes: Nodes,
    address: SocketAddr,
    session: Session,
    _server: Server,
}

/// Stops the traffic also when the test fails.
struct Stopping<'a>(&'a AtomicBool);

impl Drop for Stopping<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What was seen.
struct Seen {
    drops: BTreeMap<String, i64>,
}

impl Scene {
    fn new(title: &str, more: &'static str) -> Self {
        let mut nodes = Nodes::start(title, topology(), |_| Settings { more, ..Settings::SMALL }).unwrap();
        let target = nodes.topology.pod(PEER).address;
        let address: SocketAddr = (target, PORT).into();
        nodes.wait_connected(CALM, target).unwrap();
        nodes.wait_connected(FLOODER, target).unwrap();
        let server = Server::start(nodes.pod(PEER), "peer", address).unwrap();
        let session = Session::open(nodes.pod(CALM), address).unwrap();
        Self { nodes, address, session, _server: server }
    }

    /// The flood, with a ping each millisecond and a session beside it, which lose nothing. `then` runs meanwhile.
    fn flood<T>(
        &mut self,
        time: Duration,
        then: impl FnOnce(&Namespace, SocketAddr, &mut Agent) -> T,
    ) -> (Seen, T) {
        let [calm, flooder] = [CALM, FLOODER].map(|id| self.nodes.pod(id).clone());
        let resident = self.nodes.daemons[0].resident().unwrap();
        let (session, agent) = (&mut self.session, &mut self.nodes.agents[0]);
        let count = time.as_millis() as u16;
        let target = self.nodes.topology.pod(PEER).address;
        let address = self.address;
        let plan = Plan { target, count, interval: Duration::from_millis(1) };
        let stop = AtomicBool::new(false);
        let (sent, outcome, rounds, meanwhile) = std::thread::scope(|scope| {
            let flood = scope.spawn(|| flood(&flooder, &stop));
            let rounds = scope.spawn(|| session.exchange_until(&stop));
            let pinger = scope.spawn(|| ping(&calm, plan));
            let stopping = Stopping(&stop);
            let meanwhile = then(&calm, address, agent);
            let outcome = pinger.join().unwrap().unwrap();
            drop(stopping);
            (flood.join().unwrap(), outcome, rounds.join().unwrap().unwrap(), meanwhile)
        });

        let control = self.nodes.agents[0].control();
        let [received, traps] = [pod_vif(FLOODER.pod), AGENT_VIF].map(|vif| statistics::port(control, vif));
        let drops = statistics::drops(control).unwrap();
        let (received, traps) = (received.unwrap().in_packets, traps.unwrap().out_packets);
        println!("{sent} packets, {received} received by the vrouter, {traps} traps; dropped: {drops:?}");
        println!("beside them: {rounds} exchanges, {} of {} pings answered", outcome.received, outcome.sent);
        assert!(received > 1000 && outcome.complete(), "lost: {:?}", outcome.lost);
        assert!(lost_segments(&calm, session) <= 0);
        let grown = self.nodes.daemons[0].resident().unwrap().saturating_sub(resident);
        assert!(grown < GROWTH, "{grown} KiB");
        (Seen { drops }, meanwhile)
    }

    /// Flows that the flood has left.
    fn left(&self) -> Vec<Entry> {
        let calm = self.nodes.topology.pod(CALM).address;
        let mut entries = table::entries(&self.nodes.sockets(0)).unwrap();
        entries.retain(|entry| {
            entry.is_live() && ![entry.tuple.source, entry.tuple.destination].contains(&calm)
        });
        entries
    }

    /// The agent deletes what is idle, and everybody may have flows again.
    fn recovers(mut self) {
        wait_until("the agent", || self.left().iter().all(|entry| entry.action != HOLD));
        let left = self.left();
        let deleted = flows::delete(self.nodes.agents[0].control(), left.iter()).unwrap();
        println!("{} flows left, {deleted} deleted", left.len());
        for id in [FLOODER, CALM] {
            ask(self.nodes.pod(id), self.address).unwrap();
            Session::open(self.nodes.pod(id), self.address).unwrap();
        }
        self.session.exchange(b"still here").unwrap();
        self.nodes.check().unwrap();
    }
}

#[test]
fn a_flooding_pod_harms_nobody_else() {
    let mut scene = Scene::new("flood", BOUNDED);
    let (seen, slowest) = scene.flood(MINUTE, |calm, address, agent| {
        let refused = |drops: BTreeMap<String, i64>| drops.contains_key("drop_new_flow");
        wait_until("the quota", || refused(statistics::drops(agent.control()).unwrap()));
        open_sessions(calm, address)
    });
    println!("{SESSIONS} new sessions beside them, in {slowest:?} at most");
    let left = scene.left().len();
    assert!(left <= 2 * QUOTA, "{left} flows");
    // Traps have room on their way to the agent, and packets of others have theirs where packets wait for it.
    let no_room = ["interface_tx_discard", "trap_original", "flow_no_memory"];
    assert!(no_room.iter().all(|reason| !seen.drops.contains_key(*reason)), "{:?}", seen.drops);
    scene.recovers();
}

/// As with the original, flows that are there are safe, and new ones wait for the end of the flood.
#[test]
fn without_bounds_established_flows_lose_nothing_either() {
    let mut scene = Scene::new("unbound", Settings::SMALL.more);
    let (seen, ()) = scene.flood(SHORT, |_, _, _| ());
    assert!(seen.drops.values().sum::<i64>() > 0, "{:?}", seen.drops);
    scene.recovers();
}

/// Makes sessions, one after the other; the longest time that one took.
fn open_sessions(pod: &Namespace, address: SocketAddr) -> Duration {
    let open = || {
        let start = Instant::now();
        Session::open(pod, address).unwrap().exchange(b"hello").unwrap();
        let took = start.elapsed();
        std::thread::sleep(Duration::from_millis(20));
        took
    };
    (0..SESSIONS).map(|_| open()).max().unwrap()
}
