//! UDP (RFC 768).

use crate::header::header;

header! {
    /// UDP header. The length field is not compared with anything.
    Udp[8] {
        /// Port of the sender.
        source_port / set_source_port: u16 = 0;
        /// Port of the receiver.
        destination_port / set_destination_port: u16 = 2;
        /// Bytes of header and payload.
        length / set_length: u16 = 4;
        /// Checksum over pseudo header, header and payload; 0 for none (IPv4).
        checksum / set_checksum: u16 = 6;
    }
}
