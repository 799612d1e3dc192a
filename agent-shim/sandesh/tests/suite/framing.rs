//! Netlink framing (control.md 2, test-rig.md 2).

use std::io::{self, Read};

use sandesh::constants::response::{VR_MESSAGE_DUMP_INCOMPLETE, VR_MESSAGE_PAGE_SIZE};
use sandesh::messages::{DropStatsReq, InterfaceReq, MplsReq, NexthopReq};
use sandesh::netlink::{FrameReader, HEADER_LEN, Header, MAX_PAYLOAD, MAX_REPLY, ReplyWriter, write_request};
use sandesh::{Compat, Message, Record};

use crate::support::{decoded, encoded};

/// As the agent sends it.
const REQUEST: Header = Header { message_type: 24, flags: 1, seq: 0x0102_0304, pid: 108, genl: [1, 2, 3, 4] };

/// The netlink messages of `stream`, each with its whole length, header, attribute length and payload.
struct Reply {
    length: usize,
    header: Header,
    attribute_len: usize,
    payload: Vec<u8>,
}

fn replies(mut stream: &[u8]) -> Vec<Reply> {
    let mut replies = Vec::new();
    while !stream.is_empty() {
        let length = u32::from_ne_bytes(stream[..4].try_into().unwrap()) as usize;
        let attribute_len = u16::from_ne_bytes(stream[20..22].try_into().unwrap()).into();
        let mut frames = FrameReader::new();
        frames.read_from(&mut &stream[..length]).unwrap();
        let frame = frames.next_frame().unwrap().unwrap();
        let payload = frame.payload.to_vec();
        replies.push(Reply { length, header: frame.header, attribute_len, payload });
        stream = &stream[length..];
    }
    replies
}

fn resp_code(reply: &Reply) -> i32 {
    match decoded(&reply.payload, Compat::Current).first() {
        Some(Message::Response(response)) => response.resp_code,
        other => panic!("{other:?} instead of a response"),
    }
}

#[test]
fn a_reply_echoes_its_request() {
    let mut out = Vec::new();
    ReplyWriter::new(&REQUEST, Compat::Current, &mut out).response(-2);
    let [reply] = replies(&out).try_into().ok().unwrap();
    assert_eq!(reply.header, Header { flags: 0, pid: 0, ..REQUEST });
    assert_eq!((reply.length, reply.attribute_len), (54, 30));
    assert_eq!(resp_code(&reply), -2);
}

#[test]
fn an_object_shares_the_message_of_its_response() {
    let nexthop = NexthopReq { nhr_id: 7, ..Default::default() };
    let mut out = vec![0xee; 5];
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    writer.response(0);
    assert!(writer.object(&nexthop));
    assert_eq!(&out[..5], [0xee; 5]);
    let [reply] = replies(&out[5..]).try_into().ok().unwrap();
    assert_eq!(reply.length, HEADER_LEN + 30 + 223);
    assert_eq!(reply.attribute_len, 30 + 223);
    assert_eq!(decoded(&reply.payload, Compat::Current)[1], Message::from(nexthop));
}

#[test]
fn an_object_needs_a_response_and_room() {
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    assert!(!writer.object(&MplsReq::default()));
    writer.response(0);
    let room = MAX_REPLY - HEADER_LEN - 30 - 223;
    let too_long = NexthopReq { nhr_encap: vec![0; room + 1], ..Default::default() };
    assert!(!writer.object(&too_long));
    let fits = NexthopReq { nhr_encap: vec![0; room], ..Default::default() };
    assert!(writer.object(&fits));
    assert!(!writer.object(&MplsReq::default()));
    let [reply] = replies(&out).try_into().ok().unwrap();
    assert_eq!(reply.length, MAX_REPLY);
    assert_eq!(decoded(&reply.payload, Compat::Current).len(), 2);
}

#[test]
fn all_messages_but_the_last_say_that_more_follow() {
    let label = MplsReq { mr_label: 16, ..Default::default() };
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    writer.response(0);
    assert!(writer.dump().push(&[&label]));
    writer.dump();
    writer.response(-22);
    let replies = replies(&out);
    let flags: Vec<bool> = replies.iter().map(|reply| reply.header.is_multi()).collect();
    assert_eq!(flags, [true, true, true, true, false]);
    let codes: Vec<i32> = [0, 1, 3, 4].map(|index| resp_code(&replies[index])).into();
    assert_eq!(codes, [0, 1, 0, -22]);
    assert_eq!(decoded(&replies[2].payload, Compat::Current), [Message::from(label)]);
}

#[test]
fn an_empty_dump_is_one_message() {
    let mut out = Vec::new();
    ReplyWriter::new(&REQUEST, Compat::Current, &mut out).dump();
    let [reply] = replies(&out).try_into().ok().unwrap();
    assert!(!reply.header.is_multi());
    assert_eq!(resp_code(&reply), 0);
}

#[test]
fn a_dump_stops_at_the_size_of_a_part() {
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    let mut part = writer.dump();
    let mut pushed = 0;
    while part.push(&[&MplsReq { mr_label: pushed, ..Default::default() }]) {
        pushed += 1;
    }
    assert!(!part.push(&[]), "nothing can follow");
    assert_eq!(pushed, VR_MESSAGE_PAGE_SIZE / 49);

    let [response, objects] = replies(&out).try_into().ok().unwrap();
    assert_eq!(resp_code(&response), pushed | VR_MESSAGE_DUMP_INCOMPLETE);
    assert!(response.header.is_multi() && !objects.header.is_multi());
    assert!(objects.length <= MAX_REPLY);
    assert_eq!(decoded(&objects.payload, Compat::Current).len(), pushed as usize);
}

#[test]
fn a_group_is_not_separated() {
    let vif = InterfaceReq::default();
    let drops = DropStatsReq::default();
    let group: [&dyn Record; 2] = [&vif, &drops];
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    let mut part = writer.dump();
    // Three groups of 732 + 637 bytes exceed a part, though a third vif alone would not.
    assert!(part.push(&group));
    assert!(part.push(&group));
    assert!(!part.push(&group));
    let [response, objects] = replies(&out).try_into().ok().unwrap();
    assert_eq!(resp_code(&response), 4 | VR_MESSAGE_DUMP_INCOMPLETE);
    assert_eq!(objects.payload.len(), 2 * (732 + 637));
}

#[test]
fn an_object_that_fits_in_no_part_does_not_hide_others() {
    let huge = NexthopReq { nhr_nh_list: vec![1; 1000], ..Default::default() };
    let label = MplsReq { mr_label: 7, ..Default::default() };
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    let mut part = writer.dump();
    assert!(part.push(&[&huge]));
    assert!(part.push(&[&label]));
    assert!(!part.push(&[&huge]), "it is left out when it comes first");
    let [response, objects] = replies(&out).try_into().ok().unwrap();
    assert_eq!(resp_code(&response), 1 | VR_MESSAGE_DUMP_INCOMPLETE);
    assert_eq!(decoded(&objects.payload, Compat::Current), [Message::from(label)]);
}

#[test]
fn a_group_that_fits_in_no_part_is_cut() {
    let label = MplsReq::default();
    let group: Vec<&dyn Record> = vec![&label; 100];
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::Current, &mut out);
    let mut part = writer.dump();
    assert!(part.push(&group));
    assert!(!part.push(&[&label]));
    let [response, objects] = replies(&out).try_into().ok().unwrap();
    assert_eq!(resp_code(&response), (VR_MESSAGE_PAGE_SIZE / 49) | VR_MESSAGE_DUMP_INCOMPLETE);
    assert!(objects.length <= MAX_REPLY);
}

#[test]
fn padding_of_r220_counts_as_payload() {
    let label = MplsReq::default();
    let mut out = Vec::new();
    let mut writer = ReplyWriter::new(&REQUEST, Compat::R220, &mut out).padded();
    writer.response(0);
    assert!(writer.object(&label));
    writer.response(0);
    let [first, second] = replies(&out).try_into().ok().unwrap();
    assert_eq!((first.length, first.attribute_len), (HEADER_LEN + 80, 80));
    assert_eq!((second.length, second.attribute_len), (HEADER_LEN + 32, 32));
    assert!(first.payload.ends_with(&[0, 0]));
    assert_eq!(decoded(&first.payload, Compat::R220).len(), 2);
}

/// Gives one byte a read, as an unhelpful stream may.
struct Trickle<'a>(&'a [u8]);

impl Read for Trickle<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
        buffer[0] = *first;
        self.0 = rest;
        Ok(1)
    }
}

#[test]
fn frames_are_found_wherever_reads_end() {
    let mut stream = Vec::new();
    let requests: Vec<MplsReq> =
        (0..500).map(|mr_label| MplsReq { mr_label, ..Default::default() }).collect();
    for (seq, request) in requests.iter().enumerate() {
        write_request(&Header::request(seq as u32), Compat::Current, &[request], &mut stream);
    }
    let sources: [&mut dyn Read; 2] = [&mut stream.as_slice(), &mut Trickle(&stream)];
    for mut source in sources {
        let mut frames = FrameReader::new();
        let mut seen = 0;
        while frames.read_from(&mut source).unwrap() > 0 {
            while let Some(frame) = frames.next_frame().unwrap() {
                assert_eq!(frame.header, Header::request(seen as u32));
                assert_eq!(frame.payload, encoded(&requests[seen], Compat::Current));
                seen += 1;
            }
        }
        assert_eq!(seen, requests.len());
    }
}

#[test]
fn only_possible_lengths_are_accepted() {
    for (length, possible) in [
        (0, false),
        (HEADER_LEN - 1, false),
        (HEADER_LEN, true),
        (HEADER_LEN + MAX_PAYLOAD, true),
        (HEADER_LEN + MAX_PAYLOAD + 1, false),
        (u32::MAX as usize, false),
    ] {
        let mut bytes = (length as u32).to_ne_bytes().to_vec();
        let mut frames = FrameReader::new();
        frames.read_from(&mut bytes.as_slice()).unwrap();
        assert_eq!(frames.next_frame().is_ok(), possible, "{length}");
        if !possible {
            continue;
        }
        bytes.resize(length, 0xab);
        let mut rest = &bytes[4..];
        while frames.read_from(&mut rest).unwrap() > 0 {}
        assert_eq!(frames.next_frame().unwrap().unwrap().payload, &bytes[HEADER_LEN..]);
    }
}

#[test]
fn the_attribute_length_of_a_request_includes_its_header() {
    let mut out = Vec::new();
    let messages: [&dyn Record; 2] = [&MplsReq::default(), &MplsReq::default()];
    write_request(&REQUEST, Compat::Current, &messages, &mut out);
    let [request] = replies(&out).try_into().ok().unwrap();
    assert_eq!((request.length, request.attribute_len), (HEADER_LEN + 98, 98 + 4));
    assert_eq!(request.header, REQUEST);
}
