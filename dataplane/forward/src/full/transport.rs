//! Where the addresses and the transport header of an IP packet are.

use super::ip::inet_header_len;
use crate::bytes::be16;

const HOP_BY_HOP: u8 = 0;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const DESTINATION_OPTIONS: u8 = 60;
/// IPv6 extension headers that are looked behind.
const EXTENSIONS: usize = 8;

/// Positions in an IP packet.
#[derive(Clone, Copy)]
pub(super) struct Layout {
    /// Where the transport header begins.
    pub(super) header: usize,
    pub(super) source: usize,
    pub(super) destination: usize,
    /// Length of an address.
    pub(super) address: usize,
    /// What stands at `header`.
    pub(super) protocol: u8,
    /// The transport header is in this packet.
    pub(super) first_fragment: bool,
}

/// The layout of the packet at the start of `bytes`; `None` if its header is not all there.
pub(super) fn layout(bytes: &[u8], inet: bool) -> Option<Layout> {
    if inet { layout4(bytes) } else { layout6(bytes) }
}

fn layout4(bytes: &[u8]) -> Option<Layout> {
    let header = inet_header_len(bytes).ok()?;
    let first_fragment = be16(bytes, 6)? & 0x1fff == 0;
    Some(Layout { header, source: 12, destination: 16, address: 4, protocol: bytes[9], first_fragment })
}

fn layout6(bytes: &[u8]) -> Option<Layout> {
    let (mut header, mut protocol, mut first_fragment) = (40, *bytes.get(6)?, true);
    if bytes.len() < header {
        return None;
    }
    for _ in 0..EXTENSIONS {
        let len = match protocol {
            HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS => 8 + 8 * usize::from(*bytes.get(header + 1)?),
            FRAGMENT => {
                first_fragment = be16(bytes, header + 2)? >> 3 == 0;
                8
            }
            _ => break,
        };
        protocol = *bytes.get(header)?;
        header += len;
        if !first_fragment {
            break;
        }
    }
    Some(Layout { header, source: 8, destination: 24, address: 16, protocol, first_fragment })
}
