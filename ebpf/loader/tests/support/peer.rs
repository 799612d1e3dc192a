//! A thread in a network namespace of its own: the host at the other end of a wire.
#![allow(unsafe_code, reason = "a socket option that the standard library lacks")]

use super::{ip, run};
use nix::{sched::CloneFlags, unistd::gettid};
use std::{
    io,
    net::UdpSocket,
    os::fd::AsRawFd as _,
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

type Job = Box<dyn FnOnce() + Send>;

/// A network namespace, as long as this value lives.
pub struct Peer {
    jobs: Sender<Job>,
    thread: i32,
}

impl Peer {
    pub fn new() -> Self {
        let (jobs, todo): (Sender<Job>, Receiver<Job>) = channel();
        let (ready, is_ready) = channel();
        thread::spawn(move || {
            nix::sched::unshare(CloneFlags::CLONE_NEWNET).unwrap();
            ip("link set lo up");
            ready.send(gettid().as_raw()).unwrap();
            for job in todo {
                job();
            }
        });
        Self { jobs, thread: is_ready.recv().unwrap() }
    }

    /// Makes a veth pair: `here` in the namespace of the caller with address `.2`, `eth0` in the peer's with
    /// address `.1` of 172.16.`net`.0/24. IPv6 stays quiet.
    pub fn wire(&self, here: &str, net: u8) {
        let peer = self.thread;
        ip(&format!("link add {here} type veth peer name eth0 netns {peer}"));
        ip(&format!("addr add 172.16.{net}.2/24 dev {here}"));
        ip(&format!("link set {here} addrgenmode none up"));
        self.run(move || {
            ip(&format!("addr add 172.16.{net}.1/24 dev eth0"));
            ip("link set eth0 addrgenmode none up");
            wait_until_up("eth0");
        });
        wait_until_up(here);
    }

    /// Runs a job in the namespace.
    pub fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> T {
        let (result, done) = channel();
        self.jobs.send(Box::new(move || result.send(job()).unwrap())).unwrap();
        done.recv().expect("the job in the other namespace panicked")
    }

    /// Sends a datagram to a port where nobody listens; whether somebody answered that it is unreachable.
    pub fn is_refused(&self, to: &'static str, payload: Vec<u8>) -> bool {
        self.run(move || {
            let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
            leave_out_checksum(&socket);
            socket.connect(to).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(400))).unwrap();
            socket.send(&payload).unwrap();
            let error = socket.recv(&mut [0; 64]).unwrap_err();
            error.kind() == io::ErrorKind::ConnectionRefused
        })
    }

    /// Sends a datagram to a socket that is bound to `address`; whether it arrives.
    pub fn reaches(&self, address: &'static str) -> bool {
        let socket = UdpSocket::bind(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
        self.run(move || UdpSocket::bind("0.0.0.0:0").unwrap().send_to(b"hello", address).unwrap());
        socket.recv(&mut [0; 64]).is_ok_and(|length| length == 5)
    }
}

/// The kernel takes note of a carrier some time after it is there, and sends nothing before.
fn wait_until_up(device: &str) {
    let end = Instant::now() + Duration::from_secs(5);
    while !run("ip", &format!("link show dev {device}")).contains("state UP") {
        assert!(Instant::now() < end, "{device} has no carrier");
        thread::sleep(Duration::from_millis(5));
    }
}

/// A veth leaves the checksum of UDP to the receiver, and a frame that XDP redirects loses the note that says so:
/// it would arrive with a wrong one.
fn leave_out_checksum(socket: &UdpSocket) {
    let on: i32 = 1;
    let length = size_of_val(&on) as u32;
    // SAFETY: the option takes an int.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NO_CHECK,
            (&raw const on).cast(),
            length,
        )
    };
    assert_eq!(result, 0);
}
