//! One sandesh message, written field by field (control.md 1).

/// A message under construction: its name, then its fields in the order in which they are appended.
///
/// Numbers are encoded big endian. A field that is left out reads as zero or empty at the other end.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use]
pub struct Message {
    bytes: Vec<u8>,
}

const BYTE: u8 = 3;
const I16: u8 = 6;
const I32: u8 = 8;
const U64: u8 = 9;
const I64: u8 = 10;
const STRING: u8 = 11;
const LIST: u8 = 15;
const U16: u8 = 19;
const U32: u8 = 20;

impl Message {
    /// Begins a message of the given schema name, for example `vr_route_req`.
    pub fn new(name: &str) -> Self {
        let mut bytes = Vec::with_capacity(256);
        bytes.extend_from_slice(&(name.len() as u32).to_be_bytes());
        bytes.extend_from_slice(name.as_bytes());
        Self { bytes }
    }

    fn field(mut self, kind: u8, id: i16, value: &[u8]) -> Self {
        self.bytes.push(kind);
        self.bytes.extend_from_slice(&id.to_be_bytes());
        self.bytes.extend_from_slice(value);
        self
    }

    /// Appends a `byte`.
    pub fn byte(self, id: i16, value: u8) -> Self {
        self.field(BYTE, id, &[value])
    }

    /// Appends an `i16`.
    pub fn i16(self, id: i16, value: i16) -> Self {
        self.field(I16, id, &value.to_be_bytes())
    }

    /// Appends a `u16`.
    pub fn u16(self, id: i16, value: u16) -> Self {
        self.field(U16, id, &value.to_be_bytes())
    }

    /// Appends an `i32` or an enumeration.
    pub fn i32(self, id: i16, value: i32) -> Self {
        self.field(I32, id, &value.to_be_bytes())
    }

    /// Appends a `u32`.
    pub fn u32(self, id: i16, value: u32) -> Self {
        self.field(U32, id, &value.to_be_bytes())
    }

    /// Appends an `i64`.
    pub fn i64(self, id: i16, value: i64) -> Self {
        self.field(I64, id, &value.to_be_bytes())
    }

    /// Appends a `u64`.
    pub fn u64(self, id: i16, value: u64) -> Self {
        self.field(U64, id, &value.to_be_bytes())
    }

    /// Appends a `string`.
    pub fn string(self, id: i16, value: &str) -> Self {
        let mut encoded = (value.len() as u32).to_be_bytes().to_vec();
        encoded.extend_from_slice(value.as_bytes());
        self.field(STRING, id, &encoded)
    }

    /// Appends a `list<byte>`.
    pub fn bytes(self, id: i16, value: &[u8]) -> Self {
        self.field(LIST, id, &list(BYTE, value.len(), value))
    }

    /// Appends a `list<i32>`.
    pub fn i32s(self, id: i16, values: &[i32]) -> Self {
        let elements: Vec<u8> = values.iter().flat_map(|value| value.to_be_bytes()).collect();
        self.field(LIST, id, &list(I32, values.len(), &elements))
    }

    /// Appends a `u32` that holds an IPv4 address as it lies in memory in network order (control.md 1.3).
    pub fn ipv4(self, id: i16, address: std::net::Ipv4Addr) -> Self {
        self.u32(id, u32::from_le_bytes(address.octets()))
    }

    /// Ends the message.
    pub fn stop(mut self) -> Vec<u8> {
        self.bytes.push(0);
        self.bytes
    }
}

fn list(kind: u8, count: usize, elements: &[u8]) -> Vec<u8> {
    let mut encoded = vec![kind];
    encoded.extend_from_slice(&(count as u32).to_be_bytes());
    encoded.extend_from_slice(elements);
    encoded
}

#[cfg(test)]
mod tests {
    use super::Message;
    use crate::netlink;

    fn hex(text: &str) -> Vec<u8> {
        text.split_whitespace().map(|pair| u8::from_str_radix(pair, 16).unwrap()).collect()
    }

    /// control.md 11, "mpls GET of label 16 from a utility".
    #[test]
    fn label_get_is_as_in_the_specification() {
        let payload = Message::new("vr_mpls_req").i32(1, 1).i32(2, 16).i16(3, 0).i32(4, 0).i32(5, 0).stop();
        let expected = hex("49 00 00 00 20 00 01 00 00 00 00 00 00 00 00 00 \
             01 00 00 00 35 00 01 00 \
             00 00 00 0b 76 72 5f 6d 70 6c 73 5f 72 65 71 \
             08 00 01 00 00 00 01 08 00 02 00 00 00 10 06 00 03 00 00 \
             08 00 04 00 00 00 00 08 00 05 00 00 00 00 00");
        assert_eq!(netlink::request(0x20, 0, 0, &payload), expected);
    }

    /// control.md 11, "inet route ADD 10.1.1.3/32".
    #[test]
    fn route_add_is_as_in_the_specification() {
        let payload = Message::new("vr_route_req")
            .i32(1, 0)
            .i32(2, 1)
            .i32(3, 2)
            .bytes(4, &[10, 1, 1, 3])
            .i32(5, 32)
            .i16(6, 0)
            .i16(7, 0)
            .i32(8, 0)
            .i32(9, 20)
            .bytes(10, &[])
            .i32(11, 0)
            .bytes(12, &[2, 0, 0, 0, 0, 1])
            .i32(13, 0)
            .i32(14, 0)
            .stop();
        let expected = hex("00 00 00 0c 76 72 5f 72 6f 75 74 65 5f 72 65 71 \
             08 00 01 00 00 00 00 08 00 02 00 00 00 01 08 00 03 00 00 00 02 \
             0f 00 04 03 00 00 00 04 0a 01 01 03 08 00 05 00 00 00 20 \
             06 00 06 00 00 06 00 07 00 00 08 00 08 00 00 00 00 08 00 09 00 00 00 14 \
             0f 00 0a 03 00 00 00 00 08 00 0b 00 00 00 00 \
             0f 00 0c 03 00 00 00 06 02 00 00 00 00 01 08 00 0d 00 00 00 00 08 00 0e 00 00 00 00 00");
        assert_eq!(payload, expected);
        assert_eq!(payload.len(), 124);
    }

    /// control.md 11, "Tunnel nexthop field".
    #[test]
    fn tunnel_addresses_are_reversed_on_the_wire() {
        let field = Message::new("").ipv4(11, std::net::Ipv4Addr::new(192, 168, 0, 2)).stop();
        assert_eq!(field[4..12], hex("14 00 0b 02 00 a8 c0 00"));
    }

    #[test]
    fn lists_of_numbers_count_their_elements() {
        let field = Message::new("").i32s(6, &[0, -1]).stop();
        assert_eq!(field[4..], hex("0f 00 06 08 00 00 00 02 00 00 00 00 ff ff ff ff 00"));
    }
}
