//! The exchange of a real agent with the original (docs/spec/agent-startup.md): each netlink message,
//! written from its decoded form, has the recorded lengths.

use sandesh::netlink::{FrameReader, HEADER_LEN, ReplyWriter, write_request};
use sandesh::{Compat, Message, Record, decode};

use crate::support::{decoded, read};
use crate::trace_file::{Line, lines};

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
    let lines = lines(&trace);
    assert_eq!(lines.iter().filter(|line| line.is_request).count(), 51);
    for line in &lines {
        assert!((1..=3).contains(&line.connection), "{}", line.text);
        let messages = line.messages();
        let built = rebuild(line, &messages);
        assert_eq!(built.len(), line.length, "{}", line.text);
        let attribute_len = u16::from_ne_bytes([built[20], built[21]]);
        assert_eq!(usize::from(attribute_len), line.attribute_len, "{}", line.text);

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
    let lines = lines(&trace);
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
