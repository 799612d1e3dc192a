//! Reader of step files (docs/spec/step-files.md).

use std::path::Path;

use serde_json::{Map, Value};

/// One line of a step file.
pub(crate) enum Step {
    Request(Request),
    Reply(Reply),
    FlowEntry(FlowEntry),
    /// A frame comes in.
    Inject,
    /// Something that packets cause: frames, counters.
    Packets,
    /// Nothing to do: comments, ports of the tester.
    Passive,
}

/// A message that is sent.
pub(crate) struct Request {
    pub(crate) message: String,
    pub(crate) payload: Vec<u8>,
    fields: Map<String, Value>,
}

impl Request {
    /// A field that is a number; 0 if it is absent.
    pub(crate) fn number(&self, field: &str) -> i64 {
        self.fields.get(field).and_then(Value::as_i64).unwrap_or(0)
    }

    /// Fields that are not zero or empty, for people.
    pub(crate) fn given(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.fields.iter().filter(|(_, value)| match value {
            Value::Number(number) => number.as_i64() != Some(0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => !list.is_empty(),
            _ => true,
        })
    }
}

/// Its answer.
pub(crate) struct Reply {
    pub(crate) resp_code: i64,
    pub(crate) netlink_flags: Vec<u16>,
    pub(crate) ignore: Vec<String>,
    pub(crate) objects: Vec<Object>,
}

/// A returned object.
pub(crate) struct Object {
    pub(crate) message: String,
    pub(crate) fields: Map<String, Value>,
}

/// Bytes of a mapped flow entry; `mask` has offsets and lengths that do not count.
pub(crate) struct FlowEntry {
    pub(crate) index: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mask: Vec<(usize, usize)>,
}

/// The steps of a file.
pub(crate) fn read(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.trim().is_empty()).map(step).collect()
}

fn step(line: &str) -> Step {
    let line: Value = serde_json::from_str(line).unwrap();
    let kind = line["step"].as_str().unwrap();
    match kind {
        "request" => Step::Request(Request {
            message: line["message"].as_str().unwrap_or("").to_owned(),
            payload: bytes(&line["payload"]),
            fields: line["fields"].as_object().cloned().unwrap_or_default(),
        }),
        "reply" => Step::Reply(Reply {
            resp_code: line["resp_code"].as_i64().unwrap(),
            netlink_flags: serde_json::from_value(line["netlink_flags"].clone()).unwrap(),
            ignore: serde_json::from_value(line["ignore"].clone()).unwrap(),
            objects: line["objects"].as_array().unwrap().iter().map(object).collect(),
        }),
        "flow_entry" => Step::FlowEntry(FlowEntry {
            index: line["index"].as_u64().unwrap(),
            bytes: bytes(&line["bytes"]),
            mask: line["mask"].as_array().unwrap().iter().map(mask).collect(),
        }),
        "inject" => Step::Inject,
        "expect" | "expect_none" | "drop_stats" | "vif_stats" | "vrf_stats" => Step::Packets,
        "meta" | "attach" | "detach" | "note" => Step::Passive,
        other => panic!("unknown step {other}"),
    }
}

fn object(value: &Value) -> Object {
    Object {
        message: value["message"].as_str().unwrap().to_owned(),
        fields: value["fields"].as_object().unwrap().clone(),
    }
}

fn mask(value: &Value) -> (usize, usize) {
    (value[0].as_u64().unwrap() as usize, value[1].as_u64().unwrap() as usize)
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
