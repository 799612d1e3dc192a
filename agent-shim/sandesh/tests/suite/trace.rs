//! The exchange of a real agent with the original (docs/spec/agent-startup.md): each netlink message,
//! written from its decoded form, has the recorded lengths.

use std::str::FromStr;

use sandesh::netlink::{FrameReader, HEADER_LEN, Header, ReplyWriter, write_request};
use sandesh::{Compat, Kind, Message, Record, ValueMut, decode};

use crate::support::{decoded, hex, read};

/// The trace has `DIR` instead of the socket directory, and other words in the build information.
const DIRECTORY: &str = "/nineteen/bytes/dir";

struct Line<'a> {
    is_request: bool,
    length: usize,
    attribute_len: usize,
    header: Header,
    messages: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.splitn(11, ' ');
        let direction = words.nth(2).unwrap();
        let mut field = |name: &str| words.next().unwrap().strip_prefix(name).unwrap();
        let length = field("len=").parse().unwrap();
        let message_type = u16::from_str_radix(field("type=0x"), 16).unwrap();
        let flags = u16::from_str_radix(field("flags=0x"), 16).unwrap();
        let seq = field("seq=").parse().unwrap();
        let pid = field("pid=").parse().unwrap();
        let genl = hex(field("genl=")).try_into().unwrap();
        let attribute_len = field("nla=").strip_suffix("/1").unwrap().parse().unwrap();
        let header = Header { message_type, flags, seq, pid, genl };
        let messages = words.next().unwrap();
        Self { is_request: direction == "REQ", length, attribute_len, header, messages }
    }

    fn messages(&self) -> Vec<Message> {
        let mut rest = self.messages;
        let mut messages = Vec::new();
        while !rest.is_empty() {
            let (message, after) = parse_message(rest);
            messages.push(message);
            rest = after.trim_start();
        }
        messages
    }
}

/// Reads `name{field=value field=value ...}`; returns the message and what follows it.
fn parse_message(text: &str) -> (Message, &str) {
    let (name, mut rest) = text.split_once('{').unwrap();
    let mut message = Message::new(Kind::from_name(name.as_bytes()).unwrap());
    let names: Vec<&str> =
        rest.split([' ', '{']).filter_map(|word| word.split_once('=')).map(|(name, _)| name).collect();
    let fields: Vec<&str> =
        message.as_record().kind().fields().iter().copied().filter(|field| names.contains(field)).collect();
    for (index, field) in fields.iter().enumerate() {
        let (_, value) = rest.split_once(&format!("{field}=")).unwrap();
        // Text may have spaces and braces in it.
        let end = match fields.get(index + 1) {
            Some(next) => value.find(&format!(" {next}=")).unwrap(),
            None => value.find('}').unwrap(),
        };
        assign(message.as_record_mut().get_mut(field).unwrap(), &value[..end]);
        rest = &value[end..];
    }
    (message, &rest[1..])
}

fn assign(value: ValueMut<'_>, text: &str) {
    let elements = || text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap();
    match value {
        ValueMut::Text(value) => *value = text.replace("DIR", DIRECTORY),
        ValueMut::Byte(value) => *value = number(text),
        ValueMut::I16(value) => *value = number(text),
        ValueMut::U16(value) => *value = number(text),
        ValueMut::I32(value) => *value = number(text),
        ValueMut::U32(value) => *value = number(text),
        ValueMut::I64(value) => *value = number(text),
        ValueMut::U64(value) => *value = number(text),
        ValueMut::Bytes(value) => *value = hex(elements()),
        ValueMut::I16s(value) => *value = numbers(elements()),
        ValueMut::U16s(value) => *value = numbers(elements()),
        ValueMut::I32s(value) => *value = numbers(elements()),
        ValueMut::U32s(value) => *value = numbers(elements()),
        ValueMut::I64s(value) => *value = numbers(elements()),
        ValueMut::U64s(value) => *value = numbers(elements()),
    }
}

fn number<T: FromStr>(text: &str) -> T {
    text.parse().unwrap_or_else(|_| panic!("{text} is no number of this type"))
}

fn numbers<T: FromStr>(text: &str) -> Vec<T> {
    text.split(", ").filter(|element| !element.is_empty()).map(number).collect()
}

/// The netlink message of `line` as our writers make it.
fn rebuild(line: &Line<'_>, messages: &[Message]) -> Vec<u8> {
    let mut out = Vec::new();
    if line.is_request {
        let records: Vec<&dyn Record> = messages.iter().map(Message::as_record).collect();
        write_request(&line.header, Compat::Current, &records, &mut out);
        return out;
    }
    let [Message::Response(response), objects @ ..] = messages else { panic!("no response first") };
    let mut replies = ReplyWriter::new(&line.header, Compat::Current, &mut out);
    replies.response(response.resp_code);
    for object in objects {
        assert!(replies.object(object.as_record()));
    }
    out
}

#[test]
fn the_agents_start() {
    let trace = read("docs/spec/agent-startup-trace.txt");
    let lines: Vec<Line> = trace.lines().map(Line::parse).collect();
    assert_eq!(lines.iter().filter(|line| line.is_request).count(), 51);
    for line in &lines {
        let messages = line.messages();
        let built = rebuild(line, &messages);
        assert_eq!(built.len(), line.length, "{}", line.messages);
        let attribute_len = u16::from_ne_bytes([built[20], built[21]]);
        assert_eq!(usize::from(attribute_len), line.attribute_len, "{}", line.messages);

        let mut frames = FrameReader::new();
        frames.read_from(&mut built.as_slice()).unwrap();
        let frame = frames.next_frame().unwrap().unwrap();
        assert_eq!(frame.payload.len(), line.length - HEADER_LEN);
        assert_eq!(decoded(frame.payload, Compat::Current), messages);
    }
}

/// The answers to one request are as many as its messages, all but the last with the MULTI flag.
#[test]
fn bulk_requests() {
    let trace = read("docs/spec/agent-startup-trace.txt");
    let lines: Vec<Line> = trace.lines().map(Line::parse).collect();
    let bulk: Vec<&Line> = lines.iter().filter(|line| line.is_request && line.messages().len() > 1).collect();
    assert_eq!(bulk.len(), 6);
    for request in bulk {
        let mut sent = Vec::new();
        let messages = request.messages();
        let records: Vec<&dyn Record> = messages.iter().map(Message::as_record).collect();
        write_request(&request.header, Compat::Current, &records, &mut sent);

        let mut out = Vec::new();
        let mut replies = ReplyWriter::new(&request.header, Compat::Current, &mut out);
        for message in decode(&sent[HEADER_LEN..], Compat::Current) {
            message.unwrap();
            replies.response(0);
        }

        let mut frames = FrameReader::new();
        frames.read_from(&mut out.as_slice()).unwrap();
        let recorded = lines.iter().filter(|line| !line.is_request && line.header.seq == request.header.seq);
        for recorded in recorded {
            let frame = frames.next_frame().unwrap().expect("an answer for each message");
            assert_eq!(frame.header, recorded.header);
        }
        assert_eq!(frames.next_frame().unwrap(), None);
    }
}
