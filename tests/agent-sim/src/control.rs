//! A client of the control socket that watches the rules a real agent relies on (control.md 2.3).

use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::netlink::{self, AGENT_TYPE, HEADER, ReplyHeader};
use crate::object::Object;

/// Messages and bytes that an agent puts into one request at most (control.md 2.2).
const BULK: usize = 16;
const BULK_BYTES: usize = 4096 - HEADER;

/// What a vrouter answered to one message.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Zero, a count of dumped objects, or a negative errno.
    pub code: i32,
    /// The objects that followed the response.
    pub objects: Vec<Object>,
}

/// One connection to `dpdk_netlink`.
#[derive(Debug)]
pub struct Control {
    stream: UnixStream,
    sequence: u32,
    pid: u32,
    closed: bool,
}

impl Control {
    /// Connects, trying again until `patience` is over, as an agent does each second.
    pub fn connect(directory: &Path, patience: Duration) -> Result<Self> {
        let path = directory.join("dpdk_netlink");
        let deadline = Instant::now() + patience;
        loop {
            match UnixStream::connect(&path) {
                Ok(stream) => {
                    stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                    return Ok(Self { stream, sequence: 0, pid: std::process::id(), closed: false });
                }
                Err(error) if Instant::now() >= deadline => {
                    return Err(error).with_context(|| format!("connecting to {}", path.display()));
                }
                Err(_) => std::thread::sleep(Duration::from_millis(50)),
            }
        }
    }

    /// Sends messages as one request and collects one answer for each.
    pub fn ask(&mut self, messages: &[Vec<u8>]) -> Result<Vec<Answer>> {
        let sequence = self.sequence;
        // Each message takes one number, and the lowest bit names the agent's queue.
        self.sequence = self.sequence.wrapping_add(4 * messages.len() as u32);
        let request = netlink::request(AGENT_TYPE, sequence, self.pid, &messages.concat());
        let answers = self.exchange(&request, sequence);
        // After any failure of the stream the next byte may belong to anything.
        self.closed |= answers.is_err();
        let answers = answers?;
        ensure!(answers.len() == messages.len(), "{} answers to {} messages", answers.len(), messages.len());
        Ok(answers)
    }

    fn exchange(&mut self, request: &[u8], sequence: u32) -> Result<Vec<Answer>> {
        self.stream.write_all(request).context("writing to the control socket")?;
        let mut answers: Vec<Answer> = Vec::new();
        loop {
            let (header, payload) = self.read_message()?;
            ensure!(header.sequence == sequence, "answer to {} while {sequence} was asked", header.sequence);
            for object in Object::all(&payload)? {
                if object.name == "vr_response" {
                    answers.push(Answer { code: object.number(2) as i32, objects: Vec::new() });
                } else {
                    answers.last_mut().context("an object before its response")?.objects.push(object);
                }
            }
            if !header.more {
                break;
            }
        }
        Ok(answers)
    }

    /// Sends one message; an error code of the vrouter is an error here.
    pub fn one(&mut self, message: Vec<u8>) -> Result<Answer> {
        let name = name_of(&message);
        let answer = self.ask(&[message])?.pop().context("no answer")?;
        ensure!(answer.code >= 0, "{name}: {}", errno(answer.code));
        Ok(answer)
    }

    /// Sends any number of messages in bulks; the first error code ends it.
    pub fn apply(&mut self, messages: &[Vec<u8>]) -> Result<()> {
        let mut rest = messages;
        while !rest.is_empty() {
            let mut bytes = 0;
            let fits = |message: &&Vec<u8>| {
                bytes += message.len();
                bytes <= BULK_BYTES
            };
            let count = rest.iter().take(BULK).take_while(fits).count().max(1);
            let (bulk, later) = rest.split_at(count);
            for (message, answer) in bulk.iter().zip(self.ask(bulk)?) {
                if answer.code < 0 {
                    bail!("{}: {}: {:?}", name_of(message), errno(answer.code), Object::all(message)?);
                }
            }
            rest = later;
        }
        Ok(())
    }

    /// Whether the vrouter has gone away.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    fn read_message(&mut self) -> Result<(ReplyHeader, Vec<u8>)> {
        let mut header = [0_u8; HEADER];
        self.stream.read_exact(&mut header).map_err(explain).context("reading from the control socket")?;
        let header = ReplyHeader::parse(&header, AGENT_TYPE)?;
        let mut payload = vec![0; header.payload];
        self.stream.read_exact(&mut payload).map_err(explain).context("reading from the control socket")?;
        Ok((header, payload))
    }
}

fn explain(error: std::io::Error) -> anyhow::Error {
    match error.kind() {
        ErrorKind::WouldBlock => anyhow::anyhow!("no answer within 20 seconds"),
        ErrorKind::UnexpectedEof => anyhow::anyhow!("the vrouter closed the connection"),
        _ => error.into(),
    }
}

fn errno(code: i32) -> std::io::Error {
    std::io::Error::from_raw_os_error(-code)
}

fn name_of(message: &[u8]) -> String {
    Object::all(message)
        .ok()
        .and_then(|all| all.into_iter().next())
        .map_or_else(String::new, |object| object.name)
}
