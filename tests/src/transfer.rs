//! TCP transfers between namespaces, their contents compared by SHA-256.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use sha2::{Digest, Sha256};

use crate::netns::Namespace;

const BLOCK: usize = 128 * 1024;
/// Longest silence of a connection before the transfer has failed.
const SILENCE: Duration = Duration::from_secs(20);

/// One transfer.
#[derive(Clone, Copy, Debug)]
pub struct Transfer<'a> {
    /// Where the sender is.
    pub from: &'a Namespace,
    /// Where the receiver is.
    pub to: &'a Namespace,
    /// The receiver's address.
    pub address: Ipv4Addr,
    /// Bytes to send.
    pub bytes: u64,
    /// A pause after each block, for a session that shall last.
    pub pause: Duration,
}

/// A transfer whose digest was the same at both ends.
#[derive(Clone, Copy, Debug)]
pub struct Transferred {
    /// Bytes received.
    pub bytes: u64,
    /// From the first byte to the last.
    pub time: Duration,
}

impl Transferred {
    /// Megabits per second.
    pub fn rate(&self) -> f64 {
        self.bytes as f64 * 8.0 / self.time.as_secs_f64().max(1e-9) / 1e6
    }
}

impl Transfer<'_> {
    /// Sends and receives; fails unless everything arrives as it was sent.
    pub fn run(&self) -> Result<Transferred> {
        let listener = self.to.run(|| TcpListener::bind((self.address, 0)))?.context("listening")?;
        let target = listener.local_addr()?;
        let (sent, received) = std::thread::scope(|scope| {
            let receiver = scope.spawn(|| receive(&listener));
            let sent = self.from.run(|| self.send(target)).and_then(|sent| sent);
            if sent.is_err() {
                // Wakes a receiver that nobody has reached.
                let _woken = self.to.run(|| TcpStream::connect(target).map(drop));
            }
            (sent, receiver.join())
        });
        let sent = sent.context("sending")?;
        let (received, transferred) = received.map_err(|_| anyhow::anyhow!("the receiver panicked"))??;
        ensure!(transferred.bytes == self.bytes, "{} of {} bytes arrived", transferred.bytes, self.bytes);
        ensure!(received == sent, "the SHA-256 of what arrived differs");
        Ok(transferred)
    }

    fn send(&self, target: SocketAddr) -> Result<[u8; 32]> {
        let mut stream = TcpStream::connect_timeout(&target, Duration::from_secs(5))?;
        stream.set_write_timeout(Some(SILENCE))?;
        let (mut digest, mut noise, mut left) = (Sha256::new(), Noise(self.bytes | 1), self.bytes);
        let mut block = vec![0; BLOCK];
        while left > 0 {
            let length = left.min(BLOCK as u64) as usize;
            noise.fill(&mut block[..length]);
            digest.update(&block[..length]);
            stream.write_all(&block[..length])?;
            left -= length as u64;
            if !self.pause.is_zero() {
                std::thread::sleep(self.pause);
            }
        }
        stream.shutdown(std::net::Shutdown::Write)?;
        // The receiver closes when it has everything.
        stream.set_read_timeout(Some(SILENCE))?;
        let rest = stream.read(&mut [0])?;
        ensure!(rest == 0, "the receiver sent something");
        Ok(digest.finalize().into())
    }
}

fn receive(listener: &TcpListener) -> Result<([u8; 32], Transferred)> {
    let (mut stream, _) = listener.accept().context("accepting")?;
    stream.set_read_timeout(Some(SILENCE))?;
    let (start, mut bytes, mut digest) = (Instant::now(), 0, Sha256::new());
    let mut block = vec![0; BLOCK];
    loop {
        let length = stream.read(&mut block).context("receiving")?;
        if length == 0 {
            return Ok((digest.finalize().into(), Transferred { bytes, time: start.elapsed() }));
        }
        digest.update(&block[..length]);
        bytes += length as u64;
    }
}

/// Bytes without a pattern (xorshift64, Marsaglia 2003).
struct Noise(u64);

impl Noise {
    fn fill(&mut self, block: &mut [u8]) {
        for word in block.chunks_mut(8) {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            word.copy_from_slice(&self.0.to_le_bytes()[..word.len()]);
        }
    }
}
