//! Objects of a reply, decoded by their type bytes alone and read by field number (control.md 1.2).

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail, ensure};

/// One decoded message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Schema name, for example `vr_response`.
    pub name: String,
    numbers: BTreeMap<i16, i64>,
    texts: BTreeMap<i16, Vec<u8>>,
}

impl Object {
    /// Decodes all messages of a payload.
    pub fn all(mut payload: &[u8]) -> Result<Vec<Self>> {
        let mut objects = Vec::new();
        while payload.len() > 3 {
            objects.push(Self::take(&mut payload)?);
        }
        Ok(objects)
    }

    /// The number in a field, sign-extended from its type; zero if the field is absent.
    pub fn number(&self, id: i16) -> i64 {
        self.numbers.get(&id).copied().unwrap_or(0)
    }

    /// The text of a string field or the elements of a byte list; empty if absent.
    pub fn bytes(&self, id: i16) -> &[u8] {
        self.texts.get(&id).map_or(&[], Vec::as_slice)
    }

    /// A string field as text.
    pub fn text(&self, id: i16) -> String {
        String::from_utf8_lossy(self.bytes(id)).into_owned()
    }

    fn take(input: &mut &[u8]) -> Result<Self> {
        let length = count(input)?;
        let name = String::from_utf8(take(input, length)?.to_vec()).context("message name")?;
        let mut object = Self { name, numbers: BTreeMap::new(), texts: BTreeMap::new() };
        loop {
            let kind = take(input, 1)?[0];
            if kind == 0 {
                return Ok(object);
            }
            let id = i16::from_be_bytes([take(input, 1)?[0], take(input, 1)?[0]]);
            object.value(kind, id, input)?;
        }
    }

    fn value(&mut self, kind: u8, id: i16, input: &mut &[u8]) -> Result<()> {
        match kind {
            11 => {
                let length = count(input)?;
                self.texts.insert(id, take(input, length)?.to_vec());
            }
            15 => {
                let element = take(input, 1)?[0];
                let length = count(input)?;
                self.texts.insert(id, take(input, length * width(element)?)?.to_vec());
            }
            _ => {
                let bytes = take(input, width(kind)?)?;
                let negative = matches!(kind, 6 | 8 | 10) && bytes[0] & 0x80 != 0;
                let start = if negative { -1 } else { 0 };
                self.numbers.insert(id, bytes.iter().fold(start, |sum, byte| sum << 8 | i64::from(*byte)));
            }
        }
        Ok(())
    }
}

fn width(kind: u8) -> Result<usize> {
    Ok(match kind {
        2 | 3 => 1,
        6 | 19 => 2,
        8 | 20 | 22 => 4,
        9 | 10 => 8,
        _ => bail!("type {kind} is not used by any message"),
    })
}

fn count(input: &mut &[u8]) -> Result<usize> {
    let bytes = take(input, 4)?;
    let value = u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
    ensure!(value <= input.len(), "a length of {value} with {} bytes left", input.len());
    Ok(value)
}

fn take<'a>(input: &mut &'a [u8], length: usize) -> Result<&'a [u8]> {
    ensure!(length <= input.len(), "the message ends {} bytes early", length - input.len());
    let (head, tail) = input.split_at(length);
    *input = tail;
    Ok(head)
}

#[cfg(test)]
mod tests {
    use super::Object;
    use crate::Message;

    #[test]
    fn response_with_an_error_of_the_specification() {
        let payload = Message::new("vr_response").i32(1, 4).i32(2, -2).stop();
        assert_eq!(payload.len(), 30);
        let objects = Object::all(&payload).unwrap();
        assert_eq!(
            (objects[0].name.as_str(), objects[0].number(1), objects[0].number(2)),
            ("vr_response", 4, -2)
        );
    }

    #[test]
    fn lists_and_strings_are_kept_and_unknown_fields_skipped() {
        let payload = Message::new("a").bytes(3, &[1, 2]).i32s(9, &[5]).string(4, "x").u16(5, 0xFFFF).stop();
        let object = Object::all(&payload).unwrap().remove(0);
        assert_eq!(object.bytes(3), [1, 2]);
        assert_eq!(object.text(4), "x");
        assert_eq!(object.number(5), 0xFFFF);
        assert_eq!(object.number(77), 0);
    }

    #[test]
    fn truncated_messages_are_refused() {
        let payload = Message::new("vr_response").i32(1, 4).string(2, "abc").stop();
        for length in 4..payload.len() {
            assert!(Object::all(&payload[..length]).is_err(), "accepted {length} bytes");
        }
    }
}
