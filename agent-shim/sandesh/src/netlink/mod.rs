//! Framing of payloads as netlink messages on a stream socket (control.md 2, test-rig.md 2).
//!
//! ```text
//! offset  size  field
//!  0      4     length of the whole message
//!  4      2     type: generic netlink family
//!  6      2     flags
//!  8      4     sequence number
//! 12      4     process id
//! 16      4     generic netlink header: command, version, reserved
//! 20      2     attribute length
//! 22      2     attribute type
//! 24            payload
//! ```
//!
//! All header integers are in native byte order.

mod reader;
mod reply;
mod request;

pub use reader::{Frame, FrameError, FrameReader};
pub use reply::{DumpPart, ReplyWriter, Translation};
pub use request::write_request;

use crate::constants::netlink;

/// Bytes before the payload.
pub const HEADER_LEN: usize = 24;

/// Longest payload of a request that is accepted. Clients send at most 4096 bytes in all.
pub const MAX_PAYLOAD: usize = 65536;

/// Longest reply message: the receive buffer of the utilities; the agent aborts beyond it (control.md 2.5).
pub const MAX_REPLY: usize = 4096;

/// What a netlink message says about itself, except for its lengths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Generic netlink family; not checked and echoed in replies.
    pub message_type: u16,
    /// `NLM_F_REQUEST` in requests; `NLM_F_MULTI` in all replies to a request but the last.
    pub flags: u16,
    /// Sequence number, echoed in replies.
    pub seq: u32,
    /// Process of the client; 0 in replies.
    pub pid: u32,
    /// Generic netlink header: command, version and two reserved bytes; echoed in replies.
    pub genl: [u8; 4],
}

impl Header {
    /// Header of a request of a command line utility (control.md 2.2).
    #[must_use]
    pub fn request(seq: u32) -> Self {
        Self {
            message_type: netlink::GENL_ID_VROUTER,
            flags: netlink::NLM_F_REQUEST,
            seq,
            pid: 0,
            genl: [netlink::SANDESH_REQUEST as u8, 0, 0, 0],
        }
    }

    /// Whether another message of the same reply follows.
    #[must_use]
    pub fn is_multi(&self) -> bool {
        self.flags & netlink::NLM_F_MULTI != 0
    }

    fn read(bytes: &[u8; HEADER_LEN]) -> Self {
        Self {
            message_type: u16::from_ne_bytes(part(bytes, MESSAGE_TYPE)),
            flags: u16::from_ne_bytes(part(bytes, FLAGS)),
            seq: u32::from_ne_bytes(part(bytes, SEQ)),
            pid: u32::from_ne_bytes(part(bytes, PID)),
            genl: part(bytes, GENL),
        }
    }

    fn write(&self, message_len: usize, attribute_len: usize) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        bytes[LENGTH..][..4].copy_from_slice(&(message_len as u32).to_ne_bytes());
        bytes[MESSAGE_TYPE..][..2].copy_from_slice(&self.message_type.to_ne_bytes());
        bytes[FLAGS..][..2].copy_from_slice(&self.flags.to_ne_bytes());
        bytes[SEQ..][..4].copy_from_slice(&self.seq.to_ne_bytes());
        bytes[PID..][..4].copy_from_slice(&self.pid.to_ne_bytes());
        bytes[GENL..][..4].copy_from_slice(&self.genl);
        bytes[ATTRIBUTE_LEN..][..2].copy_from_slice(&(attribute_len as u16).to_ne_bytes());
        bytes[ATTRIBUTE_TYPE..][..2].copy_from_slice(&netlink::NL_ATTR_VR_MESSAGE_PROTOCOL.to_ne_bytes());
        bytes
    }
}

const LENGTH: usize = 0;
const MESSAGE_TYPE: usize = 4;
const FLAGS: usize = 6;
const SEQ: usize = 8;
const PID: usize = 12;
const GENL: usize = 16;
const ATTRIBUTE_LEN: usize = 20;
const ATTRIBUTE_TYPE: usize = 22;

/// The `N` bytes of the header at `offset`.
fn part<const N: usize>(header: &[u8; HEADER_LEN], offset: usize) -> [u8; N] {
    let mut part = [0; N];
    part.copy_from_slice(&header[offset..][..N]);
    part
}
