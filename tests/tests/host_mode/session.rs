//! Traffic between the hosts that goes on until it is told to stop: a TCP session, and echoes that show gaps.

use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use vr_tests::netns::Namespace;

const BLOCK: usize = 64 * 1024;
const PAUSE: Duration = Duration::from_millis(10);
/// Longest silence of a session.
const SILENCE: Duration = Duration::from_secs(20);
/// Time between two echo requests.
const INTERVAL: Duration = Duration::from_millis(2);
const ECHO_PORT: u16 = 7;

/// Sends until `stop` is set, and compares the digests of both ends. Returns the number of bytes.
pub(crate) fn session(from: &Namespace, to: &Namespace, address: Ipv4Addr, stop: &AtomicBool) -> u64 {
    let listener = to.run(|| TcpListener::bind((address, 0)).unwrap()).unwrap();
    let target = listener.local_addr().unwrap();
    let (sent, received) = std::thread::scope(|scope| {
        let receiver = scope.spawn(|| receive(&listener));
        let stream = from.run(|| TcpStream::connect_timeout(&target, SILENCE).unwrap()).unwrap();
        (send(stream, stop), receiver.join().unwrap())
    });
    assert_eq!(sent, received, "bytes and SHA-256 of both ends");
    sent.0
}

fn send(mut stream: TcpStream, stop: &AtomicBool) -> (u64, [u8; 32]) {
    stream.set_write_timeout(Some(SILENCE)).unwrap();
    let (mut digest, mut bytes, mut word) = (Sha256::new(), 0, 1_u64);
    let mut block = vec![0; BLOCK];
    while !stop.load(Ordering::Relaxed) {
        for to in block.chunks_exact_mut(8) {
            // Marsaglia's xorshift64.
            word ^= word << 13;
            word ^= word >> 7;
            word ^= word << 17;
            to.copy_from_slice(&word.to_le_bytes());
        }
        digest.update(&block);
        stream.write_all(&block).unwrap();
        bytes += block.len() as u64;
        std::thread::sleep(PAUSE);
    }
    (bytes, digest.finalize().into())
}

fn receive(listener: &TcpListener) -> (u64, [u8; 32]) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let (mut digest, mut bytes, mut block) = (Sha256::new(), 0, vec![0; BLOCK]);
    loop {
        match stream.read(&mut block).unwrap() {
            0 => return (bytes, digest.finalize().into()),
            length => {
                digest.update(&block[..length]);
                bytes += length as u64;
            }
        }
    }
}

/// A time without any echo.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gap {
    pub(crate) begin: Instant,
    pub(crate) length: Duration,
}

/// Exchanges echoes until `stop` is set. Returns every time between two of them.
pub(crate) fn echoes(from: &Namespace, to: &Namespace, address: Ipv4Addr, stop: &AtomicBool) -> Vec<Gap> {
    let bind = |namespace: &Namespace, address: Ipv4Addr, port: u16| {
        let socket = namespace.run(|| UdpSocket::bind((address, port)).unwrap()).unwrap();
        socket.set_read_timeout(Some(INTERVAL)).unwrap();
        socket
    };
    let (server, client) = (bind(to, address, ECHO_PORT), bind(from, Ipv4Addr::UNSPECIFIED, 0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut byte = [0];
            while !stop.load(Ordering::Relaxed) {
                if let Some(client) = quiet(server.recv_from(&mut byte)) {
                    let _ = quiet(server.send_to(&byte, client.1));
                }
            }
        });
        let (mut gaps, mut last, mut next) = (Vec::new(), Instant::now(), Instant::now());
        while !stop.load(Ordering::Relaxed) {
            if next <= Instant::now() {
                next += INTERVAL;
                let _ = quiet(client.send_to(&[1], (address, ECHO_PORT)));
            }
            if quiet(client.recv_from(&mut [0])).is_some() {
                gaps.push(Gap { begin: last, length: last.elapsed() });
                last = Instant::now();
            }
        }
        gaps.push(Gap { begin: last, length: last.elapsed() });
        gaps
    })
}

/// Nothing for those failures that come with a network that is away.
fn quiet<T>(result: std::io::Result<T>) -> Option<T> {
    use ErrorKind::{ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut, WouldBlock};
    match result {
        Ok(value) => Some(value),
        Err(error) => {
            let away = [ConnectionRefused, HostUnreachable, NetworkUnreachable, TimedOut, WouldBlock];
            assert!(away.contains(&error.kind()), "{error}");
            None
        }
    }
}
