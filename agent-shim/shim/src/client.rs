//! One connection: what has arrived, and what has not been sent yet.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::{Duration, Instant};

use sandesh::Compat;
use sandesh::netlink::FrameReader;
use vr_tables::control::{Datapath, Tables};

use crate::listener::Stream;
use crate::{Recorder, Responder};

/// Replies that a client may leave unread before its requests have to wait, in bytes.
const QUEUE_LIMIT: usize = 256 * 1024;
/// Reads before other clients have their turn.
const READS: usize = 8;

/// A client of the control socket.
pub(crate) struct Client {
    stream: Stream,
    /// Which one of all that ever connected.
    number: u64,
    reader: FrameReader,
    compat: Compat,
    queue: Queue,
    /// The client sends no more.
    ended: bool,
    /// When the client last took something, or had nothing to take.
    progress: Instant,
}

impl Client {
    /// A client that has just been accepted.
    pub(crate) fn new(stream: Stream, number: u64, compat: Compat) -> Self {
        let (reader, queue) = (FrameReader::new(), Queue::default());
        Self { stream, number, reader, compat, queue, ended: false, progress: Instant::now() }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether requests are taken from it now.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.queue.len() < QUEUE_LIMIT
    }

    /// Whether replies wait to be sent.
    pub(crate) fn wants_output(&self) -> bool {
        self.queue.len() > 0
    }

    /// Executes what has arrived; returns the number of requests. The replies are queued.
    pub(crate) fn serve(
        &mut self,
        responder: &mut Responder,
        tables: &mut Tables,
        datapath: &mut dyn Datapath,
        mut recorder: Option<&mut Recorder>,
    ) -> io::Result<usize> {
        let mut requests = 0;
        for _ in 0..READS {
            if !self.wants_input() {
                break;
            }
            match self.reader.read_from(&mut self.stream) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            while let Some(frame) = self.reader.next_frame().map_err(io::Error::other)? {
                let before = self.queue.bytes.len();
                responder.answer(&frame, &mut self.compat, tables, datapath, &mut self.queue.bytes);
                if let Some(recorder) = &mut recorder {
                    recorder.note(self.number, frame.bytes, &self.queue.bytes[before..]);
                }
                requests += 1;
            }
        }
        Ok(requests)
    }

    /// Sends as many replies as the client takes.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<()> {
        if self.queue.send(&mut self.stream)? || self.queue.len() == 0 {
            self.progress = now;
        }
        Ok(())
    }

    /// Whether the connection is over: everything was answered and sent, or the client has taken nothing
    /// for so long.
    pub(crate) fn is_over(&self, now: Instant, patience: Duration) -> bool {
        (self.ended && self.queue.len() == 0) || now.duration_since(self.progress) > patience
    }
}

/// Netlink messages to be sent, one after the other.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    sent: usize,
    /// Bytes of the first message that are still to be sent when only a part of it was taken.
    rest: usize,
}

impl Queue {
    fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    /// Sends messages with one write each, since readers expect whole ones; says whether any byte was taken.
    fn send(&mut self, to: &mut impl Write) -> io::Result<bool> {
        let before = self.sent;
        while let Some(message) = self.first() {
            match to.write(message) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.rest = message.len() - taken;
                    self.sent += taken;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        let progress = self.sent > before;
        if self.sent == self.bytes.len() {
            self.bytes.clear();
            self.sent = 0;
        } else if self.sent >= QUEUE_LIMIT {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
        Ok(progress)
    }

    /// The first message, or what is left of it.
    fn first(&self) -> Option<&[u8]> {
        let bytes = self.bytes.get(self.sent..)?;
        let length = match self.rest {
            0 => u32::from_ne_bytes(*bytes.first_chunk()?) as usize,
            rest => rest,
        };
        bytes.get(..length)
    }
}

#[cfg(test)]
mod tests {
    use super::Queue;
    use std::io::{self, Write};

    /// Takes so many bytes with each write, or refuses when there are none left.
    struct Taker {
        taken: Vec<Vec<u8>>,
        sizes: Vec<usize>,
    }

    impl Write for Taker {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let size = self.sizes.pop().ok_or(io::ErrorKind::WouldBlock)?.min(bytes.len());
            self.taken.push(bytes[..size].to_vec());
            Ok(size)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn message(length: u32) -> Vec<u8> {
        let mut message = vec![length as u8; length as usize];
        message[..4].copy_from_slice(&length.to_ne_bytes());
        message
    }

    #[test]
    fn a_message_is_one_write_and_a_part_is_completed_first() {
        let mut queue = Queue::default();
        for length in [30, 40, 50] {
            queue.bytes.extend(message(length));
        }
        let mut taker = Taker { taken: Vec::new(), sizes: vec![10, 100] };
        assert!(queue.send(&mut taker).unwrap());
        assert_eq!(taker.taken, [message(30), message(40)[..10].to_vec()]);
        assert_eq!(queue.len(), 80);
        assert!(!queue.send(&mut taker).unwrap());
        taker.sizes = vec![100, 100];
        assert!(queue.send(&mut taker).unwrap());
        assert_eq!(taker.taken[2..], [message(40)[10..].to_vec(), message(50)]);
        assert_eq!((queue.len(), queue.bytes.len()), (0, 0));
    }
}
