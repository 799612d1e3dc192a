//! What several tests need.

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use sandesh::{Compat, Message, Record, Value, decode, encode};
use serde_json::{Value as Json, json};

/// A path below the root of the repository.
pub(crate) fn repository(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path)
}

pub(crate) fn read(path: &str) -> String {
    let path = repository(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

/// Bytes written as hexadecimal digits, spaces allowed.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    assert!(digits.len().is_multiple_of(2), "odd number of digits in {text}");
    let byte = |pair: &[char]| u8::from_str_radix(&String::from_iter(pair), 16).unwrap();
    digits.chunks(2).map(byte).collect()
}

fn to_hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        write!(text, "{byte:02x}").unwrap();
    }
    text
}

pub(crate) fn encoded(record: &dyn Record, compat: Compat) -> Vec<u8> {
    let mut out = Vec::new();
    encode(record, compat, &mut out);
    out
}

/// The messages of a payload that must be without fault.
pub(crate) fn decoded(payload: &[u8], compat: Compat) -> Vec<Message> {
    decode(payload, compat).collect::<Result<_, _>>().unwrap()
}

/// The one message of a payload.
pub(crate) fn decoded_one(payload: &[u8], compat: Compat) -> Message {
    let mut messages = decoded(payload, compat);
    assert_eq!(messages.len(), 1);
    messages.remove(0)
}

/// A field as the step files show it: bytes as hexadecimal digits.
pub(crate) fn to_json(value: Value<'_>) -> Json {
    match value {
        Value::Text(text) => json!(text),
        Value::Byte(n) => json!(n),
        Value::I16(n) => json!(n),
        Value::U16(n) => json!(n),
        Value::I32(n) => json!(n),
        Value::U32(n) => json!(n),
        Value::I64(n) => json!(n),
        Value::U64(n) => json!(n),
        Value::Bytes(bytes) => json!(to_hex(bytes)),
        Value::I16s(list) => json!(list),
        Value::U16s(list) => json!(list),
        Value::I32s(list) => json!(list),
        Value::U32s(list) => json!(list),
        Value::I64s(list) => json!(list),
        Value::U64s(list) => json!(list),
    }
}
