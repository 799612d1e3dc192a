//! A client that reads as the command line utilities read (test-rig.md 2): 16 bytes with one read, and the rest with
//! another one.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use sandesh::netlink::{FrameReader, Header, MAX_REPLY, write_request};
use sandesh::{Compat, Message, Record, decode};

/// How long an answer may take on a slow day.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// Bytes of the first read.
const FIRST: usize = 16;

/// A netlink message of the server.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) length: usize,
    pub(crate) attribute_len: usize,
    pub(crate) header: Header,
    pub(crate) messages: Vec<Message>,
}

pub(crate) struct Client {
    pub(crate) stream: UnixStream,
    seq: u32,
}

impl Client {
    pub(crate) fn connect(directory: &Path) -> Self {
        let stream = UnixStream::connect(directory.join("dpdk_netlink")).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self { stream, seq: 0 }
    }

    /// Sends one netlink message with these messages.
    pub(crate) fn send(&mut self, messages: &[&dyn Record]) {
        let header = Header::request(self.seq);
        self.seq += 1;
        self.stream.write_all(&framed(&header, messages)).unwrap();
    }

    /// Reads one netlink message, which must be there whole.
    pub(crate) fn read(&mut self) -> Reply {
        let mut buffer = [0; MAX_REPLY];
        let first = self.stream.read(&mut buffer[..FIRST]).expect("no answer in time");
        assert_eq!(first, FIRST, "a header in one read");
        let length = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]) as usize;
        assert!((FIRST..=MAX_REPLY).contains(&length), "{length} bytes");
        assert_eq!(
            self.stream.read(&mut buffer[FIRST..length]).unwrap(),
            length - FIRST,
            "the rest in one read"
        );
        let mut frames = FrameReader::new();
        frames.read_from(&mut &buffer[..length]).unwrap();
        let frame = frames.next_frame().unwrap().unwrap();
        let messages = decode(frame.payload, Compat::Current).map(Result::unwrap).collect();
        let attribute_len = u16::from_ne_bytes([buffer[20], buffer[21]]).into();
        Reply { length, attribute_len, header: frame.header, messages }
    }

    /// Reads all netlink messages that answer one request.
    pub(crate) fn read_all(&mut self) -> Vec<Reply> {
        let mut replies = vec![self.read()];
        while replies.last().is_some_and(|reply| reply.header.is_multi()) {
            replies.push(self.read());
        }
        replies
    }

    /// Sends a message; returns the code of the response and the objects.
    pub(crate) fn ask(&mut self, message: &dyn Record) -> (i32, Vec<Message>) {
        self.send(&[message]);
        let mut messages = self.read_all().into_iter().flat_map(|reply| reply.messages);
        let Some(Message::Response(response)) = messages.next() else { panic!("no response first") };
        (response.resp_code, messages.collect())
    }
}

/// A netlink message with these messages.
pub(crate) fn framed(header: &Header, messages: &[&dyn Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_request(header, Compat::Current, messages, &mut bytes);
    bytes
}
