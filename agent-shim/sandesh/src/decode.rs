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
    Decoder { input: Input::new(payload), compat, failed: false, spare: Vec::new() }
}

/// Iterator over the messages of a payload. It ends after the first error, since nothing tells where the
/// next message would start.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    input: Input<'a>,
    compat: Compat,
    failed: bool,
    spare: Vec<Message>,
}

impl Decoder<'_> {
    /// Takes the memory for messages from these, the last one first, until a message of another kind comes.
    #[must_use]
    pub fn reusing(self, spare: Vec<Message>) -> Self {
        Self { spare, ..self }
    }

    /// What is left of the messages to reuse.
    pub fn take_spare(&mut self) -> Vec<Message> {
        std::mem::take(&mut self.spare)
    }

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
        let mut message = self.blank(kind);
        self.fields(kind, message.as_record_mut(), place)?;
        Ok(message)
    }

    fn blank(&mut self, kind: Kind) -> Message {
        if let Some(mut message) = self.spare.pop_if(|spare| spare.as_record().kind() == kind) {
            message.clear();
            return message;
        }
        self.spare.clear();
        Message::new(kind)
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
        if self.compat != Compat::R220 {
            self.input.go_on_with(record.read_in_order(self.input.rest()));
        }
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
            self.value(code, table[position], record)?;
        }
    }

    fn value(&mut self, code: u8, field: WireField, record: &mut dyn Record) -> Result<(), Fault> {
        let index = usize::from(field.index);
        if let WireType::Int(int) = field.kind
            && code == int.code()
        {
            let bits = self.int(int)?;
            if !record.set_number(index, bits)
                && let Some(list) = record.value_mut(index)
            {
                list.store([bits].into_iter());
            }
            return Ok(());
        }
        match (field.kind, record.value_mut(index)) {
            (WireType::Text, Some(ValueMut::Text(text))) if code == wire_type::STRING => {
                self.input.text()?.clone_into(text);
            }
            (WireType::List(int), Some(value)) if code == wire_type::LIST => self.list(int, value)?,
            (WireType::Int(int), Some(value)) if field.either_shape && code == wire_type::LIST => {
                self.list(int, value)?;
            }
            (WireType::List(int), Some(value)) if field.either_shape && code == int.code() => {
                self.compat = Compat::Intermediate;
                value.store([self.int(int)?].into_iter());
            }
            _ => self.input.skip(code)?,
        }
        Ok(())
    }

    #[inline]
    fn int(&mut self, int: Int) -> Result<u64, Fault> {
        let width = int.width();
        self.input.upper_bits(width).map(|bits| int.lower(bits))
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
    /// The number that the upper bits of `bits` hold; sign extended.
    fn lower(self, bits: u64) -> u64 {
        let shift = u64::BITS as usize - 8 * self.width();
        match self {
            Self::I16 | Self::I32 | Self::I64 => (bits as i64 >> shift) as u64,
            Self::Byte | Self::U16 | Self::U32 | Self::U64 => bits >> shift,
        }
    }

    /// The number that `bytes` hold, which must be as many as the type is wide; sign extended.
    fn read(self, bytes: &[u8]) -> u64 {
        let bits = bytes.iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
        self.lower(bits << (u64::BITS as usize - 8 * self.width()))
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
