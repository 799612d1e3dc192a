//! Comparison of answers with recorded ones, field by field.

use std::fmt::Write;

use sandesh::{Record, Value};
use serde_json::Value as Json;

use crate::node::Answer;
use crate::steps::{Object, Reply};

/// What differs, a line each; empty if nothing does.
pub(crate) fn differences(answer: &Answer, recorded: &Reply) -> String {
    let mut lines = String::new();
    if answer.codes != [recorded.resp_code] {
        writeln!(lines, "    responses {:?}, recorded {}", answer.codes, recorded.resp_code).unwrap();
    }
    if answer.flags != recorded.netlink_flags {
        writeln!(lines, "    netlink flags {:?}, recorded {:?}", answer.flags, recorded.netlink_flags)
            .unwrap();
    }
    if answer.objects.len() != recorded.objects.len() {
        writeln!(lines, "    {} objects, recorded {}", answer.objects.len(), recorded.objects.len()).unwrap();
    }
    for (number, (object, recorded_object)) in answer.objects.iter().zip(&recorded.objects).enumerate() {
        compare(number, object.as_record(), recorded_object, &recorded.ignore, &mut lines);
    }
    lines
}

fn compare(number: usize, object: &dyn Record, recorded: &Object, ignore: &[String], lines: &mut String) {
    let kind = object.kind().name();
    if kind != recorded.message {
        writeln!(lines, "    object {number} is {kind}, recorded {}", recorded.message).unwrap();
        return;
    }
    for (name, wanted) in recorded.fields.iter().filter(|(name, _)| !ignore.contains(name)) {
        let ours = object.get(name).map_or(Json::Null, json);
        if ours != *wanted {
            writeln!(lines, "    object {number} {name} = {ours}, recorded {wanted}").unwrap();
        }
    }
}

/// A field as the recordings write it.
fn json(value: Value<'_>) -> Json {
    match value {
        Value::Byte(number) => number.into(),
        Value::I16(number) => number.into(),
        Value::U16(number) => number.into(),
        Value::I32(number) => number.into(),
        Value::U32(number) => number.into(),
        Value::I64(number) => number.into(),
        Value::U64(number) => number.into(),
        Value::Bytes(bytes) => {
            let octets: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            octets.concat().into()
        }
        Value::I16s(list) => list.into(),
        Value::U16s(list) => list.into(),
        Value::I32s(list) => list.into(),
        Value::U32s(list) => list.into(),
        Value::I64s(list) => list.into(),
        Value::U64s(list) => list.into(),
        Value::Text(text) => text.into(),
    }
}

/// Numbers of an object by name; lists and texts are left out.
pub(crate) fn numbers(object: &dyn Record) -> std::collections::BTreeMap<&'static str, i64> {
    let fields = object.kind().fields();
    fields.iter().filter_map(|name| Some((*name, json(object.get(name)?).as_i64()?))).collect()
}
