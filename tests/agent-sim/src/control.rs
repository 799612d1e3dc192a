//! A client of the control socket that watches the rules a real agent relies on (control.md 2.3).

use std::io::{BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use crate::netlink::{self, AGENT_TYPE, HEADER, ReplyHeader};
use crate::object::Object;

/// Messages and bytes that an agent puts into one request at most (control.md 2.2).
const BULK: usize = 16;
const BULK_BYTES: usize = 4096 - HEADER;
/// Bytes that an agent reads at once (control.md 2.5).
const RECEIVED: usize = 40_960;

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
    stream: BufReader<UnixStream>,
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
                    let stream = BufReader::with_capacity(RECEIVED, stream);
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
        self.ask_ahead(&[messages])
    }

    /// Sends requests one behind the other, each by one write, before it looks for the first answer. Collects one answer
    /// for each message. Both sides wait for ever if there are more than the buffers of the sockets take.
    pub fn ask_ahead(&mut self, requests: &[&[Vec<u8>]]) -> Result<Vec<Answer>> {
        let answers = self.exchange(requests);
        // After any failure of the stream the next byte may belong to anything.
        self.closed |= answers.is_err();
        answers
    }

    fn exchange(&mut self, requests: &[&[Vec<u8>]]) -> Result<Vec<Answer>> {
        let first = self.sequence;
        for messages in requests {
            let request = netlink::request(AGENT_TYPE, self.sequence, self.pid, &messages.concat());
            // Each message takes one number, and the lowest bit names the agent's queue.
            self.sequence = self.sequence.wrapping_add(4 * messages.len() as u32);
            self.stream.get_mut().write_all(&request).context("writing to the control socket")?;
        }
        let (mut sequence, mut answers) = (first, Vec::new());
        for messages in requests {
            let before = answers.len();
            self.collect(sequence, &mut answers)?;
            let count = answers.len() - before;
            ensure!(count == messages.len(), "{count} answers to {} messages", messages.len());
            sequence = sequence.wrapping_add(4 * messages.len() as u32);
        }
        Ok(answers)
    }

    /// Reads the answers to one request.
    fn collect(&mut self, sequence: u32, answers: &mut Vec<Answer>) -> Result<()> {
        let own = answers.len();
        loop {
            let (header, payload) = self.read_message()?;
            ensure!(header.sequence == sequence, "answer to {} while {sequence} was asked", header.sequence);
            for object in Object::all(&payload)? {
                if object.name == "vr_response" {
                    answers.push(Answer { code: object.number(2) as i32, objects: Vec::new() });
                } else {
                    let answer = answers[own..].last_mut().context("an object before its response")?;
                    answer.objects.push(object);
                }
            }
            if !header.more {
                return Ok(());
            }
        }
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
