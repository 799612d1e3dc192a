//! Payload to messages.

use std::fmt;

use crate::constants::wire_type;
use crate::input::{Fault, Input};
use crate::messages::{Kind, Message};
use crate::schema::{Compat, Int, WireField, WireType};
use crate::value::{Record, ValueMut};

/// Longest name of a message that is read (control.md 1.2).
const MAX_NAME: i32 = 64;

/// Most zero bytes that may follow the last message (control.md 1.4).
const MAX_PADDING: usize = 3;

/// Decodes the messages of `payload`, which stand one after the other (control.md 1.4).
///
/// Fields may come in any order; one that is absent is zero or empty, one that comes twice has its last
/// value. An unknown field, or one of another type than the schema's, is skipped. The element type of a
/// list is not looked at: the schema decides, as in the original (control.md 1.2).
#[must_use]
pub fn decode(payload: &[u8], compat: Compat) -> Decoder<'_> {
    Decoder { input: Input::new(payload), compat, failed: false }
}

/// Iterator over the messages of a payload. It ends after the first error, since nothing tells where the
/// next message would start.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    input: Input<'a>,
    compat: Compat,
    failed: bool,
}

impl Decoder<'_> {
    /// The release that the other side has as far as the messages read until now tell: the one given to
    /// [`decode`], or [`Compat::Intermediate`] instead of [`Compat::Current`] if a field had the old shape.
    /// Replies should use it.
    #[must_use]
    pub fn compat(&self) -> Compat {
        self.compat
    }

    fn message(&mut self, place: &mut Place) -> Result<Message, Fault> {
        let kind = self.kind()?;
        place.message = Some(kind);
        let mut message = Message::new(kind);
        self.fields(kind, message.as_record_mut(), place)?;
        Ok(message)
    }

    fn kind(&mut self) -> Result<Kind, Fault> {
        let length = self.input.i32()?;
        if !(1..=MAX_NAME).contains(&length) {
            return Err(Fault::NameLength(length));
        }
        let name = self.input.take(length as usize)?;
        Kind::from_name(name)
            .filter(|kind| kind.exists_in(self.compat))
            .ok_or_else(|| Fault::UnknownMessage(String::from_utf8_lossy(name).into_owned()))
    }

    fn fields(&mut self, kind: Kind, record: &mut dyn Record, place: &mut Place) -> Result<(), Fault> {
        let table = kind.wire_fields(self.compat);
        let mut expected = 0;
        loop {
            place.field = None;
            let code = self.input.u8()?;
            if code == wire_type::STOP {
                return Ok(());
            }
            let id = self.input.i16()?;
            place.field = Some(id);
            let Some(position) = find(table, id, expected) else {
                self.input.skip(code)?;
                continue;
            };
            expected = position + 1;
            let field = table[position];
            match record.value_mut(usize::from(field.index)) {
                Some(value) => self.value(code, field, value)?,
                None => self.input.skip(code)?,
            }
        }
    }

    fn value(&mut self, code: u8, field: WireField, value: ValueMut<'_>) -> Result<(), Fault> {
        match (field.kind, value) {
            (WireType::Text, ValueMut::Text(text)) if code == wire_type::STRING => {
                self.input.text()?.clone_into(text);
            }
            (WireType::Int(int), value) if code == int.code() => {
                value.store([self.int(int)?].into_iter());
            }
            (WireType::List(int), value) if code == wire_type::LIST => self.list(int, value)?,
            (WireType::Int(int), value) if field.either_shape && code == wire_type::LIST => {
                self.list(int, value)?;
            }
            (WireType::List(int), value) if field.either_shape && code == int.code() => {
                self.compat = Compat::Intermediate;
                value.store([self.int(int)?].into_iter());
            }
            _ => self.input.skip(code)?,
        }
        Ok(())
    }

    fn int(&mut self, int: Int) -> Result<u64, Fault> {
        self.input.take(int.width()).map(|bytes| int.read(bytes))
    }

    fn list(&mut self, int: Int, value: ValueMut<'_>) -> Result<(), Fault> {
        self.input.u8()?;
        let count = self.input.length()?;
        let elements = self.input.take(count.saturating_mul(int.width()))?;
        match value {
            ValueMut::Bytes(bytes) if int == Int::Byte => elements.clone_into(bytes),
            value => value.store(elements.chunks_exact(int.width()).map(|bytes| int.read(bytes))),
        }
        Ok(())
    }
}

/// Position of the field `id` in `table`. Writers emit fields in ascending order, so it mostly is the one
/// after the last.
fn find(table: &[WireField], id: i16, expected: usize) -> Option<usize> {
    match table.get(expected) {
        Some(field) if field.id == id => Some(expected),
        _ => table.binary_search_by_key(&id, |field| field.id).ok(),
    }
}

impl Int {
    /// The number that `bytes` hold, which must be as many as the type is wide; sign extended.
    fn read(self, bytes: &[u8]) -> u64 {
        match (self, bytes) {
            (Self::Byte, &[a]) => u64::from(a),
            (Self::I16, &[a, b]) => i16::from_be_bytes([a, b]) as u64,
            (Self::U16, &[a, b]) => u64::from(u16::from_be_bytes([a, b])),
            (Self::I32, &[a, b, c, d]) => i32::from_be_bytes([a, b, c, d]) as u64,
            (Self::U32, &[a, b, c, d]) => u64::from(u32::from_be_bytes([a, b, c, d])),
            (_, bytes) => bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte)),
        }
    }
}

impl Iterator for Decoder<'_> {
    type Item = Result<Message, DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.input.rest();
        let padding = rest.len() <= MAX_PADDING && rest.iter().all(|byte| *byte == 0);
        if self.failed || padding {
            return None;
        }
        let mut place = Place::default();
        Some(self.message(&mut place).map_err(|fault| {
            self.failed = true;
            DecodeError { fault, offset: self.input.position(), place, compat: self.compat }
        }))
    }
}

/// Where in the messages the decoder is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Place {
    message: Option<Kind>,
    field: Option<i16>,
}

/// A payload that cannot be decoded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{fault}, at byte {offset} of the payload{}", self.place())]
pub struct DecodeError {
    /// What is wrong.
    pub fault: Fault,
    /// Where, counted from the start of the payload.
    pub offset: usize,
    place: Place,
    compat: Compat,
}

impl DecodeError {
    /// The message that was being read, if its name could be read.
    #[must_use]
    pub fn message(&self) -> Option<Kind> {
        self.place.message
    }

    /// Name of the field that was being read, if it is one of the schema.
    #[must_use]
    pub fn field(&self) -> Option<&'static str> {
        let kind = self.place.message?;
        let table = kind.wire_fields(self.compat);
        let position = find(table, self.place.field?, 0)?;
        kind.fields().get(usize::from(table[position].index)).copied()
    }

    fn place(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            let Some(message) = self.place.message else { return Ok(()) };
            write!(f, " in {}", message.name())?;
            match (self.field(), self.place.field) {
                (Some(name), _) => write!(f, ".{name}"),
                (None, Some(id)) => write!(f, " field {id}"),
                (None, None) => Ok(()),
            }
        })
    }
}
