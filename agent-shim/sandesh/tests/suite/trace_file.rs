//! Reader of docs/spec/agent-startup-trace.txt; the tests of the shim include this file too.

use std::str::FromStr;

use sandesh::netlink::Header;
use sandesh::{Kind, Message, ValueMut};

/// The trace has `DIR` instead of the socket directory, and other words in the build information.
pub(crate) const DIRECTORY: &str = "/nineteen/bytes/dir";

/// A netlink message of the trace.
pub(crate) struct Line<'a> {
    /// 1 for the connection that stays, 2 and 3 for those that ask for the shared tables.
    pub(crate) connection: usize,
    pub(crate) is_request: bool,
    pub(crate) length: usize,
    pub(crate) attribute_len: usize,
    pub(crate) header: Header,
    /// The decoded messages, as text.
    pub(crate) text: &'a str,
}

/// The lines of the trace.
pub(crate) fn lines(trace: &str) -> Vec<Line<'_>> {
    trace.lines().map(Line::parse).collect()
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Self {
        let mut words = line.splitn(11, ' ');
        let connection = words.nth(1).unwrap().strip_prefix('c').unwrap().parse().unwrap();
        let direction = words.next().unwrap();
        let mut field = |name: &str| words.next().unwrap().strip_prefix(name).unwrap();
        let length = field("len=").parse().unwrap();
        let message_type = u16::from_str_radix(field("type=0x"), 16).unwrap();
        let flags = u16::from_str_radix(field("flags=0x"), 16).unwrap();
        let seq = field("seq=").parse().unwrap();
        let pid = field("pid=").parse().unwrap();
        let genl = hex(field("genl=")).try_into().unwrap();
        let attribute_len = field("nla=").strip_suffix("/1").unwrap().parse().unwrap();
        let header = Header { message_type, flags, seq, pid, genl };
        let text = words.next().unwrap();
        Self { connection, is_request: direction == "REQ", length, attribute_len, header, text }
    }

    pub(crate) fn messages(&self) -> Vec<Message> {
        let mut rest = self.text;
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

/// Bytes written as hexadecimal digits.
fn hex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}
