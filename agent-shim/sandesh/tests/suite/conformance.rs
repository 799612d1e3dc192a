//! The recorded requests and replies (docs/spec/step-files.md) pass through the codec unchanged.

use std::fs;

use sandesh::{Compat, Message};
use serde_json::Value as Json;

use crate::support::{decoded, encoded, hex, repository, to_json};

/// Calls `check` with the file name and every step of every step file.
fn each_step(mut check: impl FnMut(&str, &Json)) {
    let mut files: Vec<_> =
        fs::read_dir(repository("tests/conformance")).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    assert!(!files.is_empty(), "no step files");
    for path in files {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        for line in fs::read_to_string(&path).unwrap().lines() {
            check(&name, &serde_json::from_str(line).unwrap());
        }
    }
}

fn payload(step: &Json) -> Vec<u8> {
    hex(step["payload"].as_str().unwrap())
}

fn encoded_all(messages: &[Message]) -> Vec<u8> {
    messages.iter().flat_map(|message| encoded(message.as_record(), Compat::Current)).collect()
}

/// The message has the fields that the recording shows for people.
fn assert_fields(place: &str, message: &Message, fields: &Json) {
    for (name, shown) in fields.as_object().unwrap() {
        let value = message.as_record().get(name).unwrap_or_else(|| panic!("{place}: no field {name}"));
        assert_eq!(&to_json(value), shown, "{place}: {name}");
    }
}

#[test]
fn requests() {
    let mut count = 0;
    each_step(|file, step| {
        if step["step"] != "request" {
            return;
        }
        count += 1;
        let payload = payload(step);
        let messages = decoded(&payload, Compat::Current);
        let [message] = messages.as_slice() else { panic!("{file}: {} messages", messages.len()) };
        assert_eq!(message.as_record().kind().name(), step["message"], "{file}");
        assert_fields(file, message, &step["fields"]);
        assert_eq!(encoded_all(&messages), payload, "{file}");
    });
    assert!(count > 1000, "only {count} requests");
}

#[test]
fn replies() {
    let mut count = 0;
    each_step(|file, step| {
        if step["step"] != "reply" {
            return;
        }
        count += 1;
        let payload = payload(step);
        let messages = decoded(&payload, Compat::Current);
        let [Message::Response(response), objects @ ..] = messages.as_slice() else {
            panic!("{file}: no response first")
        };
        assert_eq!(step["resp_code"], response.resp_code, "{file}");
        let shown = step["objects"].as_array().unwrap();
        assert_eq!(objects.len(), shown.len(), "{file}");
        for (object, shown) in objects.iter().zip(shown) {
            assert_eq!(object.as_record().kind().name(), shown["message"], "{file}");
            assert_fields(file, object, &shown["fields"]);
        }
        assert_eq!(encoded_all(&messages), payload, "{file}");
    });
    assert!(count > 1000, "only {count} replies");
}
