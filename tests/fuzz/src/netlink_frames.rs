use sandesh::netlink::{FrameError, FrameReader, HEADER_LEN, Header, MAX_REPLY, ReplyWriter};
use sandesh::{Compat, Message, decode};

/// Cuts a stream into netlink messages, and answers each as a server would. The first byte of `data` says how
/// much of the stream arrives at once; the stream is behind it.
///
/// # Panics
///
/// If it matters how much arrives at once, or a reply is not what a client expects.
pub fn netlink_frames(data: &[u8]) {
    let Some((arriving, stream)) = data.split_first() else { return };
    let (frames, error) = cut(stream, stream.len());
    assert_eq!(cut(stream, usize::from(*arriving).max(1)), (frames.clone(), error));
    for (header, payload) in &frames {
        for compat in [Compat::Current, Compat::R220] {
            answer(header, payload, compat);
        }
    }
}

fn cut(stream: &[u8], arriving: usize) -> (Vec<(Header, Vec<u8>)>, Option<FrameError>) {
    let mut reader = FrameReader::new();
    let mut frames = Vec::new();
    for mut part in stream.chunks(arriving.max(1)) {
        while reader.read_from(&mut part).expect("bytes can be read") > 0 {
            loop {
                match reader.next_frame() {
                    Ok(Some(frame)) => frames.push((frame.header, frame.payload.to_vec())),
                    Ok(None) => break,
                    Err(error) => return (frames, Some(error)),
                }
            }
        }
    }
    (frames, None)
}

fn answer(request: &Header, payload: &[u8], compat: Compat) {
    let messages: Vec<Message> = decode(payload, compat).map_while(Result::ok).collect();
    let mut out = Vec::new();
    let mut replies = ReplyWriter::new(request, compat, &mut out);
    if compat == Compat::R220 {
        replies = replies.padded();
    }
    for message in &messages {
        replies.response(0);
        replies.object(message.as_record());
    }
    let mut part = replies.dump();
    let fitting = messages.iter().take_while(|message| part.push(&[message.as_record()])).count();

    let (frames, error) = cut(&out, out.len());
    assert_eq!(error, None);
    let lengths = frames.iter().map(|(_, payload)| HEADER_LEN + payload.len());
    assert!(lengths.clone().all(|length| length <= MAX_REPLY));
    assert_eq!(lengths.sum::<usize>(), out.len());
    assert_eq!(frames.len(), messages.len() + 1 + usize::from(fitting > 0));
    for (index, (header, payload)) in frames.iter().enumerate() {
        assert_eq!(header.is_multi(), index + 1 < frames.len());
        assert_eq!((header.seq, header.genl, header.pid), (request.seq, request.genl, 0));
        assert!(decode(payload, compat).all(|message| message.is_ok()));
    }
}
