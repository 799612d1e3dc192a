//! SCTP (RFC 9260), as far as flows need it.

use crate::header::header;

header! {
    /// Common header.
    Sctp[12] {
        /// Port of the sender.
        source_port / set_source_port: u16 = 0;
        /// Port of the receiver.
        destination_port / set_destination_port: u16 = 2;
        /// Verification tag.
        verification_tag / set_verification_tag: u32 = 4;
        /// CRC-32C over the whole packet; it does not cover addresses.
        checksum / set_checksum: u32 = 8;
    }
}
