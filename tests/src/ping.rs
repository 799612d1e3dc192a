//! An ICMP pinger of any rate, and a listener that sees with which TTL requests arrive.

use std::io::IoSlice;
use std::net::Ipv4Addr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, SockaddrIn, recv, sendmsg, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::Namespace;

const ECHO: u8 = 8;
const ECHO_REPLY: u8 = 0;
/// How long the last replies may take.
const LAST_REPLY: Duration = Duration::from_secs(1);
/// Every run takes another identifier, and so another flow.
static IDENTIFIER: AtomicU16 = AtomicU16::new(0x1000);

/// What to send.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// To whom.
    pub target: Ipv4Addr,
    /// How many requests.
    pub count: u16,
    /// Time between two requests; the second waits for the reply to the first, for a second at the most.
    pub interval: Duration,
}

/// What came back.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Requests that left.
    pub sent: usize,
    /// Requests with a reply.
    pub received: usize,
    /// TTL of the replies; `None` when there were none, or with different ones.
    pub ttl: Option<u8>,
    /// Median of the round trip times.
    pub median: Duration,
    /// Numbers of the requests without a reply.
    pub lost: Vec<u16>,
}

impl Outcome {
    /// Whether there was a reply to every request.
    pub fn complete(&self) -> bool {
        self.sent > 0 && self.received == self.sent
    }
}

/// One request as the sender and the receiver know it.
#[derive(Clone, Copy, Default)]
struct Request {
    sent: Option<Instant>,
    answered: Option<(Duration, u8)>,
}

/// Pings from a namespace.
pub fn ping(namespace: &Namespace, plan: Plan) -> Result<Outcome> {
    namespace.run(|| ping_here(plan))?
}

fn ping_here(plan: Plan) -> Result<Outcome> {
    let socket = icmp_socket(Duration::from_millis(20))?;
    let identifier = IDENTIFIER.fetch_add(1, Ordering::Relaxed);
    let requests = Mutex::new(vec![Request::default(); plan.count.into()]);
    let finished = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&socket, plan.target, identifier, &requests, &finished));
        let sent = send(&socket, plan, identifier, &requests);
        let deadline = Instant::now() + LAST_REPLY;
        let all_there = || lock(&requests).iter().all(|request| request.answered.is_some());
        while Instant::now() < deadline && !all_there() {
            std::thread::sleep(Duration::from_millis(5));
        }
        finished.store(true, Ordering::Relaxed);
        let received = receiver.join().map_err(|_| anyhow::anyhow!("the receiver panicked"))?;
        sent.and(received)
    })?;
    Ok(summarize(&lock(&requests)))
}

fn send(socket: &OwnedFd, plan: Plan, identifier: u16, requests: &Mutex<Vec<Request>>) -> Result<()> {
    let mut start = Instant::now();
    let address = SockaddrIn::from(std::net::SocketAddrV4::new(plan.target, 0));
    for sequence in 0..plan.count {
        if sequence == 1 {
            await_first(requests);
            start = Instant::now();
        }
        let due = start + plan.interval * u32::from(sequence);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        lock(requests)[usize::from(sequence)].sent = Some(Instant::now());
        let packet = echo(identifier, sequence);
        let sent =
            sendmsg(socket.as_raw_fd(), &[IoSlice::new(&packet)], &[], MsgFlags::empty(), Some(&address));
        match sent {
            // Nobody answers ARP: the request is as lost as one that nobody answers.
            Ok(_) | Err(Errno::EHOSTUNREACH | Errno::ENETUNREACH | Errno::ENOBUFS) => {}
            Err(error) => return Err(error).context("sending an echo request"),
        }
    }
    Ok(())
}

/// The first request resolves addresses and has the flow decided; a queue for that is short at a high rate.
fn await_first(requests: &Mutex<Vec<Request>>) {
    let deadline = Instant::now() + LAST_REPLY;
    while Instant::now() < deadline && lock(requests).first().is_some_and(|first| first.answered.is_none()) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn receive(
    socket: &OwnedFd,
    target: Ipv4Addr,
    identifier: u16,
    requests: &Mutex<Vec<Request>>,
    finished: &AtomicBool,
) -> Result<()> {
    let mut buffer = [0; 2048];
    while !finished.load(Ordering::Relaxed) {
        let Some(message) = next_message(socket, &mut buffer)? else {
            continue;
        };
        if message.kind != ECHO_REPLY || message.identifier != identifier || message.source != target {
            continue;
        }
        if let Some(request) = lock(requests).get_mut(usize::from(message.sequence))
            && let Some(sent) = request.sent
        {
            request.answered.get_or_insert((sent.elapsed(), message.ttl));
        }
    }
    Ok(())
}

fn summarize(requests: &[Request]) -> Outcome {
    let answers: Vec<(Duration, u8)> = requests.iter().filter_map(|request| request.answered).collect();
    let mut times: Vec<Duration> = answers.iter().map(|(time, _)| *time).collect();
    times.sort_unstable();
    let first = answers.first().map(|(_, ttl)| *ttl);
    let lost = requests
        .iter()
        .enumerate()
        .filter(|(_, request)| request.sent.is_some() && request.answered.is_none());
    Outcome {
        sent: requests.iter().filter(|request| request.sent.is_some()).count(),
        received: answers.len(),
        ttl: first.filter(|first| answers.iter().all(|(_, ttl)| ttl == first)),
        median: times.get(times.len() / 2).copied().unwrap_or_default(),
        lost: lost.map(|(sequence, _)| sequence as u16).collect(),
    }
}

/// Notes the TTL of echo requests from `source` that arrive in a namespace while `work` runs there or elsewhere.
pub fn arriving_ttls<T>(
    namespace: &Namespace,
    source: Ipv4Addr,
    work: impl FnOnce() -> T,
) -> Result<(T, Vec<u8>)> {
    let finished = AtomicBool::new(false);
    let socket = namespace.run(|| icmp_socket(Duration::from_millis(20)))??;
    std::thread::scope(|scope| {
        let listener = scope.spawn(|| {
            let (mut buffer, mut ttls) = ([0; 2048], Vec::new());
            while !finished.load(Ordering::Relaxed) {
                match next_message(&socket, &mut buffer)? {
                    Some(message) if message.kind == ECHO && message.source == source => {
                        ttls.push(message.ttl);
                    }
                    _ => {}
                }
            }
            anyhow::Ok(ttls)
        });
        let value = work();
        finished.store(true, Ordering::Relaxed);
        let ttls = listener.join().map_err(|_| anyhow::anyhow!("the listener panicked"))??;
        Ok((value, ttls))
    })
}

struct Message {
    source: Ipv4Addr,
    ttl: u8,
    kind: u8,
    identifier: u16,
    sequence: u16,
}

/// The next ICMP message; `None` when none came for a moment or it was cut.
fn next_message(socket: &OwnedFd, buffer: &mut [u8]) -> Result<Option<Message>> {
    let length = match recv(socket.as_raw_fd(), buffer, MsgFlags::empty()) {
        Ok(length) => length,
        Err(Errno::EAGAIN | Errno::EINTR) => return Ok(None),
        Err(error) => return Err(error).context("receiving ICMP"),
    };
    let packet = &buffer[..length];
    let header = usize::from(packet.first().copied().unwrap_or(0) & 0xF) * 4;
    let (Some(ip), Some(icmp)) = (packet.get(..20), packet.get(header..header + 8)) else {
        return Ok(None);
    };
    Ok(Some(Message {
        source: Ipv4Addr::new(ip[12], ip[13], ip[14], ip[15]),
        ttl: ip[8],
        kind: icmp[0],
        identifier: u16::from_be_bytes([icmp[4], icmp[5]]),
        sequence: u16::from_be_bytes([icmp[6], icmp[7]]),
    }))
}

fn icmp_socket(patience: Duration) -> Result<OwnedFd> {
    let socket = socket(AddressFamily::Inet, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::Icmp)
        .context("opening an ICMP socket (is this root?)")?;
    let patience = TimeVal::milliseconds(patience.as_millis() as i64);
    setsockopt(&socket, sockopt::ReceiveTimeout, &patience)?;
    setsockopt(&socket, sockopt::RcvBuf, &(1 << 20))?;
    Ok(socket)
}

fn echo(identifier: u16, sequence: u16) -> [u8; 64] {
    let mut packet = [0x5a; 64];
    packet[..4].copy_from_slice(&[ECHO, 0, 0, 0]);
    packet[4..6].copy_from_slice(&identifier.to_be_bytes());
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    let sum: u32 = packet.chunks_exact(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let folded = (sum & 0xFFFF) + (sum >> 16);
    let folded = (folded & 0xFFFF) + (folded >> 16);
    packet[2..4].copy_from_slice(&(!(folded as u16)).to_be_bytes());
    packet
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
