//! Servers that say who they are and whom they see, and then echo; and their clients.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;

/// Longest silence of a session.
const SILENCE: Duration = Duration::from_secs(20);
/// How often a server looks whether it shall end, and whether somebody has come.
const GLANCE: Duration = Duration::from_millis(2);
/// How long a client waits for the answer to a datagram before it asks again.
const ASK_AGAIN: Duration = Duration::from_secs(2);

/// A server of TCP and UDP on one port, until it is dropped.
#[derive(Debug)]
pub struct Server {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Server {
    /// Listens in a namespace. `name` is what clients are told, one word.
    pub fn start(namespace: &Namespace, name: &str, address: SocketAddr) -> Result<Self> {
        let listener = namespace.run(|| TcpListener::bind(address))?.context("listening")?;
        let socket = namespace.run(|| UdpSocket::bind(address))?.context("binding")?;
        listener.set_nonblocking(true)?;
        socket.set_read_timeout(Some(Duration::from_millis(50)))?;
        let stop = Arc::new(AtomicBool::new(false));
        let (tcp_name, udp_name) = (name.to_owned(), name.to_owned());
        let (tcp_stop, udp_stop) = (Arc::clone(&stop), Arc::clone(&stop));
        let threads = vec![
            std::thread::spawn(move || accept(&listener, &tcp_name, &tcp_stop)),
            std::thread::spawn(move || answer(&socket, &udp_name, &udp_stop)),
        ];
        Ok(Self { stop, threads })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A panic of the thread has been printed already.
            let _ended = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, name: &str, stop: &Arc<AtomicBool>) {
    while !stop.load(Ordering::Relaxed) {
        let Ok((stream, from)) = listener.accept() else {
            std::thread::sleep(GLANCE);
            continue;
        };
        let (greeting, stop) = (format!("{name} {from}\n"), Arc::clone(stop));
        std::thread::spawn(move || {
            // A client that goes away ends it.
            let _ended = serve(stream, &greeting, &stop);
        });
    }
}

fn serve(mut stream: TcpStream, greeting: &str, stop: &AtomicBool) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.set_write_timeout(Some(SILENCE))?;
    stream.write_all(greeting.as_bytes())?;
    let mut block = vec![0; 64 * 1024];
    while !stop.load(Ordering::Relaxed) {
        match stream.read(&mut block) {
            Ok(0) => return Ok(()),
            Ok(length) => stream.write_all(&block[..length])?,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn answer(socket: &UdpSocket, name: &str, stop: &AtomicBool) {
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if let Ok((_, from)) = socket.recv_from(&mut datagram) {
            // Who is gone misses nothing.
            let _sent = socket.send_to(format!("{name} {from}\n").as_bytes(), from);
        }
    }
}

/// What a server said: its name, and the address from which it was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Greeting {
    /// Its name.
    pub server: String,
    /// The client as the server sees it.
    pub seen: SocketAddr,
    /// The client as it sees itself.
    pub own: SocketAddr,
}

impl Greeting {
    fn parse(text: &str, own: SocketAddr) -> Result<Self> {
        let (server, seen) = text.trim_end().split_once(' ').context("no greeting")?;
        Ok(Self { server: server.to_owned(), seen: seen.parse()?, own })
    }
}

/// A TCP session with a server.
#[derive(Debug)]
pub struct Session {
    stream: TcpStream,
    /// What the server said first.
    pub greeting: Greeting,
}

impl Session {
    /// Connects from a namespace.
    pub fn open(namespace: &Namespace, address: SocketAddr) -> Result<Self> {
        let connect = || TcpStream::connect_timeout(&address, SILENCE);
        let mut stream = namespace.run(connect)?.with_context(|| format!("connecting to {address}"))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(SILENCE))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let (mut text, mut byte) = (Vec::new(), [0]);
        while byte != *b"\n" && text.len() < 128 {
            stream.read_exact(&mut byte).context("reading the greeting")?;
            text.push(byte[0]);
        }
        let greeting = Greeting::parse(&String::from_utf8(text)?, stream.local_addr()?)?;
        Ok(Self { stream, greeting })
    }

    /// Sends bytes and reads them back.
    pub fn exchange(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes)?;
        let mut back = vec![0; bytes.len()];
        self.stream.read_exact(&mut back)?;
        ensure!(back == bytes, "other bytes came back");
        Ok(())
    }

    /// The connection.
    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// Exchanges a block each millisecond until it is told to stop; returns how many.
    pub fn exchange_until(&mut self, stop: &AtomicBool) -> Result<usize> {
        let mut rounds = 0;
        while !stop.load(Ordering::Relaxed) {
            self.exchange(&[rounds as u8; 1024]).with_context(|| format!("after {rounds} exchanges"))?;
            rounds += 1;
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(rounds)
    }
}

/// Sends a datagram from a namespace and reads the answer; a lost one is sent again, twice.
pub fn ask(namespace: &Namespace, address: SocketAddr) -> Result<Greeting> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = namespace.run(|| UdpSocket::bind(any))??;
    namespace.run(|| socket.connect(address))??;
    socket.set_read_timeout(Some(ASK_AGAIN))?;
    let mut datagram = [0; 128];
    for _ in 0..3 {
        socket.send(b"who?")?;
        if let Ok(length) = socket.recv(&mut datagram) {
            let text = String::from_utf8_lossy(&datagram[..length]);
            return Greeting::parse(&text, socket.local_addr()?);
        }
    }
    anyhow::bail!("{address} does not answer")
}
