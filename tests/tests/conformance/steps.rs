//! Reader of step files (docs/spec/step-files.md).

use std::path::Path;

use serde_json::{Map, Value};

/// One line of a step file.
pub(crate) enum Step {
    Attach(String),
    Detach(String),
    Request(Request),
    Reply(Reply),
    Inject(Inject),
    Expect(Expect),
    /// Nothing comes out for so many milliseconds.
    ExpectNone(u64),
    DropStats {
        delta: Map<String, Value>,
        ignore: Vec<String>,
    },
    VifStats {
        vif: i64,
        delta: Map<String, Value>,
    },
    VrfStats {
        vrf: i64,
        delta: Map<String, Value>,
    },
    FlowEntry(FlowEntry),
    /// Nothing to do.
    Passive,
}

/// A message that is sent.
pub(crate) struct Request {
    pub(crate) message: String,
    pub(crate) payload: Vec<u8>,
    fields: Map<String, Value>,
}

impl Request {
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

/// A frame that comes in.
pub(crate) struct Inject {
    pub(crate) vif: String,
    pub(crate) frame: Vec<u8>,
}

/// A frame that goes out.
pub(crate) struct Expect {
    pub(crate) vif: String,
    pub(crate) frame: Vec<u8>,
    pub(crate) mask: Vec<Mask>,
    pub(crate) text: String,
    pub(crate) unordered: bool,
}

/// Bytes that are not compared.
pub(crate) struct Mask {
    pub(crate) offset: usize,
    pub(crate) len: usize,
    pub(crate) why: String,
}

/// Bytes of a mapped flow entry.
pub(crate) struct FlowEntry {
    pub(crate) index: u64,
    pub(crate) bytes: Vec<u8>,
    pub(crate) mask: Vec<Mask>,
}

/// Whether a mask covers a byte.
pub(crate) fn masked(mask: &[Mask], at: usize) -> bool {
    mask.iter().any(|part| (part.offset..part.offset + part.len).contains(&at))
}

/// The steps of a file.
pub(crate) fn read(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text.lines().filter(|line| !line.trim().is_empty()).map(step).collect()
}

fn step(line: &str) -> Step {
    let line: Value = serde_json::from_str(line).unwrap();
    match line["step"].as_str().unwrap() {
        "attach" => Step::Attach(text(&line["vif"])),
        "detach" => Step::Detach(text(&line["vif"])),
        "request" => Step::Request(Request {
            message: text(&line["message"]),
            payload: bytes(&line["payload"]),
            fields: line["fields"].as_object().cloned().unwrap_or_default(),
        }),
        "reply" => Step::Reply(Reply {
            resp_code: line["resp_code"].as_i64().unwrap(),
            netlink_flags: serde_json::from_value(line["netlink_flags"].clone()).unwrap(),
            ignore: serde_json::from_value(line["ignore"].clone()).unwrap(),
            objects: line["objects"].as_array().unwrap().iter().map(object).collect(),
        }),
        "inject" => Step::Inject(Inject { vif: text(&line["vif"]), frame: bytes(&line["frame"]) }),
        "expect" => Step::Expect(Expect {
            vif: text(&line["vif"]),
            frame: bytes(&line["frame"]),
            mask: mask(&line["mask"]),
            text: text(&line["text"]),
            unordered: line["unordered"].as_bool().unwrap_or(false),
        }),
        "expect_none" => Step::ExpectNone(line["within_ms"].as_u64().unwrap()),
        "drop_stats" => Step::DropStats {
            delta: map(&line["delta"]),
            ignore: serde_json::from_value(line["ignore"].clone()).unwrap(),
        },
        "vif_stats" => Step::VifStats { vif: line["vif_idx"].as_i64().unwrap(), delta: map(&line["delta"]) },
        "vrf_stats" => Step::VrfStats { vrf: line["vrf"].as_i64().unwrap(), delta: map(&line["delta"]) },
        "flow_entry" => Step::FlowEntry(FlowEntry {
            index: line["index"].as_u64().unwrap(),
            bytes: bytes(&line["bytes"]),
            mask: mask(&line["mask"]),
        }),
        "meta" | "note" => Step::Passive,
        other => panic!("unknown step {other}"),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap().to_owned()
}

fn map(value: &Value) -> Map<String, Value> {
    value.as_object().unwrap().clone()
}

fn object(value: &Value) -> Object {
    Object { message: text(&value["message"]), fields: map(&value["fields"]) }
}

fn mask(value: &Value) -> Vec<Mask> {
    let number = |value: &Value| value.as_u64().unwrap() as usize;
    let part = |part: &Value| Mask { offset: number(&part[0]), len: number(&part[1]), why: text(&part[2]) };
    value.as_array().unwrap().iter().map(part).collect()
}

fn bytes(value: &Value) -> Vec<u8> {
    let digits = value.as_str().unwrap().as_bytes();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}
