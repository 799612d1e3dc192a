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
const READS: usize = 2;
/// Bytes of replies that are written at once, in whole messages: as many as a socket takes entirely or not at all.
const WRITE: usize = 16 * 1024;

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
    /// System calls made.
    calls: u64,
}

impl Client {
    /// A client that has just been accepted.
    pub(crate) fn new(stream: Stream, number: u64, compat: Compat) -> Self {
        let (reader, queue) = (FrameReader::new(), Queue::default());
        Self { stream, number, reader, compat, queue, ended: false, progress: Instant::now(), calls: 0 }
    }

    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Whether requests are taken from it now.
    pub(crate) fn wants_input(&self) -> bool {
        !self.ended && self.has_room()
    }

    /// Whether requests that have arrived can be answered now.
    pub(crate) fn has_requests(&self) -> bool {
        self.has_room() && self.reader.has_frame()
    }

    fn has_room(&self) -> bool {
        self.queue.len() < QUEUE_LIMIT
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
        // Some may be left, because there were too many replies.
        let mut requests = self.answer(responder, tables, datapath, recorder.as_deref_mut())?;
        for _ in 0..READS {
            if !self.wants_input() {
                break;
            }
            self.calls += 1;
            match self.reader.read_from(&mut self.stream) {
                Ok(0) => self.ended = true,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            // The next read would find nothing, or what comes later: then it is the next poll that says so.
            let drained = !self.reader.is_full();
            requests += self.answer(responder, tables, datapath, recorder.as_deref_mut())?;
            if drained {
                break;
            }
        }
        Ok(requests)
    }

    /// Executes requests as long as their replies have room.
    fn answer(
        &mut self,
        responder: &mut Responder,
        tables: &mut Tables,
        datapath: &mut dyn Datapath,
        mut recorder: Option<&mut Recorder>,
    ) -> io::Result<usize> {
        let mut requests = 0;
        while self.has_room()
            && let Some(frame) = self.reader.next_frame().map_err(io::Error::other)?
        {
            let before = self.queue.bytes.len();
            responder.answer(&frame, &mut self.compat, tables, datapath, &mut self.queue.bytes);
            if let Some(recorder) = &mut recorder {
                recorder.note(self.number, frame.bytes, &self.queue.bytes[before..]);
            }
            requests += 1;
        }
        Ok(requests)
    }

    /// Sends as many replies as the client takes.
    pub(crate) fn flush(&mut self, now: Instant) -> io::Result<()> {
        if self.queue.send(&mut self.stream, &mut self.calls)? || self.queue.len() == 0 {
            self.progress = now;
        }
        Ok(())
    }

    /// How many system calls were made since this was last asked.
    pub(crate) fn take_calls(&mut self) -> u64 {
        std::mem::take(&mut self.calls)
    }

    /// Whether the connection is over: everything was answered and sent, or the client has taken nothing
    /// for so long.
    pub(crate) fn is_over(&self, now: Instant, patience: Duration) -> bool {
        (self.ended && self.queue.len() == 0 && !self.reader.has_frame())
            || now.duration_since(self.progress) > patience
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

    /// Sends whole messages, since readers expect them (control.md 2.5), and many with one write. Says whether any byte
    /// was taken, and counts the writes.
    fn send(&mut self, to: &mut impl Write, calls: &mut u64) -> io::Result<bool> {
        let before = self.sent;
        while let Some(messages) = self.next() {
            *calls += 1;
            match to.write(messages) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(taken) => {
                    self.rest = rest(messages, self.rest, taken);
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

    /// What is written next: what is left of a message, and whole ones behind it.
    fn next(&self) -> Option<&[u8]> {
        let bytes = self.bytes.get(self.sent..)?;
        let mut end = self.rest;
        while let Some(length) = length(bytes, end)
            && (end == 0 || end + length <= WRITE)
        {
            end += length;
        }
        bytes.get(..end).filter(|bytes| !bytes.is_empty())
    }
}

/// The length of the message at a position, if there is one.
fn length(bytes: &[u8], at: usize) -> Option<usize> {
    let length = u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?);
    Some(length as usize)
}

/// How much of a message is left when only so many bytes of `bytes`, which begin with the `before` last ones of a
/// message, were taken.
fn rest(bytes: &[u8], before: usize, taken: usize) -> usize {
    let mut end = before;
    while end < taken
        && let Some(length) = length(bytes, end)
    {
        end += length;
    }
    end - taken.min(end)
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

    fn queue(lengths: &[u32]) -> Queue {
        Queue { bytes: lengths.iter().flat_map(|length| message(*length)).collect(), ..Queue::default() }
    }

    #[test]
    fn a_part_is_completed_and_whole_messages_follow() {
        let mut queue = queue(&[30, 40, 50]);
        let mut taker = Taker { taken: Vec::new(), sizes: vec![40] };
        assert!(queue.send(&mut taker, &mut 0).unwrap());
        assert_eq!(taker.taken, [[message(30), message(40)[..10].to_vec()].concat()]);
        assert_eq!((queue.len(), queue.rest), (80, 30));
        assert!(!queue.send(&mut taker, &mut 0).unwrap());
        taker.sizes = vec![100, 30];
        assert!(queue.send(&mut taker, &mut 0).unwrap());
        assert_eq!(taker.taken[1..], [message(40)[10..].to_vec(), message(50)]);
        assert_eq!((queue.len(), queue.bytes.len()), (0, 0));
    }

    #[test]
    fn a_write_has_whole_messages_and_a_bounded_length() {
        let lengths = [4096, 24, 4000, 4096, 4096, 3000, 4096];
        let mut queue = queue(&lengths);
        let mut taker = Taker { taken: Vec::new(), sizes: vec![usize::MAX; lengths.len()] };
        assert!(queue.send(&mut taker, &mut 0).unwrap());
        let written: Vec<usize> = taker.taken.iter().map(Vec::len).collect();
        assert_eq!(written, [4096 + 24 + 4000 + 4096 + 4096, 3000 + 4096]);
    }
}
