//! The netlink framing around sandesh payloads (control.md 2): native-endian headers, one attribute.

/// Bytes before the payload of every message.
pub const HEADER: usize = 24;

/// The message type that an agent uses on the Unix socket (control.md 2.2).
pub const AGENT_TYPE: u16 = 0x18;

const FLAG_REQUEST: u16 = 1;
const FLAG_MULTI: u16 = 2;
const LARGEST_REPLY: usize = 4096;

/// Frames a payload as one request.
pub fn request(kind: u16, sequence: u32, pid: u32, payload: &[u8]) -> Vec<u8> {
    let mut framed = Vec::with_capacity(HEADER + payload.len());
    framed.extend_from_slice(&((HEADER + payload.len()) as u32).to_ne_bytes());
    framed.extend_from_slice(&kind.to_ne_bytes());
    framed.extend_from_slice(&FLAG_REQUEST.to_ne_bytes());
    framed.extend_from_slice(&sequence.to_ne_bytes());
    framed.extend_from_slice(&pid.to_ne_bytes());
    framed.extend_from_slice(&[1, 0, 0, 0]);
    framed.extend_from_slice(&((payload.len() + 4) as u16).to_ne_bytes());
    framed.extend_from_slice(&1_u16.to_ne_bytes());
    framed.extend_from_slice(payload);
    framed
}

/// The header of one reply message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplyHeader {
    /// Payload bytes that follow the 24 bytes of headers.
    pub payload: usize,
    /// The sequence number of the request.
    pub sequence: u32,
    /// More messages of the same request follow.
    pub more: bool,
}

impl ReplyHeader {
    /// Checks what a real agent checks before it trusts a reply: type, command, attribute and length.
    pub fn parse(bytes: &[u8; HEADER], kind: u16) -> anyhow::Result<Self> {
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        let word = |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let length = word(0) as usize;
        anyhow::ensure!((HEADER..=LARGEST_REPLY).contains(&length), "reply of {length} bytes");
        anyhow::ensure!(half(4) == kind, "reply of type {:#x}, asked with {kind:#x}", half(4));
        anyhow::ensure!(bytes[16] == 1, "reply with command {}", bytes[16]);
        anyhow::ensure!(half(22) == 1, "reply with attribute {}", half(22));
        let payload = length - HEADER;
        anyhow::ensure!(
            half(20) as usize == payload,
            "attribute of {} bytes in a payload of {payload}",
            half(20)
        );
        Ok(Self { payload, sequence: word(8), more: half(6) & FLAG_MULTI != 0 })
    }
}

#[cfg(test)]
mod tests {
    use super::{HEADER, ReplyHeader};

    /// control.md 11, the reply with code 0.
    #[test]
    fn reply_header_is_as_in_the_specification() {
        let mut bytes = [0_u8; HEADER];
        bytes[0] = 0x36;
        bytes[4] = 0x20;
        bytes[16] = 1;
        bytes[20] = 0x1e;
        bytes[22] = 1;
        let header = ReplyHeader::parse(&bytes, 0x20).unwrap();
        assert_eq!(header, ReplyHeader { payload: 30, sequence: 0, more: false });
        bytes[20] = 0x22;
        assert!(ReplyHeader::parse(&bytes, 0x20).is_err(), "the attribute length must not count its header");
    }
}
