//! `vrctl replay`: sends the requests of a recording that `vrouterd --record` has made, and compares the
//! replies.
//!
//! A recording has one JSON object a line: `at`, seconds since it began; `connection`, which connection the
//! request came on; `request`, the netlink message in hex; `reply`, the netlink messages that answered it in
//! hex, one behind the other.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use sandesh::netlink::{HEADER_LEN, MAX_PAYLOAD};
use sandesh::{Compat, Message, decode};
use serde_json::Value;

use crate::client::SOCKET;
use crate::failure::Failure;
use crate::view::Item;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Connections that are kept open; the vrouter serves 64 clients.
const MOST_CONNECTIONS: usize = 32;
/// Where the flags of a netlink message are, and the one that says that another one follows.
const FLAGS: usize = 6;
const MULTI: u8 = 2;
/// Differences of one reply that are told.
const MOST_DIFFERENCES: usize = 20;

/// Send the requests of a recording, and compare the replies.
#[derive(Debug, clap::Args)]
pub(crate) struct Replay {
    /// The recording.
    file: PathBuf,
    /// Keep the intervals of the recording.
    #[arg(long)]
    paced: bool,
    /// Fields that may differ.
    #[arg(long, value_name = "FIELD", value_delimiter = ',')]
    ignore: Vec<String>,
}

/// One line of a recording.
struct Exchange {
    at: f64,
    connection: u64,
    request: Vec<u8>,
    reply: Vec<u8>,
}

/// Replays the recording to the vrouter in `directory`. The exit status is 1 if a reply differs.
pub(crate) fn run(replay: &Replay, directory: &Path) -> Result<(), Failure> {
    let file = File::open(&replay.file).with_context(|| format!("cannot open {}", replay.file.display()))?;
    let mut connections = Connections::default();
    let mut out = std::io::stdout();
    let begin = Instant::now();
    let (mut requests, mut different) = (0, 0);
    for (number, line) in (1..).zip(BufReader::new(file).lines()) {
        let place = || format!("{}:{number}", replay.file.display());
        let exchange = line.context("cannot read").and_then(|line| parse(&line)).with_context(place)?;
        if replay.paced {
            let due = Duration::try_from_secs_f64(exchange.at).unwrap_or_default();
            std::thread::sleep(due.saturating_sub(begin.elapsed()));
        }
        let reply = connections.ask(directory, &exchange).with_context(place)?;
        requests += 1;
        let differences = differences(&exchange, &reply, &replay.ignore);
        if !differences.is_empty() {
            different += 1;
            writeln!(out, "{}: {}", place(), title(&exchange.request))?;
            for difference in differences.iter().take(MOST_DIFFERENCES) {
                writeln!(out, "    {difference}")?;
            }
            if let Some(more) = differences.len().checked_sub(MOST_DIFFERENCES).filter(|more| *more > 0) {
                writeln!(out, "    and {more} more")?;
            }
        }
    }
    writeln!(out, "{requests} requests, {different} replies differ")?;
    if different > 0 { Err(Failure::Status(1)) } else { Ok(()) }
}

/// The connections that are open, the one that was used last at the end.
#[derive(Default)]
struct Connections(VecDeque<(u64, UnixStream)>);

impl Connections {
    /// Sends a request on its connection; returns the netlink messages that answer it.
    fn ask(&mut self, directory: &Path, exchange: &Exchange) -> anyhow::Result<Vec<u8>> {
        let open = self.0.iter().position(|(number, _)| *number == exchange.connection);
        let (number, mut stream) = match open.and_then(|place| self.0.remove(place)) {
            Some(open) => open,
            None => (exchange.connection, connect(directory)?),
        };
        let reply = ask(&mut stream, &exchange.request)?;
        self.0.push_back((number, stream));
        if self.0.len() > MOST_CONNECTIONS {
            // A recording does not tell when a client goes.
            self.0.pop_front();
        }
        Ok(reply)
    }
}

fn parse(line: &str) -> anyhow::Result<Exchange> {
    let value: Value = serde_json::from_str(line).context("no JSON")?;
    let bytes = |name: &str| {
        let text = value[name].as_str().with_context(|| format!("no `{name}`"))?;
        unhex(text).with_context(|| format!("`{name}` is no hex"))
    };
    Ok(Exchange {
        at: value["at"].as_f64().unwrap_or(0.0),
        connection: value["connection"].as_u64().context("no `connection`")?,
        request: bytes("request")?,
        reply: bytes("reply")?,
    })
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|digit| digit.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks_exact(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

fn connect(directory: &Path) -> anyhow::Result<UnixStream> {
    let path = directory.join(SOCKET);
    let stream = UnixStream::connect(&path)
        .with_context(|| format!("cannot connect to {}; is vrouterd running?", path.display()))?;
    stream.set_read_timeout(Some(PATIENCE)).context("cannot set a timeout")?;
    Ok(stream)
}

/// Sends a request; returns the netlink messages that answer it.
fn ask(stream: &mut UnixStream, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    stream.write_all(request).context("cannot send the request")?;
    let mut reply = Vec::new();
    loop {
        let mut header = [0; HEADER_LEN];
        stream.read_exact(&mut header).context("no answer")?;
        let length = u32::from_ne_bytes([header[0], header[1], header[2], header[3]]) as usize;
        ensure!((HEADER_LEN..=HEADER_LEN + MAX_PAYLOAD).contains(&length), "an answer of {length} bytes");
        let start = reply.len();
        reply.extend_from_slice(&header);
        reply.resize(start + length, 0);
        stream.read_exact(&mut reply[start + HEADER_LEN..]).context("the answer breaks off")?;
        if header[FLAGS] & MULTI == 0 {
            return Ok(reply);
        }
    }
}

/// What is not as recorded.
fn differences(exchange: &Exchange, reply: &[u8], ignore: &[String]) -> Vec<String> {
    if exchange.reply == reply {
        return Vec::new();
    }
    match (messages(&exchange.reply), messages(reply)) {
        (Ok(recorded), Ok(got)) => compare(&recorded, &got, ignore),
        (Err(error), _) => vec![format!("the recorded reply: {error:#}")],
        (_, Err(error)) => vec![format!("the reply: {error:#}")],
    }
}

/// The messages in a row of netlink messages.
fn messages(mut bytes: &[u8]) -> anyhow::Result<Vec<Message>> {
    let mut messages = Vec::new();
    while let Some(length) = bytes.first_chunk() {
        let length = u32::from_ne_bytes(*length) as usize;
        let Some((message, rest)) = bytes.split_at_checked(length).filter(|_| length >= HEADER_LEN) else {
            bail!("a netlink message of {length} bytes in {}", bytes.len());
        };
        for message in decode(&message[HEADER_LEN..], Compat::Current) {
            messages.push(message?);
        }
        bytes = rest;
    }
    Ok(messages)
}

fn compare(recorded: &[Message], got: &[Message], ignore: &[String]) -> Vec<String> {
    let mut differences = Vec::new();
    if recorded.len() != got.len() {
        differences.push(format!("{} messages instead of {}", got.len(), recorded.len()));
    }
    for (number, (recorded, got)) in recorded.iter().zip(got).enumerate() {
        let (kind, recorded_kind) = (got.as_record().kind(), recorded.as_record().kind());
        if kind != recorded_kind {
            differences.push(format!("{number}: {} instead of {}", kind.name(), recorded_kind.name()));
            continue;
        }
        let (recorded, got) = (recorded.json(), got.json());
        for field in kind.fields().iter().filter(|field| !ignore.iter().any(|name| name == *field)) {
            let (recorded, got) = (&recorded[*field], &got[*field]);
            if recorded != got {
                differences.push(format!("{number}: {field}: {got} instead of {recorded}"));
            }
        }
    }
    differences
}

/// Which request it is.
fn title(request: &[u8]) -> String {
    let messages = messages(request).unwrap_or_default();
    let names: Vec<&str> = messages.iter().map(|message| message.as_record().kind().name()).collect();
    if names.is_empty() { "a request that cannot be read".to_owned() } else { names.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::{parse, unhex};

    #[test]
    fn lines_are_checked() {
        assert_eq!(unhex("00fF"), Some(vec![0, 255]));
        assert_eq!((unhex("0"), unhex("0x"), unhex("")), (None, None, Some(Vec::new())));
        let exchange = parse(r#"{"at": 1.5, "connection": 2, "request": "01", "reply": "0203"}"#).unwrap();
        assert_eq!((exchange.connection, exchange.request, exchange.reply), (2, vec![1], vec![2, 3]));
        for bad in ["", "{}", r#"{"connection": 1, "request": "0", "reply": ""}"#] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
