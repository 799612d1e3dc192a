//! A stream of bytes to netlink messages.

use std::io::{self, Read};

use super::{HEADER_LEN, Header, LENGTH, MAX_PAYLOAD};

/// Size of a new buffer: some of the longest requests that clients send.
const INITIAL_BUFFER: usize = 32 * 1024;

/// A netlink message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// Its header.
    pub header: Header,
    /// The encoded messages in it.
    pub payload: &'a [u8],
    /// All of it, as it arrived.
    pub bytes: &'a [u8],
}

/// A length that no client sends: the stream cannot be followed any further, the connection must be closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a netlink message of {length} bytes; possible are {HEADER_LEN} to {}", HEADER_LEN + MAX_PAYLOAD)]
pub struct FrameError {
    /// The length in the header.
    pub length: u32,
}

/// Cuts what arrives on one connection into netlink messages. Its buffer grows to the longest message that
/// arrives, at most to [`HEADER_LEN`] + [`MAX_PAYLOAD`].
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    /// Received and not yet returned.
    start: usize,
    end: usize,
}

impl FrameReader {
    /// A reader for a new connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Reads once from `source`; returns the number of bytes, 0 at the end of the stream.
    ///
    /// Call [`next_frame`](Self::next_frame) until it has no more before reading again: only then is the
    /// bound of the buffer kept.
    pub fn read_from(&mut self, source: &mut impl Read) -> io::Result<usize> {
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.end == self.buffer.len() {
            let wanted = self.pending_len().ok().flatten().unwrap_or(0);
            self.buffer.resize(wanted.max(self.end + 1).max(INITIAL_BUFFER), 0);
        }
        let count = source.read(&mut self.buffer[self.end..])?;
        self.end += count;
        Ok(count)
    }

    /// Whether [`next_frame`](Self::next_frame) has a message, or an error.
    #[must_use]
    pub fn has_frame(&self) -> bool {
        let length = self.pending_len().unwrap_or(Some(0));
        length.is_some_and(|length| length <= self.pending().len())
    }

    /// Whether the last read filled the buffer, so that there may be more to read.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.end == self.buffer.len()
    }

    /// The next message that has arrived completely.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, FrameError> {
        let Some(length) = self.pending_len()? else { return Ok(None) };
        let Some(message) = self.buffer[self.start..self.end].get(..length) else { return Ok(None) };
        self.start += length;
        Ok(message.split_first_chunk().map(|(header, payload)| Frame {
            header: Header::read(header),
            payload,
            bytes: message,
        }))
    }

    fn pending(&self) -> &[u8] {
        &self.buffer[self.start..self.end]
    }

    /// Length of the message at the start, as soon as it is known.
    fn pending_len(&self) -> Result<Option<usize>, FrameError> {
        let Some(length) = self.pending()[LENGTH..].first_chunk() else { return Ok(None) };
        let length = u32::from_ne_bytes(*length);
        if (HEADER_LEN..=HEADER_LEN + MAX_PAYLOAD).contains(&(length as usize)) {
            Ok(Some(length as usize))
        } else {
            Err(FrameError { length })
        }
    }
}
