//! The requests of the step files (docs/spec/step-files.md).

use std::path::Path;

use sandesh::{Compat, decode, encode};
use serde_json::Value;

/// The payloads of one file, in order.
pub(crate) type Requests = Vec<Vec<u8>>;

/// The requests of each file.
pub(crate) fn files() -> Vec<Requests> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    paths.sort();
    assert!(paths.len() >= 24, "{} step files", paths.len());
    paths.iter().map(|path| requests(&std::fs::read_to_string(path).unwrap())).collect()
}

fn requests(text: &str) -> Requests {
    let steps = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    steps
        .filter(|step| step["step"] == "request")
        .map(|step| unhex(step["payload"].as_str().unwrap()))
        .collect()
}

fn unhex(text: &str) -> Vec<u8> {
    let digit = |digit: u8| char::from(digit).to_digit(16).unwrap() as u8;
    text.as_bytes().chunks_exact(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

/// The requests as a client of this release sends them, as far as it has their messages.
pub(crate) fn in_release(requests: &Requests, compat: Compat) -> Requests {
    let messages = requests.iter().map(|payload| decode(payload, Compat::Current).next().unwrap().unwrap());
    let known = messages.filter(|message| message.as_record().kind().exists_in(compat));
    let encoded = |message: sandesh::Message| {
        let mut payload = Vec::new();
        encode(message.as_record(), compat, &mut payload);
        payload
    };
    known.map(encoded).collect()
}
