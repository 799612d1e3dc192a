//! Encoded messages in their parts, to be put together wrongly (control.md 1).

use sandesh::constants::wire_type;

/// An encoded message.
#[derive(Clone)]
pub(crate) struct Raw {
    pub(crate) name: Vec<u8>,
    pub(crate) fields: Vec<Field>,
}

/// A field: type, number, and what follows them.
#[derive(Clone)]
pub(crate) struct Field {
    pub(crate) code: u8,
    pub(crate) id: i16,
    pub(crate) value: Vec<u8>,
}

impl Raw {
    /// The parts of one message, which must be sound.
    pub(crate) fn parse(bytes: &[u8]) -> Self {
        let (name, mut rest) = bytes[4..].split_at(number(bytes));
        let mut fields = Vec::new();
        while rest[0] != wire_type::STOP {
            let (code, id) = (rest[0], i16::from_be_bytes([rest[1], rest[2]]));
            let (value, after) = rest[3..].split_at(value_len(code, &rest[3..]));
            fields.push(Field { code, id, value: value.to_vec() });
            rest = after;
        }
        assert_eq!(rest.len(), 1, "one message");
        Self { name: name.to_vec(), fields }
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        let mut bytes = (self.name.len() as i32).to_be_bytes().to_vec();
        bytes.extend(&self.name);
        for field in &self.fields {
            bytes.push(field.code);
            bytes.extend(field.id.to_be_bytes());
            bytes.extend(&field.value);
        }
        bytes.push(wire_type::STOP);
        bytes
    }

    /// With another value in one field.
    pub(crate) fn with(&self, field: usize, code: u8, value: Vec<u8>) -> Self {
        let mut other = self.clone();
        other.fields[field] = Field { code, value, ..other.fields[field] };
        other
    }
}

fn number(bytes: &[u8]) -> usize {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize
}

fn value_len(code: u8, rest: &[u8]) -> usize {
    match code {
        wire_type::STRING => 4 + number(rest),
        wire_type::LIST => 5 + number(&rest[1..]) * width(rest[0]),
        code => width(code),
    }
}

/// Bytes of a number.
pub(crate) fn width(code: u8) -> usize {
    match code {
        wire_type::BYTE => 1,
        wire_type::I16 | wire_type::U16 => 2,
        wire_type::I32 | wire_type::U32 => 4,
        wire_type::I64 | wire_type::U64 => 8,
        other => panic!("no message has a field of type {other}"),
    }
}

/// A list of `count` numbers whose bytes are all `fill`.
pub(crate) fn list(element: u8, count: usize, fill: u8) -> Vec<u8> {
    let mut value = vec![element];
    value.extend((count as i32).to_be_bytes());
    value.resize(5 + count * width(element), fill);
    value
}

/// A text.
pub(crate) fn text(bytes: &[u8]) -> Vec<u8> {
    let mut value = (bytes.len() as i32).to_be_bytes().to_vec();
    value.extend(bytes);
    value
}
