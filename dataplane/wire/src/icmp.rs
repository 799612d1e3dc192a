//! ICMP (RFC 792) and ICMPv6 (RFC 4443): echo, and errors with the packet that they quote.

use crate::Error;
use crate::header::header;

/// Message types of ICMP for IPv4.
pub mod v4 {
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 0;
    /// Destination unreachable.
    pub const UNREACHABLE: u8 = 3;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 8;
    /// Time exceeded.
    pub const TIME_EXCEEDED: u8 = 11;
    /// Code of [`UNREACHABLE`]: too large and not to be fragmented.
    pub const FRAGMENTATION_NEEDED: u8 = 4;

    /// Whether a message quotes a packet in a way that flows follow (forwarding.md 2.6).
    #[inline]
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        matches!(kind, UNREACHABLE | TIME_EXCEEDED)
    }

    /// Whether a message is an echo request or reply.
    #[inline]
    #[must_use]
    pub const fn is_echo(kind: u8) -> bool {
        matches!(kind, ECHO_REQUEST | ECHO_REPLY)
    }
}

/// Message types of ICMPv6.
pub mod v6 {
    /// Too large for the next link.
    pub const PACKET_TOO_BIG: u8 = 2;
    /// Echo request.
    pub const ECHO_REQUEST: u8 = 128;
    /// Echo reply.
    pub const ECHO_REPLY: u8 = 129;
    /// Router solicitation.
    pub const ROUTER_SOLICITATION: u8 = 133;
    /// Neighbour solicitation.
    pub const NEIGHBOUR_SOLICITATION: u8 = 135;
    /// Neighbour advertisement.
    pub const NEIGHBOUR_ADVERTISEMENT: u8 = 136;
    /// Redirect.
    pub const REDIRECT: u8 = 137;

    /// Whether a message reports an error and quotes a packet.
    #[inline]
    #[must_use]
    pub const fn is_error(kind: u8) -> bool {
        kind < 128
    }

    /// Whether a message is an echo request or reply.
    #[inline]
    #[must_use]
    pub const fn is_echo(kind: u8) -> bool {
        matches!(kind, ECHO_REQUEST | ECHO_REPLY)
    }

    /// Whether a message belongs to neighbour discovery.
    #[inline]
    #[must_use]
    pub const fn is_neighbour_discovery(kind: u8) -> bool {
        matches!(kind, ROUTER_SOLICITATION..=REDIRECT)
    }
}

header! {
    /// The first eight bytes of a message, of either protocol.
    Icmp[8] {
        /// Type, see [`v4`] and [`v6`].
        kind / set_kind: u8 = 0;
        /// Code, which the type gives a meaning.
        code / set_code: u8 = 1;
        /// Checksum over the message; for IPv6 over a pseudo header too.
        checksum / set_checksum: u16 = 2;
        /// Identifier of an echo.
        id / set_id: u16 = 4;
        /// Sequence number of an echo, or next-hop MTU of "fragmentation needed".
        sequence / set_sequence: u16 = 6;
    }
}

/// The packet that an error message quotes, from its IP header on; what is there of it.
///
/// # Errors
/// [`Error::Truncated`] when the message ends inside its own header.
#[inline]
pub fn quoted(message: &[u8]) -> Result<&[u8], Error> {
    message.get(LEN..).ok_or(Error::Truncated)
}

#[cfg(test)]
mod tests {
    use super::{Icmp, quoted, v4, v6};
    use crate::Error;

    #[test]
    fn echo_and_errors() {
        let message = [8, 0, 0x12, 0x34, 0x04, 0x70, 0x00, 0x05, 0xaa];
        let view = Icmp::new_checked(&message).unwrap();
        assert_eq!((view.kind(), view.checksum(), view.id(), view.sequence()), (8, 0x1234, 1136, 5));
        assert_eq!(quoted(&message), Ok(&[0xaa][..]));
        assert_eq!(quoted(&message[..7]), Err(Error::Truncated));
        assert!(v4::is_echo(0) && v4::is_echo(8) && !v4::is_echo(3));
        let errors: Vec<u8> = (0..=255).filter(|kind| v4::is_error(*kind)).collect();
        assert_eq!(errors, [3, 11]);
        assert!(v6::is_error(127) && !v6::is_error(128) && v6::is_echo(129));
        let discovery: Vec<u8> = (0..=255).filter(|kind| v6::is_neighbour_discovery(*kind)).collect();
        assert_eq!(discovery, [133, 134, 135, 136, 137]);
    }
}
