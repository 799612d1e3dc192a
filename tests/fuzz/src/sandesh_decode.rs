use sandesh::{Compat, Message, decode, encode};

/// Decodes `data` as each release would. What comes out is encoded and decoded again without change.
///
/// # Panics
///
/// If a message changes on the way.
pub fn sandesh_decode(data: &[u8]) {
    for compat in [Compat::Current, Compat::Intermediate, Compat::R220] {
        let messages: Vec<Message> = decode(data, compat).map_while(Result::ok).collect();
        let encoded = encode_all(&messages, compat);
        let again: Vec<Message> =
            decode(&encoded, compat).collect::<Result<_, _>>().expect("encoded messages can be decoded");
        // Older releases cannot say everything, for example that a list is empty.
        if compat == Compat::Current {
            assert_eq!(messages, again);
        }
        assert_eq!(messages.len(), again.len());
        assert_eq!(encoded, encode_all(&again, compat));
    }
}

fn encode_all(messages: &[Message], compat: Compat) -> Vec<u8> {
    let mut out = Vec::new();
    for message in messages {
        encode(message.as_record(), compat, &mut out);
    }
    out
}
