//! Requests of a client.

use super::{HEADER_LEN, Header};
use crate::encode::encode;
use crate::schema::Compat;
use crate::value::Record;

/// Appends one netlink message with `messages` to `out`. Clients send up to 16 in up to 4096 bytes
/// (control.md 2.2).
pub fn write_request(header: &Header, compat: Compat, messages: &[&dyn Record], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_LEN]);
    for message in messages {
        encode(*message, compat, out);
    }
    let length = out.len() - start;
    let attribute_header = 4;
    let header = header.write(length, length - HEADER_LEN + attribute_header);
    out[start..][..HEADER_LEN].copy_from_slice(&header);
}
