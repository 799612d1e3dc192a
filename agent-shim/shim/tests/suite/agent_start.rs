//! A real agent's start (docs/spec/agent-startup.md): its requests, sent as it sent them, get the answers of the
//! original.

use std::io::Write;
use std::path::Path;

use sandesh::{Message, Record};

use crate::client::{Client, framed};
use crate::served::Served;
use crate::trace_file::{DIRECTORY, Line, lines};

/// Differs between any two daemons: when and where they were built, how many processors they have.
const OWN: [&str; 3] = ["vo_build_info", "ftable_cpus", "ftable_hold_stat"];

/// As the recording would be if `directory` had been its socket directory.
fn recorded(line: &Line<'_>, directory: &Path) -> Vec<Message> {
    let mut messages = line.messages();
    for message in &mut messages {
        let path = match message {
            Message::FlowTableData(data) => &mut data.ftable_file_path,
            Message::BridgeTableData(data) => &mut data.btable_file_path,
            _ => continue,
        };
        *path = path.replace(DIRECTORY, directory.to_str().unwrap());
    }
    messages
}

/// Requests, and how many of them the agent sends one by one.
const REQUESTS: usize = 51;
const BLOCKING: usize = 5;

fn differences(ours: &Message, recorded: &Message) -> Vec<String> {
    let (ours, recorded) = (ours.as_record(), recorded.as_record());
    if ours.kind() != recorded.kind() {
        return vec![format!("{} instead of {}", ours.kind().name(), recorded.kind().name())];
    }
    let fields = ours.kind().fields().iter().filter(|name| !OWN.contains(name));
    let different = fields.filter(|name| ours.get(name) != recorded.get(name));
    different
        .map(|name| format!("{name} = {:?}, recorded {:?}", ours.get(name), recorded.get(name)))
        .collect()
}

/// Reads the answer that a line of the trace shows; what differs.
fn compare(client: &mut Client, line: &Line<'_>, directory: &Path) -> Vec<String> {
    let reply = client.read();
    assert_eq!(reply.header, line.header, "{}", line.text);
    let recorded = recorded(line, directory);
    if recorded.len() == 1 {
        assert_eq!((reply.length, reply.attribute_len), (line.length, line.attribute_len), "{}", line.text);
    }
    assert_eq!(reply.messages.len(), recorded.len(), "{}", line.text);
    let pairs = reply.messages.iter().zip(&recorded);
    pairs.flat_map(|(ours, recorded)| differences(ours, recorded)).collect()
}

/// The lines are followed in their order: a request is sent when the agent sent it, be the answers to those before it
/// there or not. An `eager` agent sends all of them as soon as it does not wait for each answer any more. Returns the
/// most requests that were unanswered at a time, and what differs.
fn start(served: &Served, eager: bool) -> (usize, Vec<String>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/spec/agent-startup-trace.txt");
    let trace = std::fs::read_to_string(path).unwrap();
    let lines = lines(&trace);
    let mut clients = [(); 3].map(|()| Some(served.connect()));
    let (mut outstanding, mut most, mut different) = (0_usize, 0, Vec::new());
    let mut requests = lines.iter().filter(|line| line.is_request);
    let (mut sent, mut due) = (0, 0);
    for line in &lines {
        due += usize::from(line.is_request);
        if eager && due > BLOCKING {
            due = REQUESTS;
        }
        // Twice an answer was noted before its request.
        let seq = if line.is_request { 0 } else { line.header.seq };
        let mut last = 0;
        while sent < due || last < seq && outstanding == 0 {
            let request = requests.next().unwrap();
            let messages = request.messages();
            let records: Vec<&dyn Record> = messages.iter().map(Message::as_record).collect();
            let client = clients[request.connection - 1].as_mut().unwrap();
            client.stream.write_all(&framed(&request.header, &records)).unwrap();
            (sent, last, outstanding) = (sent + 1, request.header.seq, outstanding + 1);
            most = most.max(outstanding);
        }
        if line.is_request {
            continue;
        }
        let client = clients[line.connection - 1].as_mut().unwrap();
        let found = compare(client, line, served.directory());
        different.extend(found.into_iter().map(|text| format!("seq {seq}: {text}")));
        outstanding -= usize::from(!line.header.is_multi());
        if line.connection != 1 {
            clients[line.connection - 1] = None;
        }
    }
    assert_eq!((outstanding, sent), (0, REQUESTS));
    (most, different)
}

#[test]
fn an_agent_starts() {
    let served = Served::new();
    let (most, different) = start(&served, false);
    assert!(most >= 5, "the requests are pipelined: {most} without answer");
    assert!(different.is_empty(), "{different:#?}");
}

/// It begins with a reset, so that everything is as at its first start.
#[test]
fn an_agent_starts_again_and_in_a_hurry() {
    let served = Served::new();
    for eager in [false, true, true] {
        let (most, different) = start(&served, eager);
        assert_eq!(most == REQUESTS - BLOCKING, eager, "{most} without answer");
        assert!(different.is_empty(), "{different:#?}");
    }
}
