//! Messages to payload.

use crate::constants::wire_type;
use crate::schema::{Compat, Int, WireField, WireType};
use crate::value::{Record, Value};

/// Bytes of the type and id of a field.
const FIELD_HEADER: usize = 3;

/// Bytes of a length or count.
const LENGTH: usize = 4;

/// Appends `record` to `out`, every field of the release in ascending id order (control.md 1.1).
///
/// A field that is narrower in R2.20 keeps its low bits; a list that is a single number there, or in
/// [`Compat::Intermediate`], becomes its first element or 0. A message that the release does not have
/// ([`Kind::exists_in`](crate::Kind::exists_in)) is written without fields.
pub fn encode<R: Record + ?Sized>(record: &R, compat: Compat, out: &mut Vec<u8>) {
    let kind = record.kind();
    let name = kind.name();
    out.extend_from_slice(&(name.len() as i32).to_be_bytes());
    out.extend_from_slice(name.as_bytes());
    if compat == Compat::Current {
        record.write_in_order(out);
    } else {
        for (field, value) in fields(record, compat) {
            put(*field, value, out);
        }
    }
    out.push(wire_type::STOP);
}

/// Bytes that [`encode`] would append.
#[must_use]
pub fn encoded_len<R: Record + ?Sized>(record: &R, compat: Compat) -> usize {
    let name = LENGTH + record.kind().name().len();
    let fields: usize =
        fields(record, compat).map(|(field, value)| FIELD_HEADER + value_len(*field, value)).sum();
    name + fields + size_of_val(&wire_type::STOP)
}

fn fields<R: Record + ?Sized>(
    record: &R,
    compat: Compat,
) -> impl Iterator<Item = (&'static WireField, Value<'_>)> {
    let table = record.kind().wire_fields(compat);
    table.iter().filter_map(|field| Some((field, record.value(usize::from(field.index))?)))
}

/// Appends one field.
pub(crate) fn put(field: WireField, value: Value<'_>, out: &mut Vec<u8>) {
    let [high, low] = field.id.to_be_bytes();
    out.extend_from_slice(&[field.kind.code(), high, low]);
    match (field.kind, value) {
        (WireType::Int(int), value) => put_int(int, value.first().unwrap_or(0), out),
        (WireType::Text, value) => {
            put_length(value.len(), out);
            if let Value::Text(text) = value {
                out.extend_from_slice(text.as_bytes());
            }
        }
        (WireType::List(int), value) => {
            out.push(int.code());
            put_length(value.len(), out);
            match value {
                Value::Bytes(bytes) => out.extend_from_slice(bytes),
                value => value.each(|bits| put_int(int, bits, out)),
            }
        }
    }
}

fn put_length(length: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&(length as i32).to_be_bytes());
}

fn put_int(int: Int, bits: u64, out: &mut Vec<u8>) {
    // A store of constant size and a truncation cost less than a copy of variable size.
    let end = out.len() + int.width();
    out.extend_from_slice(&(bits << (u64::BITS as usize - 8 * int.width())).to_be_bytes());
    out.truncate(end);
}

fn value_len(field: WireField, value: Value<'_>) -> usize {
    match field.kind {
        WireType::Int(int) => int.width(),
        WireType::Text => LENGTH + value.len(),
        WireType::List(int) => size_of::<u8>() + LENGTH + value.len() * int.width(),
    }
}
